"""What a protection scheme asks of a chip, before anything is mapped."""

from __future__ import annotations

import numpy as np

from crossvote.sim.array.column_map import ColumnMap, Vote
from crossvote.sim.peripheral.support import Demand
from crossvote.swstack.mapping.scheme import GroupStatistics, Scheme, code_lines

#: Size of the group on which schemes that choose their codes choose them: some outputs, so that codes differ.
_INPUTS, _OUTPUTS = 16, 4


def scheme_demand(scheme: Scheme, planes: int, cell_bits: int, row_blocks: int = 1) -> Demand:
    """The codes of a scheme, for weights of ``planes`` planes in cells of ``cell_bits`` bits.

    A scheme that chooses its codes is asked for those of a small group of random weights a third of which is pruned.

    Raises:
        UserError: the scheme does not do such weights or cells.
    """
    key = (repr(scheme), planes, cell_bits)
    if key not in _FOUND:
        _FOUND[key] = _codes(scheme, planes, cell_bits)
    codes, vote = _FOUND[key]
    return Demand(planes, codes, vote, row_blocks, scheme.checksum_bits or 0)


#: Codes that were asked for before: a configuration is read several times, and choosing codes can take seconds.
_FOUND: dict[tuple[str, int, int], tuple[ColumnMap, Vote]] = {}


def _codes(scheme: Scheme, planes: int, cell_bits: int) -> tuple[ColumnMap, Vote]:
    rng = np.random.default_rng(0)
    statistics = GroupStatistics(
        name="of any weights",
        planes=planes,
        cell_bits=cell_bits,
        q=rng.integers(1 - (1 << planes), 1 << planes, (_INPUTS, _OUTPUTS)).astype(np.int32),
        kept=np.ones(_OUTPUTS, np.bool_),
        scale=np.ones(_OUTPUTS, np.float32),
        moments=np.ones(_INPUTS),
        sensitivity=np.ones(_OUTPUTS),
        vote_rows=128,
    )
    allocation = scheme.allocate(statistics, 3 * _OUTPUTS * planes // 2)
    lines = [code_lines(code) for code in allocation.codes]
    output = np.repeat(np.arange(len(lines), dtype=np.int32), [len(own) for own in lines])
    plane, shift, copy, replica, flipped = np.concatenate(lines).T
    return ColumnMap(output, plane, replica, flipped.astype(np.bool_), shift, copy), allocation.vote
