"""From an OPC map and scales to register writes and from ADC codes to beats: what every driver of the hardware does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.column_map import HOLD, SKIP, operation
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.registers import Register, entry_word, map_address, scale_address, scale_word
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.scales import OpcScales


def map_writes(parameters: OpcParameters, opc_map: OpcMap) -> list[tuple[int, int]]:
    """(address, word) of the register writes that program a column map and the number of its entries."""
    voted = set(opc_map.places[1].ravel().tolist())
    words = [entry_word(line=line, operation=SKIP, flip=True) for line in opc_map.checksum_lines.tolist()]
    for step, line in enumerate(opc_map.read_order.tolist()):
        code = HOLD
        if line not in voted or opc_map.replica[line] == 2:
            code = operation(vote=line in voted, end=bool(opc_map.ends[step]), advance=int(opc_map.advances[step]))
        words.append(entry_word(line=line, operation=code, flip=bool(opc_map.flipped[line])))
    writes = [(map_address(parameters, step), word) for step, word in enumerate(words)]
    return [(int(Register.STEPS), opc_map.steps), *writes]


def scale_writes(parameters: OpcParameters, scales: OpcScales) -> list[tuple[int, int]]:
    """(address, word) of the register writes that program the scale stage."""
    pairs = zip(scales.multiplier.tolist(), scales.shift.tolist(), strict=True)
    return [
        (scale_address(parameters, output), scale_word(multiplier=multiplier, shift=shift))
        for output, (multiplier, shift) in enumerate(pairs)
    ]


def beat_payloads(parameters: OpcParameters, codes: NDArray[np.unsignedinteger]) -> Iterator[int]:
    """Payloads of the input stream for codes [V, row blocks, n_x, columns, 2], one integer per beat.

    Vectors carry their number as the tag, as far as it goes.
    """
    p = parameters
    vectors, blocks = codes.shape[:2]
    lanes = codes.reshape(vectors, blocks, p.input_bits, p.groups, 2 * p.lanes)
    ordered = lanes[:, :, ::-1].transpose(0, 2, 1, 3, 4).reshape(-1, 2 * p.lanes).astype(object)
    shifts = np.array([p.adc_bits * i for i in range(2 * p.lanes)], object)
    beats = p.beats(blocks)
    for number, value in enumerate((ordered << shifts).sum(axis=1)):
        vector, beat = divmod(number, beats)
        marks = (beat == 0) | (beat == beats - 1) << 1 | vector % (1 << TAG_BITS) << 2
        yield value | marks << (2 * p.adc_bits * p.lanes)
