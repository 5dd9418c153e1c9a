"""One whole sequence through the Verilog at the paper's size: every matrix, every token, every ADC code.

    python -m benchmarks.paper_size_sequence --glue-dir DIR [--model mpnet-base] [--minutes 5]     # after `make models`

A real sentence pair of MRPC's dev set runs through an encoder of BERT-base's size on one faulty chip; what each of its
72 matrices receives there goes through the compiled output peripheral, and every integer is compared with the NumPy
reference and with torch. The encoder lost the 30 % of the columns of every word-line group that have the smallest norms
and was not trained afterwards: it is the integers that are checked, not accuracy. With a run's directory as ``--model``
it is that run's pruned and trained model.

The work is done word-line group by word-line group; what is finished is kept, so a run that was stopped (or that had
``--minutes``) goes on when it is called again.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.paper_size_hardware import RATE, RESULTS, prune_by_norms
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.system.cosim import cosimulate, of_matrix
from crossvote.swstack.evaluation.cosimulation import OnChip, on_chip
from crossvote.swstack.experiment.run.paths import MASKS, PRUNED
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import load_masks
from crossvote.swstack.tasks import TaskConfig, load_task
from crossvote.swstack.tasks.batches import batches, encode

SCHEME = "best"


@dataclass(frozen=True)
class Settings:
    """What the results are of; kept beside them, so that pieces of different runs are never put together."""

    model: str
    task: str
    tokens_at_least: int
    scheme: str = SCHEME
    rate: float = RATE


def placed_sequence(settings: Settings, glue_dir: str | None, sparsity: float) -> OnChip:
    """The encoder on its faulty chip, and what its word-line groups receive for the first pair that is long enough."""
    task = load_task(TaskConfig(name=settings.task, glue_dir=glue_dir), 0)
    run = Path(settings.model)
    pruned = (run / MASKS).is_file()
    source = str(run / PRUNED) if pruned else settings.model
    model, tokenizer = load_model(ModelConfig(source=source), task.num_labels, task.regression, seed=0)
    masks = load_masks(run / MASKS) if pruned else prune_by_norms(model, sparsity)
    image = build_image(model, word_line_groups(model), masks, PRESETS[settings.scheme], name=settings.scheme)
    faults = FaultMap.sample(image.rows, image.columns, image.crossbars, settings.rate, seed_sequence(0, "paper size"))
    for number in range(len(task.dev)):
        (batch,) = batches(encode(tokenizer, task.dev[number : number + 1], task.max_length), 1)
        tokens = int(batch.inputs["attention_mask"].sum())
        if tokens >= settings.tokens_at_least:
            return on_chip(model, image, [batch.inputs], faults, tokens, scheme=settings.scheme)
    raise SystemExit(f"no example of {settings.task} has {settings.tokens_at_least} tokens.")


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{str(key): value for key, value in row.items()} for row in csv.DictReader(file)]


def run(placed: OnChip, folder: Path, settings: Settings, minutes: float) -> bool:
    """Compute the word-line groups that are not there yet; returns whether all are done.

    ``sequence-groups.csv`` gets a row per group (what went through its output peripherals), ``sequence.csv`` one per
    matrix.
    """
    kept, by_group, by_matrix = folder / "sequence.json", folder / "sequence-groups.csv", folder / "sequence.csv"
    folder.mkdir(parents=True, exist_ok=True)
    same = kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) == vars(settings)
    groups, matrices = (_read(by_group), _read(by_matrix)) if same else ([], [])
    kept.write_text(json.dumps(vars(settings), indent=1) + "\n", encoding="utf-8")
    done = {row["group"] for row in groups}
    chip, started = load_chip("crossvote"), time.monotonic()
    for name, request in placed.requests(chip, "verilator").items():
        if name in done:
            continue
        if time.monotonic() - started > 60 * minutes:
            return False
        begun = time.monotonic()
        result = cosimulate(replace(request, threads=1), chip)
        own = placed.image.group(name).matrices
        for matrix in own:
            record = placed.record(of_matrix(result, matrix), matrix)
            matrices.append(
                {
                    "matrix": record.name,
                    "tokens": record.tokens,
                    "outputs": record.outputs,
                    "mismatches": record.mismatches,
                    "equal": record.equal,
                }
            )
        whole = placed.record(result)
        groups.append(
            {
                "group": name,
                "backend": whole.backend,
                "tokens": whole.tokens,
                "opcs": whole.opcs,
                "code pairs": whole.codes,
                "clock cycles": whole.cycles,
                "disagreements": whole.disagreements,
                "equal": whole.equal,
                "seconds": f"{time.monotonic() - begun:.1f}",
            }
        )
        write_csv(by_matrix, matrices)
        write_csv(by_group, groups)
        print(groups[-1], flush=True)
    return True


def total(folder: Path) -> str:
    """One sentence about what is done."""
    groups, matrices = _read(folder / "sequence-groups.csv"), _read(folder / "sequence.csv")
    equal = sum(row["equal"] == "True" for row in matrices)
    return (
        f"{equal} of {len(matrices)} matrices equal, {sum(int(row['outputs']) for row in matrices):,} integers of "
        f"{matrices[0]['tokens']} tokens; {sum(int(row['code pairs']) for row in groups):,} pairs of ADC codes, "
        f"{sum(int(row['clock cycles']) for row in groups):,} clock cycles, "
        f"{sum(int(row['disagreements']) for row in groups):,} votes that were not unanimous; "
        f"{sum(float(row['seconds']) for row in groups):.0f} s on one core, {groups[0]['backend']}"
    )


def main() -> None:
    """Compute what is missing, and print what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mpnet-base", help="installed, a directory, a hub name, or a run")
    parser.add_argument("--task", default="mrpc", help="whose dev set the sequence is taken from")
    parser.add_argument("--glue-dir", help="a directory in GLUE's official layout")
    parser.add_argument("--tokens", type=int, default=48, help="the first example with at least as many")
    parser.add_argument("--column-sparsity", type=float, default=0.30, help="in every word-line group")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after as long, and go on at the next call")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    settings = Settings(args.model, args.task, args.tokens)
    placed = placed_sequence(settings, args.glue_dir, args.column_sparsity)
    finished = run(placed, args.out, settings, args.minutes)
    print(f"{total(args.out)}; {'done' if finished else 'to be continued'}")


if __name__ == "__main__":
    main()
