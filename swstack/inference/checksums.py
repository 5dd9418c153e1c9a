"""What checksum bit lines find on a faulty chip, as products of matrices: how often OPCs must count a mismatch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from crossvote.sim.array.crossbar import read_cells
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage


def checksum_mismatches(
    group: GroupImage, x: torch.Tensor, faults: FaultMap | None, spans: Sequence[range], checksums: Iterable[int]
) -> int:
    """In how many of the vectors x [V, K] checksums do not hold, added up over the OPCs.

    Over an OPC's bit lines, sum of D - sum over b of 2^b C_b = x @ w for one integer w[k] of each word line, a multiple
    of 2^m where all cells read as programmed.

    Args:
        spans: row blocks that each OPC adds. checksums: those of the column map that are counted.

    Raises:
        UserError: the fault map is for another chip.
    """
    own = group.column_map
    weight = torch.zeros(len(own), own.checksums, dtype=torch.int32)
    for number in range(own.checksums):
        covered, held = map(torch.from_numpy, own.checked_lines(number))
        weight[covered, number] = 1
        weight[held, number] = -torch.bitwise_left_shift(torch.tensor(1), torch.arange(len(held))).int()
    weight = weight[:, torch.tensor(list(checksums), dtype=torch.long)].double()
    driven = torch.zeros(len(x), group.row_blocks * group.rows, dtype=torch.float64)
    driven[:, : group.inputs] = torch.where(torch.from_numpy(group.kept_inputs), x.to(torch.float64), 0.0)
    count = 0
    for span in spans if weight.numel() else ():
        total = torch.zeros(len(x), weight.shape[1], dtype=torch.float64)
        for block in span:
            cells = torch.from_numpy(read_cells(group, block, faults)).double()
            total += driven[:, block * group.rows : (block + 1) * group.rows] @ ((cells[0] - cells[1]) @ weight)
        count += int((total.long() % (1 << own.checksum_bits) != 0).sum())
    return count
