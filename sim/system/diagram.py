"""A block diagram of a chip, drawn from its description."""

from __future__ import annotations

from html import escape

from crossvote.sim.chip.config import ChipConfig

_BOX = "#0072B2"


class _Drawing:
    def __init__(self) -> None:
        self.parts: list[str] = []

    def box(
        self, x: int, y: int, width: int, height: int, title: str, lines: tuple[str, ...] = (), fill: str = "#fff"
    ) -> None:
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="{fill}" stroke="{_BOX}"/>'
        )
        self.text(x + 6, y + 14, title, bold=True)
        for number, line in enumerate(lines):
            self.text(x + 6, y + 28 + 13 * number, line)

    def text(self, x: int, y: int, text: str, bold: bool = False) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(f'<text x="{x}" y="{y}"{weight}>{escape(text)}</text>')

    def arrow(self, x1: int, y1: int, x2: int, y2: int, both: bool = False) -> None:
        start = ' marker-start="url(#a)"' if both else ""
        self.parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="black"{start} marker-end="url(#a)"/>')


def diagram(chip: ChipConfig) -> str:
    """SVG text: host, chip, tile, IMA and crossbar with their sizes and times."""
    c, d = chip, _Drawing()
    rate = f"{1000 / c.package.link_byte_ps:.1f} GB/s" if c.package.link_byte_ps else "ideal"
    link = f"{c.network.flit_bits} bit per {_ns(c.network.link_ps)}"
    d.box(10, 40, 110, 60, "host", (rate,), "#eee")
    d.arrow(122, 70, 148, 70, both=True)
    d.box(150, 10, 840, 470, f"chip '{c.name}': {c.package.tiles} tiles, up to {c.package.chips} chips", (), "#f7fbff")
    routers = -(-c.package.tiles // c.network.tiles_per_router)
    d.box(
        165,
        40,
        180,
        100,
        "mesh network",
        (
            f"{routers} routers",
            f"{c.network.tiles_per_router} tiles per router",
            link,
            f"router {_ns(c.network.router_ps)}",
        ),
    )
    d.arrow(347, 80, 368, 80, both=True)
    d.box(370, 35, 605, 430, f"tile: {c.tile.imas} IMAs, {c.crossbars_per_tile} crossbars", (), "#eef6fc")
    d.box(
        385,
        60,
        180,
        86,
        "buffer",
        (
            f"{c.tile.buffer_bytes // 1024} KB",
            f"{c.tile.kv_share:.0%} for Q, K and V",
            f"queues of {c.tile.queue_vectors}",
        ),
    )
    d.box(
        580,
        60,
        180,
        86,
        "attention unit",
        (f"{c.digital.macs_per_tile} MACs", f"clock {_ns(c.digital.clock_ps)}", "QK^T, AV"),
    )
    d.box(
        775,
        60,
        185,
        86,
        "vector unit",
        (f"{c.digital.lanes_per_tile} lanes", "softmax, layer norm,", "GELU, residual"),
    )
    d.arrow(475, 148, 475, 168, both=True)
    d.text(485, 162, f"bus, {c.tile.bus_bits} wires, {_ns(c.tile.bus_ps)}")
    d.box(385, 170, 575, 280, f"IMA: {c.tile.crossbars_per_ima} crossbars", (), "#e2f0fa")
    d.box(400, 200, 150, 60, "input register", (f"{c.opc.input_bits}-bit inputs",))
    d.arrow(475, 262, 475, 280)
    d.box(400, 282, 150, 60, "DACs", (f"{c.crossbar.rows} x {c.dac.bits} bit", f"{c.reads} reads per vector"))
    d.arrow(552, 312, 578, 312)
    pair = {"none": "one crossbar per block", "digital": "pair, both digitised", "analog": "pair, analog difference"}
    d.box(
        580,
        200,
        190,
        142,
        f"crossbar {c.crossbar.rows} x {c.crossbar.columns}",
        (f"{c.crossbar.cell_bits}-bit cells", f"read {_ns(c.crossbar.read_ps)}", pair[c.crossbar.pair]),
    )
    d.arrow(675, 344, 675, 366)
    d.box(
        580,
        368,
        190,
        72,
        "sample and hold, ADCs",
        (
            f"{c.adc.per_crossbar} per {c.adc.shared_by} crossbar(s), {c.adc.bits} bit",
            f"{_ns(c.adc.conversion_ps)} per conversion",
        ),
    )
    d.arrow(772, 404, 798, 404)
    opc = (
        (
            f"OPC: {c.opc.columns} bit lines",
            f"{c.opc.lanes} lanes, {c.opc.planes} planes",
            f"clock {_ns(c.opc.clock_ps)}",
            "sign, S+A, voter",
        )
        if c.pipeline.peripheral == "rtl"
        else (f"{c.slices} slices", f"{c.pipeline.shift_add_cycles} cycle(s)")
    )
    d.box(800, 350, 148, 90, "output peripheral", opc)
    d.arrow(874, 348, 874, 300)
    d.box(800, 240, 148, 58, "output register", ("to the buffer",))
    marker = '<marker id="a" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="6" markerHeight="6" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z"/></marker>'  # noqa: E501
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 490" font-family="sans-serif" font-size="11">'
        f"<defs>{marker}</defs>{''.join(d.parts)}</svg>\n"
    )


def _ns(ps: int) -> str:
    return f"{ps / 1000:g} ns"
