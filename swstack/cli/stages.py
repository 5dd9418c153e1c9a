"""The commands that bring a run up to a stage: ``run`` for all of them, and one for each."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.options import DryRun, Force, GlueDir, Overrides, RunDir, Source
from crossvote.swstack.cli.output import Output
from crossvote.swstack.cli.work import work


@command(
    examples=(
        "crossvote run",
        "crossvote run mrpc --glue-dir ~/glue",
        "crossvote run my.toml -o faults.chips=20 --run-dir runs/mine",
        "crossvote run my.toml --dry-run",
    )
)
def run(
    out: Output,
    source: Source = "default",
    override: Overrides = [],  # noqa: B006 - typer copies it
    run_dir: RunDir = None,
    glue_dir: GlueDir = None,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Do the main job: all stages from fine-tuning to the report. What is finished is not done again."""
    work(out, "report", source, override, run_dir, glue_dir, force, dry_run)


def _stage_command(name: str, summary: str) -> None:
    def stage(
        out: Output,
        source: Source = "default",
        override: Overrides = [],  # noqa: B006 - typer copies it
        run_dir: RunDir = None,
        glue_dir: GlueDir = None,
        force: Force = False,
        dry_run: DryRun = False,
    ) -> None:
        work(out, name, source, override, run_dir, glue_dir, force, dry_run)

    long = f"{summary} Earlier stages are done first where they are missing or outdated."
    command(name, help=long, short_help=summary, examples=(f"crossvote {name} runs/default",))(stage)


# The texts stand here and not beside the stages, which import torch.
for _name, _summary in {
    "finetune": "Load the encoder and fine-tune it on the task.",
    "prune": "Learn row and column gates until every word-line group has the target sparsity.",
    "map": "Quantize and map onto crossbars, one image per protection scheme.",
    "faults": "Draw the fault maps: several rates, several chips.",
    "eval": "Measure the task metric of every scheme on the same faulty chips.",
}.items():
    _stage_command(_name, _summary)


@command(
    short_help="Stream real activations through crossbars and the output peripheral.",
    examples=("crossvote cosim runs/default --matrix layer.3.output.dense --tokens 64",),
)
def cosim(
    out: Output,
    source: Source = "default",
    override: Overrides = [],  # noqa: B006 - typer copies it
    run_dir: RunDir = None,
    glue_dir: GlueDir = None,
    force: Force = False,
    dry_run: DryRun = False,
    matrix: Annotated[
        list[str], typer.Option(help="A matrix, or the end of its name. May be repeated; same as cosim.matrices.")
    ] = [],  # noqa: B006
    every: Annotated[bool, typer.Option("--all", help="All matrices.")] = False,
    tokens: Annotated[int | None, typer.Option(min=1, help="Token vectors; same as cosim.tokens.")] = None,
    level: Annotated[
        Literal["opc", "tile"] | None,
        typer.Option(help="opc: codes into output peripherals; tile: activations into whole tiles (cosim.backend)."),
    ] = None,
) -> None:
    """Stream real activations through crossbars with stuck cells and the output peripheral.

    Its back end is the compiled Verilog where it can be built (cosim.backend). With --level tile the activations go
    through the Verilog of whole tiles and come out quantized to 8 bits. The outputs must equal the NumPy reference.
    Earlier stages are done first where they are missing or outdated.
    """
    names = ["all"] if every else matrix
    if names:
        override = [*override, f"cosim.matrices={json.dumps(names)}"]
    if tokens is not None:
        override = [*override, f"cosim.tokens={tokens}"]
    if level is not None:
        override = [*override, f"cosim.backend={'tile' if level == 'tile' else 'auto'}"]
    work(out, "cosim", source, override, run_dir, glue_dir, force, dry_run)
