"""The scale stage: each output times a fixed-point number below one that is its own, rounded to a whole number.

For weights quantized per output column: sums of different columns count in different steps, and the stage brings them
to a common one. Leaving it out (``scale_bits = 0``) leaves the rest of the hardware as it is.
"""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters
from crossvote.rtl.readout import output_layout
from crossvote.rtl.table import add_table, table_ports

#: Unsigned bits that fit an operand of the 18 x 18 bit signed multipliers of FPGAs.
SLICE_BITS = 17


def scale_layout(parameters: OpcParameters) -> data.StructLayout:
    """The scale multiplier / 2^(scale_bits + shift) of an output, as stored in hardware."""
    return data.StructLayout({"multiplier": parameters.scale_bits, "shift": SHIFT_BITS})


class Scaler(wiring.Component):
    """scaled = sum * multiplier / 2^(scale_bits + shift), rounded half away from zero, in three clocks.

    Multiply slices of the sum, add the products and half of the divisor, shift. Half of the divisor rounds a half up;
    one less, for negative sums, rounds it down. The scale is below one, so the result needs no more bits than the sum.

    Ports: enable: all stages move on. sum: signed ``sum_bits``; multiplier: ``scale_bits``; shift: ``SHIFT_BITS``.
    scaled: signed ``sum_bits``, three enabled clocks after its operands.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "enable": In(1),
                "sum": In(signed(p.sum_bits)),
                "multiplier": In(p.scale_bits),
                "shift": In(SHIFT_BITS),
                "scaled": Out(signed(p.sum_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        shift = Signal(SHIFT_BITS, name="taken_shift")
        total_shift = Signal(SHIFT_BITS, name="total_shift")
        half = Signal(p.scale_bits + (1 << SHIFT_BITS) - 1)
        total = Signal(signed(p.product_bits))
        terms = [half]
        with m.If(self.enable):
            for low in range(0, p.sum_bits, SLICE_BITS):
                piece = self.sum[low : low + SLICE_BITS]
                if low + SLICE_BITS >= p.sum_bits:
                    piece = piece.as_signed()
                partial = Signal((piece * self.multiplier).shape(), name=f"partial_{low}")
                m.d.sync += partial.eq(piece * self.multiplier)
                terms.append(partial << low)
            m.d.sync += [
                half.eq((Const(1 << (p.scale_bits - 1)) << self.shift) - (self.sum < 0)),
                shift.eq(self.shift),
                total.eq(sum(terms)),
                total_shift.eq(shift),
                self.scaled.eq(total >> p.scale_bits >> total_shift),
            ]
        return m


class ScaleStage(wiring.Component):
    """A writable table with the scale of each output, and a pipeline that looks it up and applies it.

    Four stages with one common enable: the scale is read, then ``Scaler``. Takes an output in every clock in which the
    last stage does not wait.

    Ports:
        i, o: outputs before and after. busy: something is in the pipeline.
        index, write, write_entry, read_entry: the table for the registers, see ``table_ports``.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(output_layout(p))),
                "o": Out(stream.Signature(output_layout(p))),
                "busy": Out(1),
                **table_ports(p.output_bits, scale_layout(p)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        use = add_table(m, self, scale_layout(p), p.outputs)
        m.submodules.scaler = scaler = Scaler(p)

        move = Signal()
        valid = Signal(p.scale_stages)
        # What an output is, beside its sum, in every stage.
        passed = [Signal(output_layout(p), name=f"passed_{stage}") for stage in range(p.scale_stages)]
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move),
            use.addr.eq(self.i.payload.output),
            use.en.eq(move),
            scaler.enable.eq(move),
            scaler.sum.eq(passed[0].sum),
            scaler.multiplier.eq(use.data.multiplier),
            scaler.shift.eq(use.data.shift),
            self.o.valid.eq(valid[-1]),
            self.o.payload.eq(passed[-1]),
            self.o.payload.sum.eq(scaler.scaled),
            self.busy.eq(valid.any()),
        ]
        with m.If(move):
            m.d.sync += valid.eq((valid << 1) | self.i.valid)
            m.d.sync += [to.eq(held) for held, to in zip([self.i.payload, *passed], passed, strict=False)]
        return m
