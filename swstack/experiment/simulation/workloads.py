"""The workloads that ``crossvote simulate`` compares: a run's images and what they stand against, or plain sizes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.image import GroupImage, Image
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.support import check_image
from crossvote.sim.system.baselines import dense_workload, pruned_workload
from crossvote.sim.system.dimensions import Dimensions, bert_workload
from crossvote.sim.system.group_work import DenseLayout
from crossvote.sim.system.model import simulate
from crossvote.sim.system.token_table import TokenTable
from crossvote.sim.system.workload import Workload
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.images import recorded_image
from crossvote.swstack.experiment.simulation.encoders import is_causal

DENSE = "dense, unprotected"
PLAIN = "pruned, unprotected"
_MODEL_CONFIG = f"{paths.PRUNED}/config.json"


def length_rows(workloads: Mapping[str, Workload], chip: ChipConfig, lengths: NDArray[np.int64]) -> list[list[str]]:
    """Latency and dynamic energy over the real lengths, header first: means over the examples, and the longest one.

    Times are the analytic estimate, once for every length that occurs.
    """
    values, counts = np.unique(lengths, return_counts=True)
    rows = [
        ["", "tokens, mean", "tokens, longest", "latency, mean us", "latency, longest us", "dynamic energy, mean uJ"]
    ]
    for name, workload in workloads.items():
        runs = [simulate(dataclasses.replace(workload, tokens=int(n)), chip, resolution="analytic") for n in values]
        latency = np.array([run.latency_ps for run in runs]) / 1e6
        dynamic = np.array([run.dynamic_energy_pj for run in runs]) / 1e6
        means = [np.average(found, weights=counts) for found in (latency, dynamic)]
        row = [f"{lengths.mean():.1f}", str(values[-1]), f"{means[0]:.6g}", f"{latency[-1]:.6g}", f"{means[1]:.6g}"]
        rows.append([name, *row])
    return rows


def encoder_workloads(
    dimensions: Dimensions, chip: ChipConfig, tokens: int, pruned: float = 0.3
) -> dict[str, Workload]:
    """A transformer without protection, dense and pruned, and with the MSB three times: beside it, or where it was
    pruned.

    The top plane is flipped, as in the paper; where the copies lie beside their output, nothing is pruned. On a chip
    that checks checksums the last stands there once more with checksums of as many bits as it checks.
    """
    flipped = 1 if chip.signs == 2 else 0
    beside = DenseLayout(replicas=2, vote="crossbar", flipped=flipped)
    inside = dataclasses.replace(beside, pruned=pruned, embedded=True)
    layouts = {
        DENSE: DenseLayout(),
        PLAIN: DenseLayout(pruned=pruned),
        "MSB x3 beside": beside,
        f"MSB x3 in {pruned:.0%} pruned, vote at the output": dataclasses.replace(inside, vote="output"),
        f"MSB x3 in {pruned:.0%} pruned, vote per crossbar": inside,
    }
    bits, crossbar = chip.opc.checksum_bits, chip.crossbar
    if bits and (crossbar.cell_bits, crossbar.pair) == (1, "digital"):  # what checksums are for
        name, layout = list(layouts.items())[-1]
        layouts[f"{name}, checksums of {bits} bits"] = dataclasses.replace(layout, checksum_bits=bits)
    return {name: bert_workload(dimensions, chip, tokens, layout, name) for name, layout in layouts.items()}


def run_workloads(
    run: Path, own: RunConfig, chip: ChipConfig, schemes: Sequence[str], tokens: int, remap: bool = False
) -> dict[str, Workload]:
    """The dense and the pruned unprotected model of a run, then its schemes, on a chip.

    Args:
        remap: map the pruned model anew, onto this chip, instead of using the run's images.

    Raises:
        UserError: no such scheme, no image yet, or an image that is for another chip.
    """
    wanted = tuple(schemes) or own.map.schemes
    unknown = [name for name in wanted if name not in own.map.schemes]
    if unknown:
        raise UserError(f"{run}: '{unknown[0]}' is not one of the run's schemes ({', '.join(own.map.schemes)}).")
    heads = _heads(run)
    if remap:
        from crossvote.swstack.experiment.simulation.tokens import mapped_anew

        images = mapped_anew(run, own, chip, wanted)
    else:
        images = {name: _image(run, name, chip) for name in wanted}
    # Some codes leave planes out; the baseline is the image that holds most, asked for or not.
    plain = max(images.values(), key=_single_lines)
    if not remap and not _holds_all(plain):
        others = [name for name in own.map.schemes if name not in images and (run / paths.image(name)).is_file()]
        plain = max([plain, *(_image(run, name, chip) for name in others)], key=_single_lines)
    workloads = {
        DENSE: dense_workload(plain, chip, heads, tokens, DENSE),
        PLAIN: pruned_workload(plain, chip, heads, tokens, PLAIN),
    }
    for name, image in images.items():
        workloads[name] = Workload.from_image(image, chip, heads, tokens, name)
    model = _model_config(run)
    table = token_table(model) if own.faults.embeddings else None
    every = drives_head(model)
    return {name: dataclasses.replace(one, head_every=every, table=table) for name, one in workloads.items()}


def _single_lines(image: Image) -> int:
    """Lines that are no copies."""
    return sum(map(_single_lines_of, image.groups))


def _holds_all(image: Image) -> bool:
    """Whether every output that is not pruned has a line for each of its planes."""
    for group in image.groups:
        outputs = np.unique(group.column_map.output[group.column_map.used])
        if _single_lines_of(group) < len(outputs) * -(-group.planes // group.cell_bits):
            return False
    return True


def _single_lines_of(group: GroupImage) -> int:
    return int((group.column_map.used & ~group.column_map.repeats).sum())


def _image(run: Path, name: str, chip: ChipConfig) -> Image:
    image = recorded_image(run, name)
    try:
        check_image(chip, image)
    except UserError as error:
        raise UserError(
            f"{run / paths.image(name)}: {str(error).rstrip('.')}; pairs can be mapped anew with --remap."
        ) from None
    return image


def run_is_causal(run: Path) -> bool:
    """Whether the model of a run reads text from left to right."""
    return is_causal(_model_config(run))


def with_context(workloads: Mapping[str, Workload], causal: bool, context: int) -> dict[str, Workload]:
    """The workloads of a model that reads from left to right, or not, after ``context`` tokens.

    Raises:
        UserError: a context of a model that sees all tokens at once.
    """
    if context and not causal:
        raise UserError(f"context = {context}: only a decoder keeps keys and values of earlier tokens.")
    return {name: dataclasses.replace(one, causal=causal, context=context) for name, one in workloads.items()}


def drives_head(config: Mapping[str, object]) -> bool:
    """Whether every token goes through a head that is on crossbars, by what ``map_head`` noted."""
    return config.get("crossvote_head") == "token"


def token_table(config: Mapping[str, object]) -> TokenTable | None:
    """The table of token embeddings by a model's sizes; None for a model without one, as of pictures."""
    words = config.get("vocab_size")
    keys = ("embedding_size", "word_embed_proj_dim", "hidden_size", "dim", "n_embd", "d_model")
    width = next((config[key] for key in keys if isinstance(config.get(key), int)), None)
    return TokenTable(words, width) if isinstance(words, int) and isinstance(width, int) else None


def _model_config(run: Path) -> Mapping[str, object]:
    path = RunDirectory(run).whole(_MODEL_CONFIG)
    try:
        config: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the pruned model's configuration cannot be read ({error}).") from None
    return config


def _heads(run: Path) -> int:
    config = _model_config(run)
    for key in ("num_attention_heads", "n_heads", "n_head", "num_heads"):
        value = config.get(key)
        if isinstance(value, int):
            return value
    raise UserError(
        f"{run / _MODEL_CONFIG}: the model's configuration does not say how many attention heads there are."
    )
