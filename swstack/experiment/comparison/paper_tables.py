"""The paper's Table 1, Table 2 and Figure 3 for models of one's own, beside the paper's figures.

The paper: "Zero-Space Cost Fault Tolerance for Transformer-based Language Models on ReRAM", arXiv 2401.11664.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from crossvote.sim.common.csv_rows import to_csv
from crossvote.sim.common.files import write_together
from crossvote.sim.common.plot_style import PALETTE, STYLE
from crossvote.swstack.models.layouts import matrix_weight, word_line_groups
from crossvote.swstack.tasks.chance import Chance, marked
from crossvote.swstack.tasks.metrics import lost


@dataclass(frozen=True)
class PaperResult:
    """One column of the paper's Table 1 (BERT-base): its dense and pruned metric and its sparsity, all in percent."""

    metric: str
    dense: float
    pruned: float
    sparsity: float


#: Table 1, rows "BERT_BASE (ours)", "BERT_BASE prune (ours)" and "Sparsity"; metrics as its section 4.1 names them.
PAPER_TABLE_1: dict[str, PaperResult] = {
    "mnli": PaperResult("accuracy", 83.9, 83.19, 36.2),
    "qqp": PaperResult("f1", 91.4, 90.86, 30.03),
    "qnli": PaperResult("accuracy", 91.1, 90.72, 31.53),
    "sst2": PaperResult("accuracy", 92.7, 92.75, 40.13),
    "cola": PaperResult("matthews", 53.4, 54.72, 31.60),
    "stsb": PaperResult("spearman", 85.8, 85.73, 30.42),
    "mrpc": PaperResult("f1", 89.8, 89.74, 31.35),
    "rte": PaperResult("accuracy", 66.4, 66.79, 42.22),
    "wnli": PaperResult("accuracy", 56.3, 56.34, 45.64),
}

#: Table 2: maximum absolute weight and number of weights above half of it; WB is the word embedding.
PAPER_TABLE_2: dict[str, tuple[float, int]] = {
    "WB": (0.95, 7), "E1": (1.68, 6), "E2": (2.15, 18), "E3": (3.33, 2), "E4": (6.64, 3), "E5": (6.82, 1),
    "E6": (6.02, 1), "E7": (4.81, 1), "E8": (3.56, 2), "E9": (3.13, 4), "E10": (3.08, 14), "E11": (6.37, 2),
    "E12": (2.15, 5),
}  # fmt: skip


@dataclass(frozen=True)
class PruningRecord:
    """Dense and pruned metric of one task and seed, in percent; the sparsity is the least pruned group's column share.

    note: what a reader must know about the data, for example that the train set is partial. chance: chance level of
    the metric on the examples, where it is known.
    """

    task: str
    metric: str
    seed: int
    dense: float
    pruned: float
    column_sparsity: float
    element_sparsity: float
    note: str = ""
    chance: Chance | None = None

    @property
    def lost(self) -> float:
        """Points that pruning cost; below 0 where the pruned model is better."""
        return lost(self.metric, self.dense, self.pruned)


def table_1(records: Sequence[PruningRecord]) -> list[dict[str, str]]:
    """One row per task: mean over seeds of dense, pruned and change, the sparsities, and the paper's beside them.

    A mean at chance level is marked so.
    """
    rows = []
    for task in dict.fromkeys(record.task for record in records):
        runs = [record for record in records if record.task == task]
        row = {
            "task": task,
            "metric": runs[0].metric,
            "dense": _score([run.dense for run in runs], runs[0].chance),
            "pruned": _score([run.pruned for run in runs], runs[0].chance),
            "change": f"{statistics.mean(run.pruned - run.dense for run in runs):+.2f}",
            "least column sparsity, %": f"{100 * min(run.column_sparsity for run in runs):.2f}",
            "element sparsity, %": mean_and_spread([100 * run.element_sparsity for run in runs]),
            "seeds": str(len(runs)),
        }
        paper = PAPER_TABLE_1.get(task)
        row |= {
            "paper dense": f"{paper.dense:.2f}" if paper else "",
            "paper pruned": f"{paper.pruned:.2f}" if paper else "",
            "paper change": f"{paper.pruned - paper.dense:+.2f}" if paper else "",
            "paper sparsity, %": f"{paper.sparsity:.2f}" if paper else "",
            "note": runs[0].note,
        }
        rows.append(row)
    return rows


def _score(values: Sequence[float], chance: Chance | None) -> str:
    return marked(mean_and_spread(values), statistics.mean(values), chance)


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean with two decimals and, of several values, the standard deviation."""
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def layer_weights(model: nn.Module) -> dict[str, np.ndarray]:
    """'WB' (word embedding) and 'E1', 'E2', ... (all encoder matrices of a layer) -> absolute weights float32[n]."""
    layers: dict[str, list[np.ndarray]] = {}
    for group in word_line_groups(model):
        parts = layers.setdefault(group.name.rsplit(".", 1)[0], [])
        parts += [matrix_weight(model, name).abs().cpu().numpy().ravel() for name in group.matrices]
    embedding = model.get_input_embeddings().weight.detach().abs().cpu().numpy().ravel()  # type: ignore[operator]
    return {"WB": embedding} | {f"E{i}": np.concatenate(parts) for i, parts in enumerate(layers.values(), start=1)}


def table_2(model: nn.Module) -> list[dict[str, str]]:
    """Per layer: weights, maximum, and how many exceed half of it, so that their MSB is 1 under a per-tensor scale.

    The paper's columns count 2.36 million weights per layer (not all of a BERT-base layer's 7.08 million) without
    saying which; here a layer is all of its encoder matrices, and its maximum is taken over them.
    """
    rows = []
    for name, weights in layer_weights(model).items():
        maximum = float(weights.max())
        paper = PAPER_TABLE_2.get(name)
        rows.append(
            {
                "layer": name,
                "weights, million": f"{weights.size / 1e6:.2f}",
                "maximum": f"{maximum:.2f}",
                "above half": str(int((weights > maximum / 2).sum())),
                "paper maximum": f"{paper[0]:.2f}" if paper else "",
                "paper above half": str(paper[1]) if paper else "",
            }
        )
    return rows


def weight_histogram(model: nn.Module, layer: str = "E1") -> Figure:
    """Histogram of the absolute weights of one layer with the line above which the MSB is 1 (Figure 3)."""
    weights = layer_weights(model)[layer]
    maximum = float(weights.max())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axes = figure.add_subplot()
        axes.hist(weights, bins=100, range=(0, maximum), color=PALETTE[1], log=True)
        axes.axvline(maximum / 2, color=PALETTE[0], linestyle="--")
        share = float((weights > maximum / 2).mean())
        axes.annotate(
            f"MSB = 1: {share:.2g} of all weights",
            (maximum / 2, axes.get_ylim()[1]),
            xytext=(6, -6),
            textcoords="offset points",
            va="top",
        )
        axes.set_xlabel(f"absolute weight, layer {layer}")
        axes.set_ylabel("weights")
    return figure


def to_markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows, which have equal keys, as a Markdown table."""
    keys = list(rows[0])
    lines = [keys, ["---"] * len(keys), *([row[key] for key in keys] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_tables(directory: Path, records: Sequence[PruningRecord], model: nn.Module) -> tuple[Path, ...]:
    """Write table1.md/.csv (if there are records), table2.md/.csv and weights.svg; returns the paths.

    records: for Table 1; model: for Table 2 and the histogram of its first layer.
    """
    documents: dict[str, bytes] = {}
    tables = {"table2": table_2(model)} | ({"table1": table_1(records)} if records else {})
    for name, rows in tables.items():
        documents[f"{name}.md"] = to_markdown(rows).encode()
        documents[f"{name}.csv"] = to_csv(rows).encode()
    picture = io.BytesIO()
    with torch.no_grad(), matplotlib.rc_context(STYLE):
        weight_histogram(model).savefig(picture, format="svg", metadata={"Date": None})
    documents["weights.svg"] = picture.getvalue()
    files = {Path(directory) / name: data for name, data in sorted(documents.items())}
    write_together(files)
    return tuple(files)
