"""From output sums to 8-bit activations: scale, offset, limit."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from crossvote.rtl.readout import output_layout
from crossvote.rtl.scale import ScaleStage, scale_layout
from crossvote.rtl.sequencer import mark_layout
from crossvote.rtl.table import add_table, table_ports
from crossvote.rtl.tile_parameters import OFFSET_BITS, VALUE_BITS, TileParameters


def value_layout(parameters: TileParameters) -> data.StructLayout:
    """A quantized output; the other fields as in ``output_layout``."""
    fields = {"value": signed(VALUE_BITS), "output": parameters.opc.output_bits, "last": 1}
    return data.StructLayout(fields | dict(mark_layout().members.items()))


class Requantise(wiring.Component):
    """value = limit(round(sum * multiplier / 2^(scale_bits + shift)) + offset), limited to two's complement 8 bits.

    The offset of an output holds the zero point and the bias in units of the result. Two stages behind the scale stage:
    the offset is read; it is added and the result limited.

    Ports:
        i: output sums. o: quantized outputs. busy: something is in the pipeline.
        scale_index, scale_write, scale_entry, scale_read: table of scales. offset_...: table of offsets.
    """

    def __init__(self, parameters: TileParameters) -> None:
        self.parameters = p = parameters
        total = p.total
        scales = table_ports(total.output_bits, scale_layout(total))
        offsets = table_ports(total.output_bits, data.StructLayout({"offset": signed(OFFSET_BITS)}))
        super().__init__(
            {
                "i": In(stream.Signature(output_layout(total))),
                "o": Out(stream.Signature(value_layout(p))),
                "busy": Out(1),
                **{f"scale_{name}": member for name, member in scales.items()},
                **{f"offset_{name}": member for name, member in offsets.items()},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        total = p.total
        m.submodules.scale = scale = ScaleStage(total)
        connect(m, flipped(self.i), scale.i)
        offset_layout = data.StructLayout({"offset": signed(OFFSET_BITS)})
        m.submodules.offsets = offsets = _Table(total.output_bits, offset_layout, total.outputs)
        for name in ("index", "write", "write_entry"):
            m.d.comb += getattr(scale, name).eq(getattr(self, f"scale_{name}"))
            m.d.comb += getattr(offsets, name).eq(getattr(self, f"offset_{name}"))
        m.d.comb += [self.scale_read_entry.eq(scale.read_entry), self.offset_read_entry.eq(offsets.read_entry)]

        move = Signal(name="move")
        scaled_valid, scaled = Signal(name="scaled_valid"), Signal(output_layout(total), name="scaled")
        shifted = Signal(signed(max(total.sum_bits, OFFSET_BITS) + 1))
        low, high = -(1 << VALUE_BITS - 1), (1 << VALUE_BITS - 1) - 1
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            scale.o.ready.eq(move),
            offsets.own_index.eq(scale.o.payload.output),
            offsets.own_read.eq(move),
            shifted.eq(scaled.sum + offsets.own_entry.offset),
            self.busy.eq(scale.busy | scaled_valid | self.o.valid),
        ]
        with m.If(move):
            m.d.sync += [
                scaled_valid.eq(scale.o.valid),
                scaled.eq(scale.o.payload),
                self.o.valid.eq(scaled_valid),
                self.o.payload.value.eq(Mux(shifted < low, low, Mux(shifted > high, high, shifted))),
                self.o.payload.output.eq(scaled.output),
                self.o.payload.last.eq(scaled.last),
                self.o.payload.tag.eq(scaled.tag),
                self.o.payload.error.eq(scaled.error),
            ]
        return m


class _Table(wiring.Component):
    """A table by itself. own_index, own_read: look an entry up; own_entry: it, one clock later."""

    def __init__(self, index_bits: int, layout: data.Layout, depth: int) -> None:
        self._layout, self._depth = layout, depth
        own = {"own_index": In(index_bits), "own_read": In(1), "own_entry": Out(layout)}
        super().__init__({**table_ports(index_bits, layout), **own})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        own = add_table(m, self, self._layout, self._depth)
        m.d.comb += [own.addr.eq(self.own_index), own.en.eq(self.own_read), self.own_entry.eq(own.data)]
        return m
