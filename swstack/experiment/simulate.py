"""The system model of a mapped model: a run directory's images, or an encoder of plain sizes, on a chip."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crossvote.sim.array.image import Image
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import merge
from crossvote.sim.kernel import Trace
from crossvote.sim.peripheral import Backend
from crossvote.sim.system.cosim import CosimRequest
from crossvote.sim.system.model import Resolution, SystemResult, simulate
from crossvote.sim.system.report import write_report
from crossvote.sim.system.workload import (
    BERT_BASE,
    MINILM_L6,
    Dimensions,
    GroupWork,
    LayerWork,
    Workload,
    bert_workload,
)
from crossvote.swstack.experiment.config import find_config, load_config, parse_override

if TYPE_CHECKING:  # both need PyTorch, which an encoder of plain sizes does without
    from crossvote.swstack.evaluation.cosimulation import CosimRecord, OnChip

#: Encoders that can be simulated by their sizes alone.
ENCODERS: dict[str, Dimensions] = {"bert-base": BERT_BASE, "minilm-l6": MINILM_L6}
FOLDER = "system"
DENSE = "dense, unprotected"
PRUNED = "pruned/model"


@dataclass(frozen=True)
class Simulated:
    """Results by scheme, the unprotected dense encoder first, and the files that were written.

    checks: by scheme, what came out of the word-line groups that were computed with real tokens.
    """

    chip: ChipConfig
    results: dict[str, SystemResult]
    checks: dict[str, tuple[CosimRecord, ...]]
    files: list[Path]


def simulate_source(
    source: str,
    *,
    chip: str | None = None,
    overrides: Sequence[str] = (),
    schemes: Sequence[str] = (),
    tokens: int = 128,
    sequences: int = 1,
    resolution: Resolution = "crossbar",
    trace: bool = False,
    rtl: Backend | None = None,
    folder: Path | None = None,
    progress: Progress = no_progress,
) -> Simulated:
    """Simulate every protection scheme of a run, or of an encoder of plain sizes, side by side.

    Args:
        source: a run directory whose images exist, or a name from ``ENCODERS``.
        chip: preset or TOML file instead of the run's own chip. overrides: ``chip.KEY=VALUE``.
        schemes: which of the run's schemes; empty means all. trace: write the timeline of the last scheme.
        rtl: compute every word-line group of the run's schemes with this backend of the output peripheral, on real
            tokens of the dev set and the first chip of the highest fault rate.
        folder: where the report goes; otherwise ``system`` in the run directory, nowhere for an encoder.

    Raises:
        UserError: no such source, no images yet, images for another chip, a chip too small.
    """
    placed: dict[str, OnChip] = {}
    computed: dict[str, dict[str, CosimRequest]] = {}
    if source in ENCODERS:
        if rtl is not None:
            raise UserError(f"{source} has no weights and no tokens; real tokens need a run directory.")
        config = load_chip(chip or "crossvote", _chip_overrides(overrides))
        workloads = encoder_workloads(ENCODERS[source], config, tokens)
    else:
        config, workloads = _run_workloads(Path(source), chip, overrides, schemes, tokens)
        folder = folder or Path(source) / FOLDER
        if rtl is not None:
            from crossvote.swstack.experiment.simulate_tokens import schemes_on_chip

            placed = schemes_on_chip(Path(source), [name for name in workloads if name != DENSE], tokens)
            found = min((len(x) for one in placed.values() for x in one.inputs.values()), default=tokens)
            if found < tokens:
                raise UserError(f"{source}: the dev set has {found} tokens, fewer than tokens = {tokens}.")
            for name, one in placed.items():
                computed[name] = one.requests(config, rtl, evidence=folder / f"mismatch-{name}")
    results: dict[str, SystemResult] = {}
    timeline = Trace() if trace else None
    for number, (name, workload) in enumerate(workloads.items(), 1):
        results[name] = simulate(
            workload,
            config,
            resolution=resolution,
            sequences=sequences,
            computed=computed.get(name),
            trace=timeline if number == len(workloads) else None,
            progress=lambda _, done, total, name=name: progress(f"simulate {name}", done, total),  # type: ignore[misc]
        )
    checks = {
        name: tuple(one.record(result) for result in results[name].computed.values()) for name, one in placed.items()
    }
    files = write_report(folder, results, timeline) if folder else []
    if folder and checks:
        rows = {name: [dataclasses.asdict(check) for check in found] for name, found in checks.items()}
        write_text_atomic(folder / "computed.json", json.dumps(rows, indent=1) + "\n")
        files.append(folder / "computed.json")
    return Simulated(config, results, checks, files)


def encoder_workloads(
    dimensions: Dimensions, chip: ChipConfig, tokens: int, pruned: float = 0.3
) -> dict[str, Workload]:
    """An encoder unprotected, with the MSB three times beside it, and with the copies in pruned outputs' bit lines."""
    options: dict[str, dict[str, object]] = {
        DENSE: {},
        "MSB x3 beside": {"replicas": 2, "vote": "crossbar"},
        f"MSB x3 in {pruned:.0%} pruned, vote at the output": {
            "replicas": 2,
            "vote": "output",
            "pruned": pruned,
            "embedded": True,
        },
        f"MSB x3 in {pruned:.0%} pruned, vote per crossbar": {
            "replicas": 2,
            "vote": "crossbar",
            "pruned": pruned,
            "embedded": True,
        },
    }
    return {
        name: bert_workload(dimensions, chip, tokens, name=name, **chosen)  # type: ignore[arg-type]
        for name, chosen in options.items()
    }


def _chip_overrides(overrides: Sequence[str]) -> dict[str, object]:
    merged: dict[str, object] = {}
    for text in overrides:
        parsed = parse_override(text)
        if set(parsed) != {"chip"}:
            raise UserError(f"override '{text}': only keys of the chip can be changed here, as in chip.adc.bits=7.")
        merged = merge(merged, parsed["chip"])
    return merged


def _run_workloads(
    run: Path, chip: str | None, overrides: Sequence[str], schemes: Sequence[str], tokens: int
) -> tuple[ChipConfig, dict[str, Workload]]:
    if not run.is_dir():
        raise UserError(f"{run}: neither a run directory nor one of {', '.join(ENCODERS)}.")
    own = load_config(find_config(str(run)))
    if chip or overrides:
        changed = _chip_overrides(overrides)
        config = load_chip(chip, changed) if chip else load_config(find_config(str(run)), overrides).chip
    else:
        config = own.chip
    wanted = tuple(schemes) or own.map.schemes
    unknown = [name for name in wanted if name not in own.map.schemes]
    if unknown:
        raise UserError(f"{run}: '{unknown[0]}' is not one of the run's schemes ({', '.join(own.map.schemes)}).")
    heads = _heads(run)
    workloads: dict[str, Workload] = {}
    for name in wanted:
        path = run / "images" / f"{name}.safetensors"
        if not path.is_file():
            raise UserError(f"{path}: no such image yet; make it with: crossvote map {run}")
        image = Image.load(path)
        _check(image, config, path)
        if not workloads:
            workloads[DENSE] = dense_workload(image, config, heads, tokens)
        workloads[name] = Workload.from_image(image, config, heads, tokens, name)
    return config, workloads


def dense_workload(image: Image, chip: ChipConfig, heads: int, tokens: int) -> Workload:
    """The same matrices unpruned and unprotected: every output with one bit line per plane."""
    mapped = Workload.from_image(image, chip, heads, tokens, DENSE)
    groups = {group.name: group for group in image.groups}
    layers = []
    for layer in mapped.layers:
        dense = {}
        for role, work in layer.groups.items():
            group = groups[work.name]
            # As in the mapping, the matrices of a group follow each other without a gap.
            dense[role] = GroupWork.dense(work.name, group.inputs, (group.outputs,), chip)
        layers.append(LayerWork(layer.name, dense))
    return Workload(DENSE, tuple(layers), heads, tokens)


def _heads(run: Path) -> int:
    path = run / PRUNED / "config.json"
    try:
        config: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the pruned model's configuration cannot be read ({error}).") from None
    for key in ("num_attention_heads", "n_heads", "n_head"):
        value = config.get(key)
        if isinstance(value, int):
            return value
    raise UserError(f"{path}: the model's configuration does not say how many attention heads there are.")


def _check(image: Image, chip: ChipConfig, path: Path) -> None:
    """Refuse an image that this chip cannot hold as it is."""
    c = chip.crossbar
    if (image.rows, image.columns) != (c.rows, c.columns):
        raise UserError(
            f"{path}: made for crossbars of {image.rows} x {image.columns}, but chip '{chip.name}' has "
            f"{c.rows} x {c.columns}."
        )
    bits = image.groups[0].cell_bits
    if c.pair == "none" or c.cell_bits != bits:
        raise UserError(
            f"{path}: holds differential pairs of {bits}-bit cells, but chip '{chip.name}' has "
            f"cells of {c.cell_bits} bit(s) and pair = '{c.pair}'."
        )
    if image.input_bits != chip.opc.input_bits:
        raise UserError(
            f"{path}: made for {image.input_bits}-bit inputs, but chip '{chip.name}' has opc.input_bits = "
            f"{chip.opc.input_bits}."
        )
