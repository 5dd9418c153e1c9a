"""Command line of a benchmark that measures energies netlist by netlist, in pieces if asked.

Rows go into a JSON file, from which the system model takes them, and into a document as a table; a row that is measured
anew takes the place of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.sections import Section
from crossvote.rtl.asic import LIBRARY_NM, WIRE_PF
from crossvote.rtl.liberty import Library, read
from crossvote.sim.common.files import write_text_atomic

#: Makes a row of: its number, a Liberty file, what that says, a folder for netlists.
Measure = Callable[[int, Path, Library, Path], dict[str, Any]]


def run(
    kind: str,
    description: str,
    results: Path,
    section: Section,
    folder: Path,
    keys: Sequence[Hashable],
    key: Callable[[Mapping[str, Any]], Hashable],
    measure: Measure,
    table: Callable[[dict[str, Any]], str],
) -> None:
    """Measure the rows that the command line names, and write file and document after each.

    Args:
        kind: "opc" or "tile". description: of the benchmark. keys: of all rows, in their order. key: of a row. table:
            Markdown of the file's content.
    """
    module = f"benchmarks.{kind}_power"
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description.split("\n", 1)[0])
    parser.add_argument("--liberty", type=Path, required=True, help="cell library")
    parser.add_argument("--row", type=int, action="append", choices=range(len(keys)), help="of the table; default: all")
    parser.add_argument("--folder", type=Path, default=folder, help="netlists, kept for the same hardware")
    options = parser.parse_args()
    library = read(options.liberty.read_text(encoding="latin-1"))
    rows: dict[Hashable, dict[str, Any]] = {}
    if options.row and results.is_file():
        rows = {key(row): row for row in json.loads(results.read_text())["rows"]}
    document: dict[str, Any] = {
        "format": f"crossvote-{kind}-energy",
        "format_version": 1,
        "source": f"python -m {module}, docs/{kind}.md",
        "library": library.name,
        "node_nm": LIBRARY_NM,
        "volts": library.volts,
        "wire_pf": WIRE_PF,
        "rows": [],
    }
    for number in options.row or range(len(keys)):
        print(f"{keys[number]} ...", file=sys.stderr, flush=True)
        rows[keys[number]] = measure(number, options.liberty, library, options.folder)
        document["rows"] = [rows[one] for one in keys if one in rows]
        write_text_atomic(results, json.dumps(document, indent=1) + "\n")
        section.write(table(document))
    print(table(document))
