"""What each component of a chip does that costs energy: the names that a chip file may override."""

from __future__ import annotations

#: Actions of every component; only it performs them.
COMPONENT_ACTIONS: dict[str, tuple[str, ...]] = {
    "crossbar": ("cell_read", "cell_write"),
    "driver": ("row_drive",),
    "sample_hold": ("sample_hold",),
    "adc": ("conversion",),
    "opc": ("opc_pair", "opc_step", "map_lookup", "vote"),
    "shift_add": ("shift_add",),
    "input_register": ("input_byte",),
    "output_register": ("output_byte",),
    "buffer": ("buffer_byte",),
    "bus": ("bus_byte",),
    "router": ("flit_hop",),
    "adder": ("partial_add", "scale"),
    "attention": ("mac",),
    "attention_cim": ("cim_mac", "cim_write"),
    "vector": ("vector_op",),
}
