"""What a protection scheme asks of a chip, before anything is mapped."""

from __future__ import annotations

import numpy as np

from crossvote.sim.array.image import ColumnMap
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
    rng = np.random.default_rng(0)
    statistics = GroupStatistics(
        name="g",
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
    codes = ColumnMap(output, plane, replica, flipped.astype(np.bool_), shift, copy)
    return Demand(planes, codes, allocation.vote, row_blocks)
