"""What exported Verilog says about its registers and about where its lines come from."""

from __future__ import annotations

import re


def registers_and_sources(text: str) -> tuple[list[str], set[str]]:
    """Names of the registers of a Verilog text, and the lines of the project's files that its comments name."""
    names = re.findall(r"^  reg (?:\[[^\]]*\] )?(\S+)", text, re.MULTILINE)
    sources = {place for places in re.findall(r'/\* src = "([^"]*)" \*/', text) for place in places.split("|")}
    return [name.removeprefix("\\").rstrip(";") for name in names], sources
