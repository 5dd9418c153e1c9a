"""``crossvote config``: what the keys of a configuration mean."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from crossvote.sim.common.errors import UserError
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.output import Output


@command(
    short_help="Explain the keys of a configuration.",
    examples=(
        "crossvote config faults",
        "crossvote config chip.adc.bits",
        "crossvote config --schema > run.schema.json",
    ),
)
def config(
    out: Output,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY...]", help="Keys or sections; all of them otherwise.")
    ] = None,
    explain: Annotated[str | None, typer.Option(metavar="KEY", help="The same for one key.")] = None,
    as_schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema, for editors.")] = False,
    as_reference: Annotated[bool, typer.Option("--reference", help="Print all keys as a Markdown page.")] = False,
) -> None:
    """Say of every key its type, default, bounds and meaning."""
    from crossvote.swstack.experiment import config_reference

    names = [*(names or ()), *([explain] if explain else ())]
    if names and (as_schema or as_reference):
        raise UserError("--schema and --reference are about all keys; leave out the names.")
    if as_schema:
        out.text(json.dumps(config_reference.schema(), indent=1))
        out.result(config_reference.schema())
        return
    if as_reference:
        out.text(config_reference.reference().rstrip("\n"))
        out.result({"markdown": config_reference.reference()})
        return
    found = [key for name in names for key in config_reference.explain(name)] if names else config_reference.all_keys()
    for key in found:
        about = "; ".join(
            part for part in (key.kind.replace("`", ""), key.default and f"default {key.default}", key.bounds) if part
        )
        out.text(f"{key.name}  ({about})")
        out.text(f"    {key.text}")
    out.result([dataclasses.asdict(key) for key in found])
