"""The documentation: every block of Python runs, every page is in the site, and the site needs no network."""

from __future__ import annotations

import calendar
import dataclasses
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import crossvote
from crossvote.sim.array.image import GroupImage
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.system.group_work import GroupWork
from crossvote.sim.system.placement import Placement
from crossvote.sim.system.result import SystemResult, Usage
from crossvote.sim.system.token_table import TokenTable
from crossvote.sim.system.workload import LayerWork, Workload
from crossvote.swstack.cli import reference as commands
from crossvote.swstack.cli.main import application
from crossvote.swstack.evaluation.results import CosimRecord, Point, Proof, Scores, Trial
from crossvote.swstack.experiment.config_reference import all_keys, file_kinds, files_reference, keys_of, reference
from crossvote.swstack.tasks import Task, TaskConfig, load_task
from crossvote.swstack.tasks.base import Example

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: Pages to learn from; the guides show pieces.
PAGES = [DOCS / "index.md", *sorted((DOCS / "tutorials").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_tutorials_have_code() -> None:
    assert all(blocks(page) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_code_of_a_page_runs_in_its_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks(page), 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


def typed(text: str) -> list[tuple[str, str]]:
    """What a reader types, in the order of the page: ("python", block) and ("crossvote", command line).

    Commands stand in blocks of their own, or in running text with arguments.
    """
    pattern = r"^```python\n(.*?)^```|^    (crossvote [^\n]*)|`(crossvote [a-z][^`\n]* [^`\n]*)`"
    found = re.findall(pattern, text, re.DOTALL | re.MULTILINE)
    return [("python", block) if block else ("crossvote", line or inline) for block, line, inline in found]


def test_what_is_typed_is_found_in_its_order() -> None:
    page = "    crossvote run x  # why\n    ls\n```python\n1 + 1\n```\n`crossvote config chip` or `crossvote run`.\n"
    assert typed(page) == [
        ("crossvote", "crossvote run x  # why"),
        ("python", "1 + 1\n"),
        ("crossvote", "crossvote config chip"),
    ]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the tutorials take for granted: the examples, an encoder of one's own, SST-2 at home."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    from tiny_encoder import tiny_encoder

    known = load_task(TaskConfig(name="grammar-single"), 0).dev[:32]  # of words that the encoder has
    pairs = [(one.sentence1, one.label) for one in known if isinstance(one, Example)]
    rows = "sentence\tlabel\n" + "".join(f"{sentence}\t{label}\n" for sentence, label in pairs)
    home = tmp_path / "home"
    (home / "glue" / "SST-2").mkdir(parents=True)
    for part in ("train", "dev"):
        (home / "glue" / "SST-2" / f"{part}.tsv").write_text(rows)
    desk = tmp_path / "desk"
    tiny_encoder(desk / "my-encoder")
    monkeypatch.chdir(desk)
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")))
    monkeypatch.setenv("HOME", str(home))
    return desk


@pytest.fixture
def scheduler() -> Iterator[Callable[[], str]]:
    """The address of a Dask scheduler with two workers, which are started when it is first asked for."""
    with ExitStack() as running:

        @cache
        def address() -> str:
            distributed = pytest.importorskip("distributed")
            cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
            return str(running.enter_context(cluster).scheduler_address)

        yield address


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: str(page.name))
def test_a_tutorial_can_be_typed_as_it_stands(page: Path, desk: Path, scheduler: Callable[[], str]) -> None:
    """Its blocks of Python and its commands in their order and nothing else, but for SLURM, which is not here."""
    names: dict[str, object] = {"__name__": "page"}
    for kind, text in typed(page.read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, page.name, "exec"), names)
        elif "slurm:" not in text:
            if "tcp://" in text:
                text = text.replace("tcp://head:8786", scheduler())
            line, _, target = text.partition(" > ")
            done = CliRunner().invoke(application(), shlex.split(line, comments=True)[1:])
            assert done.exit_code == 0, (line, done.stderr, done.exception)
            if target:
                (desk / target).write_text(done.stdout, encoding="utf-8")


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="no MkDocs: pip install 'crossvote[docs]'")
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
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
    assert {"reference/commands.html", "reference/campaign-files.html"} <= pages
    python = (tmp_path / "site" / "reference" / "python.html").read_text(encoding="utf-8")
    public = {name for name in crossvote.__all__ if name != "__version__"}
    assert {name for name in public if f'id="crossvote.face.{name}"' not in python} == set()
    for page in pages:
        text = (tmp_path / "site" / page).read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|img|iframe)[^>]* src="https?:[^"]*"', text) == []
        assert re.findall(r'<link[^>]* rel="stylesheet"[^>]* href="https?:[^"]*"', text) == []


def test_every_name_of_the_public_face_says_what_it_is() -> None:
    for name in crossvote.__all__:
        found = getattr(crossvote, name)
        assert name == "__version__" or (found.__doc__ and len(found.__doc__) > 20), name


#: What the verbs of the public face give back, beside its own nouns, and what these are made of.
GIVEN = (
    SystemResult, Usage, Workload, LayerWork, GroupWork, TokenTable, Placement, ChipConfig, GroupImage,
    Scores, Point, Trial, Proof, CosimRecord, Task, Silicon,
)  # fmt: skip


@pytest.mark.parametrize("kind", [crossvote.Image, crossvote.Model, *GIVEN], ids=lambda kind: kind.__name__)
def test_every_member_of_what_a_program_gets_says_what_it_is(kind: Any) -> None:
    assert kind.__doc__
    members = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    own = {name: getattr(member, "__func__", member) for name, member in members.items() if name not in fields}
    assert [name for name, member in own.items() if callable(member) and not member.__doc__] == []
    properties = {name: member for name, member in own.items() if isinstance(member, property | cached_property)}
    assert [name for name, member in properties.items() if not member.__doc__] == []


def test_every_key_of_a_campaign_and_of_an_exploration_says_what_it_means() -> None:
    page = files_reference()
    for kind in file_kinds().values():
        keys = keys_of(kind)
        assert keys
        for key in keys:
            assert key.text, key.name
            assert f"| `{key.name}` |" in page


MARKDOWN = [
    *sorted(DOCS.rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "benchmarks").rglob("*.md")),
]
#: Pages of the site that are generated when it is built.
GENERATED: dict[str, Callable[[], str]] = {
    "reference/configuration.md": reference,
    "reference/campaign-files.md": files_reference,
    "reference/commands.md": lambda: commands.reference(application()),
}


def links(text: str) -> list[str]:
    """Targets of links and pictures, those of code left out."""
    plain = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", plain)


def anchors(text: str) -> set[str]:
    """What headings are called in addresses."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE):
        name = re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())
        found |= {name, f"{name}_1"} if name in found else {name}
    return found


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_or_a_heading_leads_somewhere(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            assert re.match(r"https?://[\w.-]+(/|$)|mailto:", link), f"{page}: {link}"
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        name = target.relative_to(DOCS).as_posix() if target.is_relative_to(DOCS) else ""
        assert target.exists() or name in GENERATED, f"{page}: {link}"
        if anchor and target.suffix == ".md":
            text = GENERATED[name]() if name in GENERATED else target.read_text(encoding="utf-8")
            assert anchor in anchors(text), f"{page}: {link}"


#: (page, command) of every call of the command in the documentation: in a block, or in running text with arguments.
CALLS = sorted(
    {
        (page.relative_to(ROOT).as_posix(), line)
        for page in MARKDOWN
        for text in [page.read_text(encoding="utf-8")]
        for line in [
            *re.findall(r"^(?:    |\$ )?(crossvote [a-z].*)$", text, re.MULTILINE),
            *re.findall(r"`(crossvote [a-z][^`\n]* [^`\n]*)`", text),
        ]
    }
)


@pytest.fixture(scope="module")
def whole() -> Any:
    """The command with all its subcommands."""
    return typer.main.get_command(application())


@pytest.mark.parametrize(("page", "line"), CALLS)
def test_every_command_in_the_documentation_is_understood(whole: Any, page: str, line: str) -> None:
    """Arguments and options are parsed as they stand; capitals and dots stand for the reader's own. Nothing is run."""
    command = whole
    # What follows a sign of the shell's is not ours.
    mine = takewhile(lambda word: word not in (">", "|"), shlex.split(line, comments=True)[1:])
    words = [word for word in mine if word not in ("...", "…")]
    context = command.make_context("crossvote", list(words), resilient_parsing=True)
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, list(words), parent=context)


def test_a_link_that_leads_nowhere_would_be_found() -> None:
    assert links("see [a](b.md#c), `[x](y)` and ![p](q.svg)") == ["b.md#c", "q.svg"]
    assert anchors("# One `two`\n## A: b, c\n```\n# no\n```\n") == {"one-two", "a-b-c"}


def test_facts_about_other_tools_are_dated() -> None:
    text = (DOCS / "comparison.md").read_text(encoding="utf-8")
    months = "|".join(calendar.month_name[1:])
    assert re.search(rf"as of ({months}) 20\d\d", text)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) >= 8
    for row in rows:
        assert re.search(r"20\d\d-\d\d|this tree", row), row


def test_the_page_of_file_formats_names_the_versions_of_today() -> None:
    from crossvote.sim.array import faults, image
    from crossvote.sim.chip import config as chip
    from crossvote.sim.common import records as results
    from crossvote.sim.system import report as costs
    from crossvote.swstack.experiment.campaign import database
    from crossvote.swstack.experiment.run import records as run

    page = (ROOT / "docs/file-formats.md").read_text(encoding="utf-8")
    assert costs.FORMAT_VERSION == chip.FORMAT
    for heading in (
        f"## Image, version {image.FORMAT_VERSION}",
        f"## Fault map, version {faults.FORMAT_VERSION}",
        f"## Results of a program, version {results.FORMAT}",
        f"## Run and store, format {run.FORMAT}",
        f"## Campaign, format {database.FORMAT}",
        f"## Costs and chip files, version {chip.FORMAT}",
        "## Version policy",
    ):
        assert f"{heading}\n" in page
