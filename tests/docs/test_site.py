"""The documentation: every block of Python runs, every page is in the site, and the site needs no network."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from crossvote.swstack.experiment.config_reference import all_keys

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: Pages to learn from; the guides show pieces.
PAGES = [DOCS / "index.md", *sorted((DOCS / "tutorials").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_tutorials_have_code():
    assert all(blocks(page) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_code_of_a_page_runs_in_its_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks(page), 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="no MkDocs: pip install 'crossvote[docs]'")
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    warned = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert (done.returncode, warned) == (0, []), done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.html")}
    sources = {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")}
    assert sources <= pages
    reference = (tmp_path / "site" / "reference" / "configuration.html").read_text(encoding="utf-8")
    assert all(f"<code>{key.name.rpartition('.')[2]}</code>" in reference for key in all_keys())
    assert (tmp_path / "site" / "reference" / "run.schema.json").is_file()
    for page in pages:
        text = (tmp_path / "site" / page).read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|img|iframe)[^>]* src="https?:[^"]*"', text) == []
        assert re.findall(r'<link[^>]* rel="stylesheet"[^>]* href="https?:[^"]*"', text) == []


def test_every_name_of_the_public_face_says_what_it_is():
    import crossvote

    for name in crossvote.__all__:
        found = getattr(crossvote, name)
        assert name == "__version__" or (found.__doc__ and len(found.__doc__) > 20), name
