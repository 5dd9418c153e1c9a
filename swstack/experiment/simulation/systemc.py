"""A layer of a run, its fault map and its real tokens, for a SystemC platform, with the log that it must write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crossvote.rtl.systemc_export import export_systemc
from crossvote.sim.array.crossbar import reference_outputs
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import write_bytes_atomic, write_text_atomic
from crossvote.sim.system.layer_file import layer_bytes
from crossvote.sim.system.stream import StreamedLayer, log_text, outputs_of, stream
from crossvote.sim.system.stream_tiles import StreamedTiles
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.shipped import find_run_config
from crossvote.swstack.experiment.simulation.tokens import schemes_on_chip


@dataclass(frozen=True)
class ExportedLayer:
    """What was written.

    Attributes:
        group, scheme: what is streamed. opcs, vectors, faults: how many; faults are those of the whole chip, and opcs
            those that are streamed to, or tiles.
        integers: outputs computed. wrong: those of them that are not the integer reference's.
        files: what was written. log: what the platform must write.
    """

    group: str
    scheme: str
    opcs: int
    vectors: int
    faults: int
    integers: int
    wrong: int
    files: tuple[Path, ...]
    log: str


def export_layer(
    run: Path, folder: Path, scheme: str | None, group: str | None, tokens: int, tile: bool = False
) -> ExportedLayer:
    """Write the SystemC export of a run's chip into ``folder``, a layer of the run for it, and the SimPy system's log.

    Args:
        tile: whole tiles are streamed, whose outputs are quantized, in the place of output peripherals.
        scheme: one of the run's; None: the last. group: name of a word-line group or its ending; None: the first.

    Raises:
        UserError: no such run, scheme or group, a run without images or chips, or a chip that cannot be streamed.
    """
    config = load_config(find_run_config(run))
    schemes = list(config.map.schemes)
    chosen = schemes[-1] if scheme is None else scheme
    if chosen not in schemes:
        raise UserError(f"--scheme {chosen}: {run} has {', '.join(schemes)}.")
    placed = schemes_on_chip(run, [chosen], tokens)[chosen]
    names = [one.name for one in placed.image.groups]
    ending = names[0] if group is None else group
    found = [name for name in names if name == ending or name.endswith(f".{ending}")]
    if len(found) != 1:
        raise UserError(f"--group {ending}: names {len(found) or 'no'} groups, not one; known are {', '.join(names)}.")
    request = placed.requests(config.chip, "verilator")[found[0]]
    expected = reference_outputs(
        request.image, request.x, config.chip.opc.input_bits, config.chip.adc.bits, request.faults
    )
    layer: StreamedLayer
    if tile:
        layer = tiles = StreamedTiles(request, config.chip, expected)
        expected = tiles.requantise(expected)
        files = export_systemc(tiles.tile, folder)
    else:
        layer = StreamedLayer(request, config.chip)
        files = export_systemc(layer.parameters, folder)
    entries = stream(layer)
    outputs, made = outputs_of(layer, entries), layer.made
    files += [folder / "layer.bin", folder / "expected.csv"]
    write_bytes_atomic(files[-2], layer_bytes(layer))
    log = log_text(entries)
    write_text_atomic(files[-1], log)
    return ExportedLayer(
        found[0],
        chosen,
        len(layer.opcs),
        layer.vectors,
        0 if request.faults is None else request.faults.count(0, request.faults.crossbars),
        outputs[:, made].size,
        int((outputs[:, made] != expected[:, made]).sum()),
        tuple(files),
        log,
    )
