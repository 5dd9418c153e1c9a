"""The support matrix: which chip, with which code in its crossbars, goes together with which back end.

This is the one place that says so. A rule is a function from a chip and a demand to a sentence that says why they do
not go together, or None; ``RULES`` lists the rules of every back end. Whoever loads a configuration, maps, co-simulates
or simulates asks ``refusal``, and ``crossvote support`` prints the matrix.

Back ends: ``fast`` (integer products with corrections) and ``explicit`` (every ADC code) evaluate accuracy; ``numpy``,
``verilator`` and ``amaranth`` are output peripherals that co-simulate, ``tile`` is the whole tile; ``system`` is the
model of time and energy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from crossvote.sim.array.column_map import ColumnMap, Vote
from crossvote.sim.array.image import GroupImage, Image
from crossvote.sim.chip.components.base import Variant
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral import Backend
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.tile_sizes import tile_parameters

Engine = Literal["fast", "explicit", "numpy", "verilator", "amaranth", "tile", "system"]
#: The arrays of a column map that make up a code.
_CODE = ("plane", "shift", "copy", "replica", "flipped")

ENGINES: tuple[Engine, ...] = get_args(Engine)


@dataclass(frozen=True, eq=False)
class Demand:
    """What is asked of a chip.

    Attributes:
        planes: magnitude planes of a weight. codes: the bit lines of one output for each different code in use.
        vote: where replicas vote. row_blocks: most row blocks of a word-line group, 1 while that is not known.
        checksum_bits: bit lines of the checksum of an output peripheral.
    """

    planes: int
    codes: ColumnMap
    vote: Vote
    row_blocks: int = 1
    checksum_bits: int = 0


Rule = Callable[[ChipConfig, Demand], str | None]


def _pairs(chip: ChipConfig, demand: Demand) -> str | None:
    crossbar = chip.crossbar
    if crossbar.cell_bits <= 2 and (crossbar.pair, chip.dac.bits) == ("digital", 1):
        return None
    return (
        f"images are for digital pairs of 1- or 2-bit cells with 1-bit inputs, but chip '{chip.name}' has "
        f"chip.crossbar.cell_bits = {crossbar.cell_bits}, chip.crossbar.pair = '{crossbar.pair}' and "
        f"chip.dac.bits = {chip.dac.bits}; such a chip can only be simulated by size (crossvote simulate)"
    )


def _planes(chip: ChipConfig, demand: Demand) -> str | None:
    if demand.planes <= chip.opc.planes:
        return None
    return f"weights of {demand.planes + 1} bits need {demand.planes} planes, but chip.opc.planes = {chip.opc.planes}"


def _width(chip: ChipConfig, demand: Demand) -> str | None:
    width = _widest(demand)
    if width <= chip.crossbar.columns:
        return None
    return f"an output takes {width} bit lines, but chip.crossbar.columns = {chip.crossbar.columns}"


def _clipping(chip: ChipConfig, demand: Demand) -> str | None:
    if chip.adc.may_clip or not chip.clips:
        return None
    last = chip.adc.full_scale or (1 << chip.adc.bits) - 1
    return (
        f"a full bit line sums to {chip.largest_sum} levels, but the ADC's last code (chip.adc.bits = {chip.adc.bits}) "
        f"stands for {last:g}; use more bits or fewer chip.crossbar.rows, or set chip.adc.may_clip = true"
    )


def _checksums(chip: ChipConfig, demand: Demand) -> str | None:
    bits = demand.checksum_bits
    if not bits:
        return None
    if bits > chip.opc.checksum_bits:
        return f"checksums of {bits} bits are placed, but chip.opc.checksum_bits = {chip.opc.checksum_bits}"
    if chip.crossbar.cell_bits > 1:
        return f"checksums are for 1-bit cells, but chip.crossbar.cell_bits = {chip.crossbar.cell_bits}"
    if (width := _widest(demand) + bits) > chip.opc.columns:
        return f"an output and its checksum take {width} bit lines, but chip.opc.columns = {chip.opc.columns}"
    if (why := _lossless(chip, demand)) is not None:
        return f"a checksum holds for exact sums only, and {why}"
    return None


def _lossless(chip: ChipConfig, demand: Demand) -> str | None:
    if chip.clips:
        return f"codes clip (chip.adc.bits = {chip.adc.bits}), so every code has to be computed"
    return _imperfect(chip)


def _imperfect(chip: ChipConfig) -> str | None:
    """The first setting that makes a code other than the exact sum of the driven cells' levels."""
    settings = {
        "adc.full_scale": chip.adc.full_scale,
        "cell.on_off_ratio": chip.cell.on_off_ratio,
        "cell.variation": chip.cell.variation,
        "cell.one_disturb": chip.cell.one_disturb,
        "cell.zero_disturb": chip.cell.zero_disturb,
    }
    if chip.adc.full_scale == (1 << chip.adc.bits) - 1:  # one code per level, said explicitly
        del settings["adc.full_scale"]
    for key, value in settings.items():
        if value:
            return f"codes are not the exact sums of ideal cells (chip.{key} = {value:g})"
    return None


def _explicit_cells(chip: ChipConfig, demand: Demand) -> str | None:
    if chip.crossbar.cell_bits > 1 and (chip.cell.one_disturb or chip.cell.zero_disturb):
        return f"disturbed reads are modelled for 1-bit cells, but chip.crossbar.cell_bits = {chip.crossbar.cell_bits}"
    return None


def _ideal(chip: ChipConfig, demand: Demand) -> str | None:
    return _imperfect(chip)


def _one_bit_cells(chip: ChipConfig, demand: Demand) -> str | None:
    if chip.crossbar.cell_bits == 1:
        return None
    return f"the output peripheral takes 1-bit cells, but chip.crossbar.cell_bits = {chip.crossbar.cell_bits}"


def _buildable(chip: ChipConfig, demand: Demand) -> str | None:
    try:
        opc_parameters(chip)
    except UserError as error:
        return str(error).rstrip(".")
    return None


def _tile(chip: ChipConfig, demand: Demand) -> str | None:
    try:
        tile_parameters(chip, demand.row_blocks, demand.vote)
    except UserError as error:
        return str(error).rstrip(".")
    return None


def _opc_width(chip: ChipConfig, demand: Demand) -> str | None:
    if (width := _widest(demand)) > chip.opc.columns:
        return f"an output takes {width} bit lines, but chip.opc.columns = {chip.opc.columns}"
    return None


def _serves(chip: ChipConfig, demand: Demand) -> str | None:
    for opc_map in _opc_maps(chip, demand):
        try:
            opc_map().check_fits(opc_parameters(chip))
        except UserError as error:
            return str(error).rstrip(".")
    return None


def _pair_votes(chip: ChipConfig, demand: Demand) -> str | None:
    return pair_votes_refusal(demand.vote)


def pair_votes_refusal(vote: Vote) -> str | None:
    """Why the output peripheral does not vote so, or None."""
    if vote != "alone":
        return None
    return "the output peripheral votes on the differences of crossbar pairs, not in each crossbar alone"


def _unscaled(chip: ChipConfig, demand: Demand) -> str | None:
    if not chip.opc.scale_bits:
        return None
    return f"co-simulation compares unscaled sums, but chip.opc.scale_bits = {chip.opc.scale_bits}"


def _row_blocks(chip: ChipConfig, demand: Demand) -> str | None:
    return row_blocks_refusal(chip, demand.vote, demand.row_blocks)


def row_blocks_refusal(chip: ChipConfig, vote: Vote, row_blocks: int) -> str | None:
    """Why the RTL does not add so many row blocks before the vote, or None."""
    if vote != "output" or row_blocks <= chip.opc.row_blocks:
        return None
    return (
        f"a vote at the output adds {row_blocks} row blocks first, but chip.opc.row_blocks = "
        f"{chip.opc.row_blocks}; raise it (to 256 at most) or vote per crossbar"
    )


def _timed_rtl(*rules: Rule) -> Rule:
    """The rules for a chip whose output peripheral is timed as the RTL."""

    def rule(chip: ChipConfig, demand: Demand) -> str | None:
        if chip.pipeline.peripheral != "rtl":
            return None
        return next((found for own in rules if (found := own(chip, demand)) is not None), None)

    return rule


def _variant(chip: ChipConfig, demand: Demand) -> str | None:
    fixed = fixed_lines(demand.codes, -(-demand.planes // chip.crossbar.cell_bits)) and not demand.checksum_bits
    return variant_refusal(chip, "map + voter" if demand.vote != "none" else "plain" if fixed else "map")


def fixed_lines(column_map: ColumnMap, slices: int) -> bool:
    """Whether an output peripheral without a map takes these bit lines.

    Every output holds each of its planes once, on ``slices`` of them, not flipped and with its own weight, and nothing
    is checked; a code that leaves planes out is another one.
    """
    own, used = column_map, column_map.used
    if own.checksums or (own.flipped | own.repeats)[used].any() or (own.shift != own.plane)[used].any():
        return False
    lines = np.bincount(own.output[used])
    return bool((lines[lines > 0] == slices).all())


def variant_refusal(chip: ChipConfig, variant: Variant) -> str | None:
    """Why the chip's output peripheral is none that serves what ``variant`` does, or None."""
    if variant == "map + voter" and not chip.opc.voter:
        return "replicas vote, but chip.opc.voter = false"
    if variant != "plain" and not chip.opc.column_map:
        return (
            "only a map says what bit lines hold that are copies, flipped, weighted or of a checksum, but "
            "chip.opc.column_map = false"
        )
    return None


_IMAGE: tuple[Rule, ...] = (_pairs, _planes, _width, _clipping, _checksums)
_PERIPHERAL: tuple[Rule, ...] = (
    *_IMAGE,
    _ideal,
    _one_bit_cells,
    _buildable,
    _opc_width,
    _serves,
    _pair_votes,
    _row_blocks,
    _unscaled,
)

RULES: dict[Engine, tuple[Rule, ...]] = {
    "fast": (*_IMAGE, _lossless),
    "explicit": (*_IMAGE, _explicit_cells),
    "numpy": _PERIPHERAL,
    "verilator": _PERIPHERAL,
    "amaranth": _PERIPHERAL,
    "tile": (*_PERIPHERAL, _tile),
    "system": (_planes, _opc_width, _checksums, _timed_rtl(_buildable, _variant, _row_blocks)),
}


def refusal(chip: ChipConfig, demand: Demand, engine: Engine) -> str | None:
    """Why ``engine`` does not run the demand on the chip, as a sentence without its full stop; None if it does."""
    return next((found for rule in RULES[engine] if (found := rule(chip, demand)) is not None), None)


def cosim_backend(chip: ChipConfig, demands: Sequence[Demand], backend: Backend) -> Backend:
    """The output peripheral that co-simulates all demands when ``backend`` is asked for.

    "auto" stays "auto" where the compiled Verilog does it (and falls back to NumPy where that cannot be built); where
    only the NumPy peripheral does it, it is "numpy".

    Raises:
        UserError: the one asked for does not, or for "auto" none.
    """
    tried: tuple[Literal["numpy", "verilator", "amaranth", "tile"], ...] = (
        ("verilator", "numpy") if backend == "auto" else (backend,)
    )
    why = None
    for engine in tried:
        why = next((found for demand in demands if (found := refusal(chip, demand, engine)) is not None), None)
        if why is None:
            return "auto" if (backend, engine) == ("auto", "verilator") else engine
    asked = "the tile" if backend == "tile" else f"the output peripheral '{backend}'"
    refused = "no output peripheral co-simulates" if backend == "auto" else f"{asked} does not co-simulate"
    raise UserError(f"{refused} this: {why}.")


def check_image(chip: ChipConfig, image: Image) -> None:
    """Refuse an image that this chip cannot hold as it is.

    Raises:
        UserError: other crossbars, other cells, other inputs, or a code that its output peripheral does not serve.
    """
    c = chip.crossbar
    if (image.rows, image.columns) != (c.rows, c.columns):
        raise UserError(
            f"made for crossbars of {image.rows} x {image.columns}, but chip '{chip.name}' has {c.rows} x {c.columns}."
        )
    bits = image.groups[0].cell_bits
    if c.pair == "none" or c.cell_bits != bits:
        raise UserError(
            f"holds differential pairs of {bits}-bit cells, but chip '{chip.name}' has "
            f"cells of {c.cell_bits} bit(s) and pair = '{c.pair}'."
        )
    if image.input_bits != chip.opc.input_bits:
        raise UserError(
            f"made for {image.input_bits}-bit inputs, but chip '{chip.name}' has opc.input_bits = "
            f"{chip.opc.input_bits}."
        )
    for group in image.groups:
        why = refusal(chip, group_demand(group), "system")
        if why is not None:
            raise UserError(f"group {group.name}: {why}.")


def group_demand(group: GroupImage) -> Demand:
    """What a word-line group that is mapped asks of a chip."""
    column_map = group.column_map
    order = np.lexsort([getattr(column_map, name) for name in reversed(("output", *_CODE))])
    order = order[column_map.used[order]]
    edges = np.flatnonzero(np.diff(column_map.output[order])) + 1
    own = np.stack([getattr(column_map, name)[order].astype(np.int16) for name in _CODE], axis=1)
    codes = {part.tobytes(): part for part in np.split(own, edges) if len(part)}
    output = np.repeat(np.arange(len(codes), dtype=np.int32), [len(part) for part in codes.values()])
    lines = np.concatenate([*codes.values(), np.zeros((0, len(_CODE)), np.int16)]).astype(np.int8)
    plane, shift, copy, replica, flipped = lines.T
    return Demand(
        group.planes,
        ColumnMap(output, plane, replica, flipped.astype(np.bool_), shift, copy),
        group.vote,
        group.row_blocks,
        column_map.checksum_bits,
    )


def _widest(demand: Demand) -> int:
    return int(np.bincount(demand.codes.output[demand.codes.used], minlength=1).max())


def _opc_maps(chip: ChipConfig, demand: Demand) -> list[Callable[[], OpcMap]]:
    """An OPC's map for each code alone; made when called, since making it checks it."""

    def one(output: int) -> Callable[[], OpcMap]:
        lines = np.flatnonzero(demand.codes.output == output)
        pad = (0, chip.opc.columns - len(lines))
        arrays = (getattr(demand.codes, name)[lines] for name in ("plane", "replica", "flipped", "shift", "copy"))
        places = np.pad(np.zeros(len(lines), np.int32), pad, constant_values=-1)
        padded = [np.pad(array, pad) for array in arrays]
        return lambda: OpcMap(places, *padded)

    return [one(output) for output in np.unique(demand.codes.output[demand.codes.used]).tolist()]
