"""The table of families in docs/models.md; run it to write the table anew."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

from test_families import BY_NAME, difference, prepare
from tiny_families import build

from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference.embedding_faults import embedding_crossbars
from crossvote.swstack.models.layouts import layers, word_line_groups
from crossvote.swstack.models.loading import find_groups

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- families -->\n", "<!-- /families -->"
HEADER = (
    "| model | layers | groups of a layer (matrices) | difference | on request | folding |\n|---|---|---|---|---|---|\n"
)


def on_request(name: str) -> str:
    """What of a family goes on the chip by ``model.head`` and ``faults.embeddings``."""
    model, parts = build(BY_NAME[name]), []
    with suppress(UserError):
        find_groups(model, "traced" if name == "MobileBert" else "auto", head=True)
        parts.append("head")
    with suppress(UserError):
        embedding_crossbars(model, 128, 128)
        parts.append("tokens")
    return ", ".join(parts) or "nothing"


def row(name: str) -> tuple[str, str, str, str]:
    """Model, how its layers are found, the groups of one layer, folding."""
    model = build(BY_NAME[name])
    account = prepare(model, name)
    groups = word_line_groups(model)
    found = layers(model)
    if found:
        first = ", ".join(f"{role} ({len(group.matrices)})" for role, group in found[0].groups.items())
        folding = ", ".join(found[0].folding) or "none"
        if found[0].no_folding:
            folding += f" ({found[0].no_folding})"
        inside = sorted({reason for path, reason in account.digital.items() if path.startswith(f"{found[0].path}.")})
        if inside:
            first += f"; digital: {', '.join(inside)}"
    else:
        sizes = Counter(len(group.matrices) for group in groups)
        first = ", ".join(f"{count} of {size}" for size, count in sorted(sizes.items(), reverse=True))
        folding = "none (traced)"
    return name, "known" if found else "traced", first, folding


def written() -> dict[str, list[str]]:
    """The rows in the document, by model."""
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]
    return {row[0]: row for row in cells}


def main() -> None:
    """Write the table into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = []
    for name in BY_NAME:
        model, kind, groups, folding = row(name)
        share = f"{100 * difference(name, 8):.1f} %"
        lines.append(f"| {model} | {kind} | {groups} | {share} | {on_request(name)} | {folding} |\n")
    table = HEADER + "".join(lines)
    start, stop = text.index(BEGIN) + len(BEGIN), text.index(END)
    DOCUMENT.write_text(text[:start] + table + text[stop:], encoding="utf-8")


if __name__ == "__main__":
    main()
