"""The building blocks of the OPC side by side in one module, so that a simulator builds them once."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from crossvote.rtl.difference import Difference
from crossvote.rtl.lane import Lane
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.shift_add import ShiftAdd
from crossvote.rtl.voter import MedianVoter


class Units(wiring.Component):
    """Each block's ports appear under its name: ``voter__a``, ``lane__commit``, ..."""

    def __init__(self, parameters: OpcParameters) -> None:
        p = parameters
        self._blocks = {
            "difference": Difference(p.adc_bits),
            "shift_add": ShiftAdd(p.column_sum_bits, p.difference_bits),
            "voter": MedianVoter(p.column_sum_bits),
            "lane": Lane(p),
        }
        super().__init__({name: Out(block.signature) for name, block in self._blocks.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, block in self._blocks.items():
            m.submodules[name] = block
            connect(m, block, flipped(getattr(self, name)))
        return m
