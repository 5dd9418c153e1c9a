"""The command ``crossvote``. Heavy libraries are imported inside the commands, so that help is instant."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console
from rich.table import Table

from crossvote.sim.common.errors import UserError

if TYPE_CHECKING:
    from crossvote.swstack.experiment.config import RunConfig

app = typer.Typer(
    name="crossvote",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Transformers on ReRAM crossbars with stuck cells: prune, quantize, map, inject faults, measure accuracy, "
    "and run the real RTL in the loop.",
)
# A table in a file or pipe has room for its columns; a terminal decides for itself.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 180)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Source = Annotated[
    str,
    typer.Argument(
        metavar="[CONFIG]",
        help="A shipped configuration (see 'crossvote presets'), a TOML file, or a run directory to go on with.",
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--override",
        "-o",
        metavar="KEY=VALUE",
        help="Change one key, for example -o 'faults.rates=[0.0005,0.002]'. May be repeated.",
    ),
]
RunDir = Annotated[
    Path | None,
    typer.Option("--run-dir", metavar="DIR", help="Where the run lives; otherwise runs/NAME of the configuration."),
]
GlueDir = Annotated[
    Path | None,
    typer.Option("--glue-dir", metavar="DIR", help="GLUE in the official TSV layout; same as task.glue_dir."),
]
Force = Annotated[bool, typer.Option("--force", help="Do this stage again although nothing has changed.")]


def main() -> None:
    """Entry point of the command ``crossvote``."""
    # Torch's OpenMP threads spin while they wait; with another busy process on the machine that made a training step
    # 25 times slower. The runtime reads the variable when torch is loaded, which is later than here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()


@contextmanager
def _clean_exit(resume: str | None = None) -> Iterator[None]:
    """Turn bad input into exit code 2 and Ctrl-C into exit code 130, without a traceback."""
    try:
        yield
    except UserError as error:
        err.print(f"[bold red]crossvote:[/] {_escape(str(error))}")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        err.print(f"crossvote: interrupted.{f' Continue with: {resume}' if resume else ''}")
        raise typer.Exit(130) from None


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


def _work(
    target: str,
    source: str,
    overrides: list[str],
    run_dir: Path | None,
    glue_dir: Path | None,
    force: bool,
) -> None:
    """Bring a run directory up to and including the stage ``target``."""
    with _clean_exit():
        config, directory = _resolve(source, overrides, run_dir, glue_dir)
    with _clean_exit(f"crossvote {'run' if target == 'report' else target} {directory}"):
        _update(directory, config, target, force)


def _resolve(source: str, overrides: list[str], run_dir: Path | None, glue_dir: Path | None) -> tuple[RunConfig, Path]:
    """The configuration and the run directory that the arguments mean."""
    from crossvote.swstack.experiment.config import find_config, load_config
    from crossvote.swstack.experiment.run_directory import CONFIG

    path = find_config(source)
    if glue_dir is not None:
        if not glue_dir.is_dir():
            raise UserError(f"--glue-dir {glue_dir}: no such directory.")
        overrides = [*overrides, f'task.glue_dir="{glue_dir.resolve()}"']
    own = path.parent if path == Path(source).expanduser() / CONFIG else Path("runs") / path.stem
    directory = run_dir or own
    return load_config(path, overrides), directory


def _update(directory: Path, config: RunConfig, target: str, force: bool) -> None:
    from crossvote.sim.common.schema import to_mapping
    from crossvote.swstack.cli.console import progress_display
    from crossvote.swstack.experiment.pipeline import bring_up_to_date, needed
    from crossvote.swstack.experiment.run_directory import RunDirectory
    from crossvote.swstack.experiment.stages import STAGES, check_inputs, cosimulation_is_exact, summarize

    check_inputs(config)
    chosen = needed(STAGES, target)
    settings = {stage.name: stage.settings(config) for stage in chosen}
    with RunDirectory.open(directory) as run, run.configured(to_mapping(config)):
        out.print(f"[bold]{directory}[/]")
        with progress_display(out) as progress:
            bring_up_to_date(
                run,
                config,
                chosen,
                settings,
                progress,
                lambda stage, what: out.print(f"[bold]{stage:<9}[/] {_escape(what)}"),
                force=target if force else None,
            )
        for line in summarize(run, target):
            out.print(_escape(line))
        if target in ("cosim", "report") and not cosimulation_is_exact(run):
            err.print("[bold red]crossvote:[/] the simulated Verilog differs from the NumPy reference.")
            raise typer.Exit(1)


@app.command()
def run(
    source: Source = "default",
    override: Overrides = [],  # noqa: B006 - typer copies it
    run_dir: RunDir = None,
    glue_dir: GlueDir = None,
    force: Force = False,
) -> None:
    """Do the main job: all stages from fine-tuning to the report. What is finished is not done again."""
    _work("report", source, override, run_dir, glue_dir, force)


def _stage_command(name: str, summary: str) -> None:
    def command(
        source: Source = "default",
        override: Overrides = [],  # noqa: B006 - typer copies it
        run_dir: RunDir = None,
        glue_dir: GlueDir = None,
        force: Force = False,
    ) -> None:
        _work(name, source, override, run_dir, glue_dir, force)

    long = f"{summary} Earlier stages are done first where they are missing or outdated."
    app.command(name, help=long, short_help=summary)(command)


# The texts stand here and not in crossvote.swstack.experiment.stages, which imports torch.
for _name, _summary in {
    "finetune": "Load the encoder and fine-tune it on the task.",
    "prune": "Learn row and column gates until every word-line group has the target sparsity.",
    "map": "Quantize and map onto crossbars, one image per protection scheme.",
    "faults": "Draw the fault maps: several rates, several chips.",
    "eval": "Measure the task metric of every scheme on the same faulty chips.",
    "report": "Write the HTML report and its tables and figures.",
}.items():
    _stage_command(_name, _summary)


@app.command(short_help="Stream real activations through crossbars and the Verilog of the output peripheral.")
def cosim(
    source: Source = "default",
    override: Overrides = [],  # noqa: B006 - typer copies it
    run_dir: RunDir = None,
    glue_dir: GlueDir = None,
    force: Force = False,
    matrix: Annotated[
        list[str], typer.Option(help="A matrix, or the end of its name. May be repeated; same as cosim.matrices.")
    ] = [],  # noqa: B006
    every: Annotated[bool, typer.Option("--all", help="All matrices.")] = False,
    tokens: Annotated[int | None, typer.Option(min=1, help="Token vectors; same as cosim.tokens.")] = None,
) -> None:
    """Stream real activations through crossbars with stuck cells and the Verilog of the output peripheral.

    The outputs must equal the NumPy reference. Earlier stages are done first where they are missing or outdated.
    """
    names = ["all"] if every else matrix
    if names:
        override = [*override, f"cosim.matrices={json.dumps(names)}"]
    if tokens is not None:
        override = [*override, f"cosim.tokens={tokens}"]
    _work("cosim", source, override, run_dir, glue_dir, force)


@app.command()
def simulate(
    source: Annotated[
        str, typer.Argument(metavar="RUN", help="A run directory with images, or bert-base or minilm-l6 by size alone.")
    ] = "runs/default",
    chip: Annotated[str | None, typer.Option(help="Chip preset or TOML file in the place of the run's chip.")] = None,
    override: Overrides = [],  # noqa: B006 - typer copies it
    scheme: Annotated[list[str], typer.Option(help="Only this scheme of the run. May be repeated.")] = [],  # noqa: B006
    tokens: Annotated[int, typer.Option(min=1, help="Length of a sequence.")] = 128,
    sequences: Annotated[int, typer.Option(min=1, help="Sequences in the pipeline; 1 measures latency.")] = 1,
    resolution: Annotated[str, typer.Option(help="analytic, matrix, tile or crossbar.")] = "crossbar",
    trace: Annotated[bool, typer.Option("--trace", help="Write a timeline for ui.perfetto.dev.")] = False,
    rtl: Annotated[
        str | None,
        typer.Option(
            metavar="BACKEND", help="Compute every ADC code of real tokens with this OPC: verilator, numpy or auto."
        ),
    ] = None,
    what_if: Annotated[bool, typer.Option("--what-if", help="Also double one resource of the chip at a time.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the results go; otherwise RUN/system.")
    ] = None,
) -> None:
    """Run a mapped model on the whole chip: latency, throughput, energy and area, protected against unprotected."""
    with _clean_exit():
        from typing import get_args

        from crossvote.sim.peripheral import Backend
        from crossvote.sim.system.model import Resolution
        from crossvote.sim.system.report import bottleneck_table, compare
        from crossvote.sim.system.report import what_if as double
        from crossvote.swstack.cli.console import progress_display
        from crossvote.swstack.experiment.simulate import simulate_source

        if resolution not in get_args(Resolution):
            raise UserError(f"--resolution {resolution}: must be one of {', '.join(get_args(Resolution))}.")
        if rtl is not None and rtl not in get_args(Backend):
            raise UserError(f"--rtl {rtl}: must be one of {', '.join(get_args(Backend))}.")
        with progress_display(out) as progress:
            simulated = simulate_source(
                source,
                chip=chip,
                overrides=override,
                schemes=scheme,
                tokens=tokens,
                sequences=sequences,
                resolution=cast(Resolution, resolution),
                trace=trace,
                rtl=cast(Backend | None, rtl),
                folder=folder,
                progress=progress,
            )
            last = list(simulated.results.values())[-1]
            doubled = double(last.workload, simulated.chip, sequences, progress) if what_if else []
        _print_table(compare(simulated.results))
        out.print()
        _print_table(bottleneck_table(last))
        if doubled:
            out.print()
            changes = [[name, f"{latency:.3f}", f"{rate:.3f}"] for name, latency, rate in doubled]
            _print_table([["what if", "latency x", "throughput x"], *changes])
        for name, checks in simulated.checks.items():
            run, codes = simulated.results[name], 2 * sum(check.codes for check in checks)
            wrong = sum(not check.equal for check in checks)
            out.print(
                f"{name}: {codes / 1e6:,.1f} M ADC codes through {checks[0].backend} in {run.wall_seconds:.1f} s, "
                f"{codes / run.wall_seconds / 1e6:.1f} M codes/s, {sum(c.cycles for c in checks) / 1e6:,.1f} M cycles, "
                f"simulated to wall 1 : {run.wall_seconds / (run.elapsed_ps * 1e-12):,.0f}, "
                f"{'every integer equal' if not wrong else f'{wrong} groups DIFFER'}"
            )
        for path in simulated.files:
            out.print(str(path))
        if any(not check.equal for checks in simulated.checks.values() for check in checks):
            raise typer.Exit(1)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the first of which is the header, in aligned columns."""
    table = Table(box=None, pad_edge=False)
    for i, title in enumerate(rows[0]):
        table.add_column(_escape(title), justify="left" if i == 0 else "right")
    for row in rows[1:]:
        table.add_row(*(_escape(cell) for cell in row))
    out.print(table)


@app.command()
def tables(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories that have been pruned.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the tables go.")] = Path("tables"),
) -> None:
    """Write the paper's Table 1 and Table 2 and its weight histogram for one's own runs, beside the paper's numbers."""
    with _clean_exit():
        from crossvote.swstack.experiment.tables import tables as write

        for path in write(runs, folder):
            out.print(str(path))


@app.command()
def compare(
    source: Source = "default",
    override: Overrides = [],  # noqa: B006 - typer copies it
    run_dir: RunDir = None,
    glue_dir: GlueDir = None,
    method: Annotated[list[str], typer.Option(help="A pruning method; all of them otherwise. May be repeated.")] = [],  # noqa: B006
    column_sparsity: Annotated[
        list[float],
        typer.Option(
            help="Share of columns to prune; the configured one otherwise. May be repeated, for a curve. "
            "0: the dense model, trained on as long."
        ),
    ] = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="Seeds per method and share.")] = 1,
) -> None:
    """Compare pruning methods at equal sparsity, from the same fine-tuned model, with the same schedule."""
    with _clean_exit():
        from crossvote.swstack.experiment.comparison import check_methods, check_targets, compare_in_run

        methods = check_methods(method)
        config, directory = _resolve(source, override, run_dir, glue_dir)
        targets = check_targets(column_sparsity, config.prune.column_sparsity)
    with _clean_exit(f"crossvote compare {directory}"):
        _update(directory, config, "finetune", force=False)
        from crossvote.swstack.cli.console import progress_display

        with progress_display(out) as progress:
            _print_table(compare_in_run(directory, config, methods, targets, seeds, progress))


@app.command()
def verilog(
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")] = Path("build/verilog"),
    chip: Annotated[str, typer.Option(help="Chip preset or TOML file that sets the parameters.")] = "crossvote",
) -> None:
    """Export the synthesizable Verilog of the output peripheral."""
    with _clean_exit():
        from crossvote.rtl.export import export
        from crossvote.sim.chip.config import load_chip
        from crossvote.sim.peripheral.opc_array import opc_parameters

        for path in export(opc_parameters(load_chip(chip)), folder):
            out.print(str(path))


@app.command()
def presets() -> None:
    """List the shipped configurations, chips and protection schemes."""
    with _clean_exit():
        from crossvote.sim.chip.config import chip_presets
        from crossvote.swstack.experiment.config import describe_protection, shipped_configs
        from crossvote.swstack.mapping.protection import PRESETS
        from crossvote.swstack.tasks import task_names

        _section("configurations", "crossvote run NAME", {n: _headline(p) for n, p in shipped_configs().items()})
        _section("chips", "-o chip.preset=NAME", {n: _headline(p) for n, p in chip_presets().items()})
        _section(
            "protection schemes", "-o 'map.schemes=[...]'", {n: describe_protection(p) for n, p in PRESETS.items()}
        )
        out.print("[bold]tasks[/]  [dim]-o task.name=NAME[/]")
        out.print(f"  {', '.join(task_names())}")


def _section(title: str, use: str, rows: dict[str, str]) -> None:
    out.print(f"[bold]{title}[/]  [dim]{_escape(use)}[/]")
    width = max(map(len, rows))
    for name, text in rows.items():
        out.print(f"  {name:<{width}}  {_escape(text)}")
    out.print()


def _headline(path: Path) -> str:
    """The first comment of a TOML file, which says what it is."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix("#").strip() for line in lines if line.startswith("#")), "")


@app.command()
def doctor(glue_dir: GlueDir = None) -> None:
    """Say which simulators, compilers, packages and data are there, and how to get what is missing."""
    with _clean_exit():
        from crossvote.swstack.cli.doctor import diagnose

        findings = diagnose(glue_dir)
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            mark = "[green]ok     [/]" if finding.found else "[red]missing[/]" if finding.required else "absent "
            out.print(f"{mark} {finding.name:<{width}}  {_escape(finding.found or finding.used_for)}")
            if not finding.found:
                out.print(f"        {'':<{width}}  [dim]get it:[/] {_escape(finding.hint)}")
        if any(finding.required and not finding.found for finding in findings):
            raise typer.Exit(1)


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "100")
    main()
