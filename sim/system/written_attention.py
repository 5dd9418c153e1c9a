"""Attention with K and V in crossbars, written for every sequence (``digital.attention = "reram-write"``).

Every head of keys has crossbars of its own: sums of different heads must not meet on a bit line. K lies transposed,
its width along word lines and tokens along bit lines, so that a query drives it; V lies with tokens along word lines,
so that scores drive it. Outputs are whole, as those of weights. Heads that share keys read them one after the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossvote.sim.chip.bill import with_followers
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.system.workload import LayerWork

Counts = dict[str, int]


@dataclass(frozen=True)
class Written:
    """The crossbars of a layer's K and V.

    Attributes:
        heads, key_heads: of queries and of keys. width: values of a head. beside: values that a word line holds.
    """

    chip: ChipConfig
    heads: int
    key_heads: int
    width: int

    @property
    def beside(self) -> int:
        return max(1, self.chip.crossbar.columns // self.chip.slices)

    def grid(self, kind: str, tokens: float) -> tuple[int, int]:
        """(row blocks, column blocks) of one head's K (``kind`` "qk") or V ("av") of ``tokens`` tokens."""
        along, across = (self.width, tokens) if kind == "qk" else (tokens, self.width)
        return max(1, math.ceil(along / self.chip.crossbar.rows)), max(1, math.ceil(across / self.beside))

    def blocks(self, tokens: int) -> int:
        """Crossbars, or pairs, of all heads."""
        return self.key_heads * sum(math.prod(self.grid(kind, tokens)) for kind in ("qk", "av"))

    def cells(self) -> int:
        """Cells that a token's K, or V, is written to."""
        return self.key_heads * self.width * self.chip.slices * self.chip.signs

    def counts(self, kind: str, keys: float) -> Counts:
        """Actions of one token that sees ``keys`` tokens: its K or V written, its query or scores driven, results read.

        Half of the inputs and half of the written cells of a pair are taken as 1.
        """
        chip, reads = self.chip, self.chip.reads
        rows, columns = self.grid(kind, keys)
        driven, outputs = (self.width, keys) if kind == "qk" else (keys, float(self.width))
        lines = round(self.heads * outputs * chip.slices) * rows
        codes, results = lines * reads, round(self.heads * outputs)
        bits = chip.opc.input_bits
        counts = {
            "cell_write": self.cells(),
            "cell_read": round(self.heads * driven * outputs * chip.slices * 0.5 * 0.5 * reads),
            "row_drive": round(self.heads * driven) * columns * chip.signs * reads,
            "sample_hold": codes * chip.signs,
            "conversion": codes * chip.digitised,
            "partial_add": results * (rows - 1),
            "input_byte": -(-round(self.heads * driven) * bits // 8) * columns,
            "output_byte": 3 * results * rows,
        }
        if chip.pipeline.peripheral == "rtl":
            blocks = self.heads * rows * columns
            counts |= {
                "opc_pair": codes,
                "opc_step": lines,
                "read_step": math.ceil(blocks * chip.signs / chip.tile.crossbars_per_ima) * reads,
                "requantise": 0 if chip.opc.scale_bits else results,
            }
        else:
            counts |= {"shift_add": codes * chip.digitised, "scale": results}
        return with_followers(chip, counts)

    def occupied_ps(self, tokens: int) -> int:
        """Time that QK^T or AV of one token takes where ``tokens`` are held: reads, and its share of writing.

        Heads that share keys read in turn. A tile has one write circuit, as for weights, which writes one word line of
        one crossbar at a time; keys of as many tokens as lie side by side are written together. Of K and V the slower
        one counts.
        """
        chip = self.chip
        read = self.heads // self.key_heads * chip.reads * chip.read_cycle_ps
        lines_of_keys = self.key_heads * self.width / self.beside
        lines_of_values = self.key_heads * math.ceil(self.width / self.beside)
        lines = max(lines_of_keys, lines_of_values) * chip.signs
        tiles = math.ceil(self.blocks(tokens) * chip.signs / chip.crossbars_per_tile)
        return read + math.ceil(lines * chip.cell.write_row_ps / tiles)


def written(chip: ChipConfig, layer: LayerWork, heads: int) -> Written:
    """Of one layer."""
    width = max(1, layer.queries // heads)
    return Written(chip, heads, max(1, layer.keys // width), width)
