"""Memories as modules of their own, in whose place a chip puts what its technology has.

Every memory that is read behind a clock (the column map, the scales, the log) becomes instances of one module,
``opc_memory``, with one write port and one read port. Column sums are read within a clock, from memories of few words,
and stay flip-flops. The folder ``ip`` has two of that module: ``opc_memory.v``, whose flip-flops a simulator or an FPGA
flow takes for a memory, and ``opc_memory_latch.v``. A macro is put in by a third one.
"""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import ClockSignal, Instance, Module, Shape
from amaranth.lib import memory

TEMPLATES = Path(__file__).with_name("ip")
#: Files with the module, by what it is made of.
KINDS = {"flip-flops": TEMPLATES / "opc_memory.v", "latches": TEMPLATES / "opc_memory_latch.v"}
MODULE = "opc_memory"


class WrappedMemories:
    """The platform that Amaranth asks for memories.

    Nothing may hang on what a read gives of the word that is written in the same clock; ``opc_memory.v`` gives x there
    when ``OPC_MEMORY_COLLISIONS`` is defined, and the benches run like that.

    Attributes:
        words: (depth, width) of each module that was made.
    """

    def __init__(self) -> None:
        self.words: list[tuple[int, int]] = []

    def get_memory(self, one: memory.Memory) -> object:
        """What stands for a memory; each of its read ports gets a module, all of them written alike."""
        if any(port.domain == "comb" for port in one.read_ports):
            return one.elaborate(None)
        m = Module()
        (write,), width = one.write_ports, Shape.cast(one.shape).width
        for number, read in enumerate(one.read_ports):
            self.words.append((one.depth, width))
            m.submodules[f"memory_{number}"] = Instance(
                MODULE,
                p_WIDTH=width,
                p_DEPTH=one.depth,
                p_ADDRESS=len(write.addr),
                i_clk=ClockSignal(),
                i_write=write.en,
                i_write_address=write.addr,
                i_write_data=write.data,
                i_read=read.en,
                i_read_address=read.addr,
                o_read_data=read.data,
            )
        return m
