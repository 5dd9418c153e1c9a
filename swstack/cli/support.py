"""``crossvote support``: which chip, protection scheme and back end go together."""

from __future__ import annotations

from typing import Annotated

import typer

from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.output import Output


@command(examples=("crossvote support", "crossvote support --chip my-chip.toml --scheme paper"))
def support(
    out: Output,
    chip: Annotated[list[str], typer.Option(help="Chip preset or TOML file; all presets otherwise. Repeatable.")] = [],  # noqa: B006
    scheme: Annotated[list[str], typer.Option(help="Protection scheme; all named ones otherwise. Repeatable.")] = [],  # noqa: B006
    weight_bits: Annotated[int, typer.Option(min=2, max=16, help="Bits of a weight.")] = 8,
) -> None:
    """Print which back ends run a protection scheme on a chip, and why the others do not."""
    from crossvote.sim.chip.config import load_chip
    from crossvote.sim.chip.shipped import chip_presets
    from crossvote.sim.peripheral.support import ENGINES
    from crossvote.swstack.experiment.support import support_row
    from crossvote.swstack.mapping.protection import PRESETS, preset

    schemes = {name: preset(name) for name in scheme or PRESETS}
    reasons: list[str] = []
    table = [["chip", "scheme", *ENGINES]]
    matrix = []
    for name in chip or chip_presets():
        config = load_chip(name, where="--chip")
        for own, kind in schemes.items():
            row = support_row(config, kind, weight_bits - 1)
            cells = []
            for why in row.values():
                if why is not None and why not in reasons:
                    reasons.append(why)
                cells.append("yes" if why is None else f"no ({reasons.index(why) + 1})")
            table.append([name, own, *cells])
            matrix.append({"chip": name, "scheme": own, "refused": {e: why for e, why in row.items() if why}})
    out.table(table)
    for number, why in enumerate(reasons, 1):
        out.text(f"({number}) {why}.")
    out.result({"engines": list(ENGINES), "matrix": matrix})
