"""A streamed layer as a binary file that C++ reads without a library; ``docs/systemc.md`` has the format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.system.stream import StreamedLayer, StreamedOpc

#: First bytes, by what the layer is streamed to.
MAGIC = {"opc": b"CVLAYER1", "tile": b"CVTILES1"}


def layer_bytes(layer: StreamedLayer) -> bytes:
    """The file's content, little-endian."""
    group = layer.request.image
    head = (group.rows, group.row_blocks, layer.vectors, len(layer.opcs))
    times = (layer.interval_ps, layer.clock_ps, layer.quantum_ps)
    parts = [MAGIC[layer.kind], _numbers((*head, *times)), layer.driven().astype("<i2").tobytes()]
    for number, opc in enumerate(layer.opcs):
        parts += _opc(layer, opc, layer.writes(number))
    return b"".join(parts)


def _numbers(values: Iterable[int]) -> bytes:
    return np.array(list(values), "<i8").tobytes()


def _opc(layer: StreamedLayer, opc: StreamedOpc, programmed: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    group, lines = layer.request.image, opc.bundle.lines
    writes = np.array(programmed, "<u4")
    stuck = np.concatenate([_stuck(layer, block, lines, at) for at, block in enumerate(opc.span)])
    yield _numbers((len(lines), opc.opc_map.outputs, opc.span.start, len(opc.span), len(writes), len(stuck)))
    yield writes.tobytes()
    for block in opc.span:
        yield group.block_cells(block)[:, :, lines].astype(np.uint8).tobytes()
    yield stuck.astype("<i4").tobytes()


def _stuck(layer: StreamedLayer, block: int, lines: NDArray[np.int64], at: int) -> NDArray[np.int64]:
    """int64[n, 5]: (row block of the OPC, sign, word line, bit line of the OPC, what it reads as) of stuck cells."""
    group, faults = layer.request.image, layer.faults
    if faults is None:
        return np.zeros((0, 5), np.int64)
    first = group.pair(block, 0)
    stuck, value = faults.of_crossbars(2 * first, 2 * (first + group.column_blocks))
    crossbar, word_line, bit_line = faults.coordinates(stuck)
    line = (crossbar // 2 - first) * group.columns + bit_line
    place = np.minimum(np.searchsorted(lines, line), len(lines) - 1)
    own = lines[place] == line
    level = value.astype(np.int64) * group.last_level
    columns = (np.full_like(line, at), crossbar % 2, word_line, place, level)
    rows: NDArray[np.int64] = np.stack([column.astype(np.int64) for column in columns], axis=1)[own]
    return rows
