"""A writable table of a component: a memory that the registers reach beside the component's own reading."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data
from amaranth.lib.memory import Memory, ReadPort
from amaranth.lib.wiring import Component, In, Member, Out


def table_ports(index_bits: int, layout: data.Layout) -> dict[str, Member]:
    """The ports by which the registers reach a table of entries of ``layout``.

    index: entry to write or read. write: store ``write_entry`` there. read_entry: its content one clock later.
    """
    return {"index": In(index_bits), "write": In(1), "write_entry": In(layout), "read_entry": Out(layout)}


def add_table(m: Module, component: Component, layout: data.Layout, depth: int) -> ReadPort:
    """Add the table of ``depth`` entries behind the component's ``table_ports``; returns a read port of its own."""
    m.submodules.entries = table = Memory(shape=layout, depth=depth, init=[])
    write = table.write_port()
    own = table.read_port()
    read = table.read_port()
    m.d.comb += [
        write.addr.eq(component.index),
        write.en.eq(component.write),
        write.data.eq(component.write_entry),
        read.addr.eq(component.index),
        component.read_entry.eq(read.data),
    ]
    return own
