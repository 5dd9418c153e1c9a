"""The system model of a mapped model: a run directory's images, or an encoder of plain sizes, on a chip."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.csv_rows import to_csv
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.kernel import Trace
from crossvote.sim.peripheral import Backend
from crossvote.sim.system.cosim import CosimRequest
from crossvote.sim.system.group_work import ones_share
from crossvote.sim.system.model import check, simulate
from crossvote.sim.system.placement import check_capacity, place
from crossvote.sim.system.report import write_report
from crossvote.sim.system.result import Resolution, SystemResult
from crossvote.sim.system.workload import Workload
from crossvote.swstack.experiment.config import RunConfig, load_config
from crossvote.swstack.experiment.overrides import lay_over, parse_override
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.shipped import find_run_config
from crossvote.swstack.experiment.simulation.encoders import ENCODERS, is_config, read_dimensions
from crossvote.swstack.experiment.simulation.workloads import (
    DENSE,
    PLAIN,
    encoder_workloads,
    length_rows,
    run_is_causal,
    run_workloads,
    with_context,
)

if TYPE_CHECKING:  # both need PyTorch, which an encoder of plain sizes does without
    from crossvote.swstack.evaluation.cosimulation import OnChip
    from crossvote.swstack.evaluation.results import CosimRecord

#: Sequences of the stream that measures throughput, where a run itself is not a stream.
STREAM = 32
#: Tokens of the dev set whose bits are counted.
ACTIVITY_TOKENS = 64


@dataclass(frozen=True)
class Simulated:
    """Results by scheme, the unprotected dense encoder first, and the files that were written.

    checks: by scheme, what came out of the word-line groups that were computed with real tokens.
    streams: the same workloads as streams, which measure throughput. lengths: table over the run's real lengths.
    """

    chip: ChipConfig
    results: dict[str, SystemResult]
    checks: dict[str, tuple[CosimRecord, ...]]
    files: list[Path]
    streams: dict[str, SystemResult] = field(default_factory=dict)
    lengths: list[list[str]] = field(default_factory=list)


def simulate_source(
    source: str,
    *,
    chip: str | None = None,
    overrides: Sequence[str] = (),
    schemes: Sequence[str] = (),
    tokens: int | None = None,
    context: int = 0,
    sequences: int = 1,
    stream: int = STREAM,
    resolution: Resolution = "crossbar",
    trace: bool = False,
    rtl: Backend | None = None,
    remap: bool = False,
    folder: Path | None = None,
    write: bool = True,
    over_lengths: bool = True,
    progress: Progress = no_progress,
) -> Simulated:
    """Simulate every protection scheme of a run, or of an encoder of plain sizes, side by side.

    Args:
        source: a run directory whose images exist, a name from ``ENCODERS``, or a model's ``config.json``.
        chip: preset or TOML file instead of the run's own chip. overrides: ``chip.KEY=VALUE``.
        tokens: length of a sequence; None: the mean length of the run's dev examples, 128 for an encoder.
        context: tokens before the sequence, whose keys and values a decoder has kept: with one token, a step of
            generation.
        sequences: one measures latency. stream: then as many measure throughput, beside it; 1 leaves it out.
        remap: map the run's pruned model anew onto the chip, in memory.
        schemes: which of the run's schemes; empty means all. trace: write the timeline of the last scheme.
        rtl: compute every word-line group of the run's schemes with this backend of the output peripheral, on real
            tokens of the dev set and the first chip of the highest fault rate.
        folder: where the report goes; otherwise ``system`` in the run directory, nowhere for an encoder.
        write: whether a report is written at all. over_lengths: whether to estimate every real length of the run as
            well, which can take as long as all the rest.

    Raises:
        UserError: no such source, no images yet, images for another chip, a chip too small.
    """
    placed: dict[str, OnChip] = {}
    computed: dict[str, dict[str, CosimRequest]] = {}
    lengths: NDArray[np.int64] | None = None
    if source in ENCODERS or is_config(source):
        if rtl is not None:
            raise UserError(f"{source} has no weights and no tokens; real tokens need a run directory.")
        if remap:
            raise UserError(f"--remap: {source} has no weights to map anew; it is simulated by its sizes on any chip.")
        if schemes:
            raise UserError(
                f"--scheme {schemes[0]}: {source} has no schemes of a run; all of its variants are compared."
            )
        config = load_chip(chip or "crossvote", _chip_overrides(overrides), "--chip")
        sizes = ENCODERS[source] if source in ENCODERS else read_dimensions(source)
        workloads = with_context(encoder_workloads(sizes, config, tokens or 128), sizes.causal, context)
    else:
        run = Path(source)
        own = _own_config(run)
        config = _chip_of(run, own, chip, overrides, schemes)
        lengths = None if tokens else _dev_lengths(run, own)
        tokens = tokens or (math.ceil(lengths.mean()) if lengths is not None else own.task.max_length)
        workloads = with_context(run_workloads(run, own, config, schemes, tokens, remap), run_is_causal(run), context)
        folder = folder or run / paths.SYSTEM
        if rtl is not None:
            placed = _on_chip(run, [name for name in workloads if name not in (DENSE, PLAIN)], tokens)
            for name, one in placed.items():
                computed[name] = one.requests(config, rtl, evidence=folder / f"mismatch-{name}")
        inputs = next(iter(placed.values())).inputs if placed else _real_inputs(run, list(workloads)[-1], tokens)
        workloads = _with_real_bits(workloads, inputs, config)
    check_capacity(workloads.values(), config)
    for workload in workloads.values():  # all of them before the first, which may take minutes
        check(workload, place(workload, config))
    results: dict[str, SystemResult] = {}
    streams: dict[str, SystemResult] = {}
    timeline = Trace() if trace else None
    for number, (name, workload) in enumerate(workloads.items(), 1):

        def told(_: str, done: int, total: int, name: str = name) -> None:
            progress(f"simulate {name}", done, total)

        results[name] = simulate(
            workload,
            config,
            resolution=resolution,
            sequences=sequences,
            computed=computed.get(name),
            trace=timeline if number == len(workloads) else None,
            progress=told,
        )
        if sequences == 1 and stream > 1:
            quick: Resolution = "analytic" if resolution == "analytic" else "matrix"
            streams[name] = simulate(workload, config, resolution=quick, sequences=stream, progress=told)
    checks = {
        name: tuple(one.record(result) for result in results[name].computed.values()) for name, one in placed.items()
    }
    files = write_report(folder, results, timeline, streams, (DENSE, PLAIN)) if folder and write else []
    spread = length_rows(workloads, config, lengths) if lengths is not None and over_lengths else []
    if folder and write and spread:
        write_text_atomic(
            folder / "lengths.csv", to_csv([dict(zip(spread[0], row, strict=True)) for row in spread[1:]])
        )
        files.append(folder / "lengths.csv")
    files += [path for result in results.values() for one in result.computed.values() for path in one.evidence]
    if folder and checks:
        rows = {name: [dataclasses.asdict(check) for check in found] for name, found in checks.items()}
        write_text_atomic(folder / "computed.json", json.dumps(rows, indent=1) + "\n")
        files.append(folder / "computed.json")
    return Simulated(config, results, checks, files, streams, spread)


def _on_chip(run: Path, schemes: Sequence[str], tokens: int) -> dict[str, OnChip]:
    """Every scheme's model on the run's chip, with real tokens.

    Raises:
        UserError: the dev set is too short.
    """
    from crossvote.swstack.experiment.simulation.tokens import schemes_on_chip

    placed = schemes_on_chip(run, schemes, tokens)
    found = min((len(x) for one in placed.values() for x in one.inputs.values()), default=tokens)
    if found < tokens:
        raise UserError(f"{run}: the dev set has {found} tokens, fewer than tokens = {tokens}.")
    return placed


def _with_real_bits(
    workloads: Mapping[str, Workload], inputs: Mapping[str, NDArray[np.int64]], chip: ChipConfig
) -> dict[str, Workload]:
    """The workloads with the share of ones among the bits of real inputs, which are much the same for every scheme."""
    shares = {name: ones_share(x, chip.opc.input_bits) for name, x in inputs.items()}
    return {name: workload.with_ones(shares) for name, workload in workloads.items()}


def _real_inputs(run: Path, scheme: str, tokens: int) -> Mapping[str, NDArray[np.int64]]:
    """Inputs of every word-line group for a few tokens of the dev set; none where the run has no model or image yet."""
    model = RunDirectory(run).whole(f"{paths.PRUNED}/model.safetensors")
    if not (model.is_file() and (run / paths.image(scheme)).is_file()):
        return {}
    from crossvote.swstack.experiment.simulation.tokens import real_inputs

    return real_inputs(run, scheme, min(tokens, ACTIVITY_TOKENS))


def _dev_lengths(run: Path, config: RunConfig) -> NDArray[np.int64] | None:
    from crossvote.swstack.experiment.simulation.lengths import dev_lengths

    return dev_lengths(run, config)


def _chip_overrides(overrides: Sequence[str]) -> dict[str, object]:
    parsed = {text: parse_override(text) for text in overrides}
    for text, keys in parsed.items():
        if set(keys) != {"chip"} or not isinstance(keys["chip"], dict):
            raise UserError(f"override '{text}': only keys of the chip can be changed here, as in chip.adc.bits=7.")
    found: dict[str, object] = lay_over({}, parsed).get("chip", {})
    return found


def _own_config(run: Path) -> RunConfig:
    if not run.is_dir():
        names = ", ".join(ENCODERS)
        raise UserError(f"{run}: neither a run directory nor one of {names}, nor a model's config.json.")
    return load_config(find_run_config(run))


def _chip_of(
    run: Path, own: RunConfig, chip: str | None, overrides: Sequence[str], schemes: Sequence[str]
) -> ChipConfig:
    """The chip to simulate. One that is changed by overrides has to run the chosen schemes, not all of the run's."""
    if not chip and not overrides:
        return own.chip
    changed = _chip_overrides(overrides)
    if chip:
        return load_chip(chip, changed, "--chip")
    if chosen := [name for name in own.map.schemes if name in schemes]:
        overrides = [*overrides, f"map.schemes={json.dumps(chosen)}"]
    return load_config(find_run_config(run), overrides).chip
