"""``crossvote systemc``: output peripheral or tile as a SystemC module, with a platform that streams a real layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import check_folder
from crossvote.swstack.cli.app import FAILED, command
from crossvote.swstack.cli.output import Output


@command(
    examples=(
        "crossvote systemc runs/default",
        "crossvote systemc runs/default --tile",
        "crossvote systemc --chip my-chip.toml --out build/systemc",
    )
)
def systemc(
    out: Output,
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="A run with images and chips: one of its layers is streamed."),
    ] = None,
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")] = Path("build/systemc"),
    chip: Annotated[
        str | None,
        typer.Option(help="Without a run: chip preset or TOML file, crossvote if not said.", show_default=False),
    ] = None,
    scheme: Annotated[str | None, typer.Option(help="Scheme of the run; otherwise its last.")] = None,
    group: Annotated[str | None, typer.Option(help="Word-line group or the end of its name; else the first.")] = None,
    tile: Annotated[bool, typer.Option("--tile", help="Whole tiles in the place of output peripherals.")] = False,
    row_blocks: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Without a run: row blocks of a tile, 3 if not said.", show_default=False),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, max=65_536, help="Token vectors that are streamed.")] = 4,
    export_only: Annotated[bool, typer.Option("--export-only", help="Build and run nothing.")] = False,
) -> None:
    """Export the output peripheral or a tile as SystemC with a TLM-2.0 target, and stream a run's layer through it.

    With a run, the platform is built with CMake and its log compared with that of the SimPy system, which must be equal
    to the picosecond, and so must all integers.
    """
    _check_options(run, {"--scheme": scheme, "--group": group}, {"--chip": chip, "--row-blocks": row_blocks})
    if row_blocks is not None and not tile:
        raise UserError("--row-blocks is about tiles; give --tile with it.")
    check_folder(folder)
    from crossvote.rtl.systemc_export import export_systemc
    from crossvote.sim.chip.components.opc import opc_parameters
    from crossvote.sim.chip.config import load_chip
    from crossvote.sim.peripheral.tile_sizes import tile_parameters
    from crossvote.sim.system.systemc import build, missing, play

    if run is None:
        config = load_chip(chip or "crossvote", where="--chip")
        parameters = tile_parameters(config, row_blocks or 3, "output") if tile else opc_parameters(config)
        files = [str(path) for path in export_systemc(parameters, folder)]
        out.text("\n".join(files))
        out.result({"files": files})
        return
    hint = None if export_only else missing()
    if hint:
        raise UserError(hint)
    from crossvote.swstack.experiment.simulation.systemc import export_layer

    layer = export_layer(run, folder, scheme, group, tokens, tile)
    files = [str(path) for path in layer.files]
    out.text("\n".join(files))
    result = {"files": files, "group": layer.group, "scheme": layer.scheme, "wrong": layer.wrong}
    result["tiles" if tile else "opcs"] = layer.opcs
    targets = f"{layer.opcs} {'tiles' if tile else 'OPCs'}"
    what = f"{layer.group} ({layer.scheme}), {layer.vectors} vectors, {targets}, {layer.faults} stuck cells"
    good = layer.wrong == 0
    out.text(f"{what}: {layer.integers} integers under SimPy, {layer.wrong} of them wrong")
    if not export_only:
        equal = play(build(folder), folder) == layer.log
        good &= equal
        out.text(f"SystemC's log is {'equal to' if equal else 'NOT equal to'} that of SimPy: {folder / 'log.csv'}")
        result["equal"] = equal
    out.result(result)
    if not good:
        raise typer.Exit(FAILED)


def _check_options(run: Path | None, of_runs: Mapping[str, object], of_chips: Mapping[str, object]) -> None:
    """Refuse an option that would change nothing.

    Raises:
        UserError: there is one.
    """
    for name, value in (of_chips if run else of_runs).items():
        if value is not None:
            why = "counts without a run only: a run has its own chip and sizes" if run else "is about a run; name one"
            raise UserError(f"{name} {why}.")
