"""What the site has beyond ``docs/``: the references of all keys and commands, and the results that pages link to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from crossvote.swstack.cli import reference as commands
from crossvote.swstack.cli.main import application
from crossvote.swstack.experiment import config_reference

ROOT = Path(__file__).parent
_OUTSIDE = re.compile(r"\]\(\.\./(benchmarks/[^)#]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated files, and the files of ``benchmarks/`` that some page links to."""
    files.append(File.generated(config, "reference/configuration.md", content=config_reference.reference()))
    files.append(File.generated(config, "reference/campaign-files.md", content=config_reference.files_reference()))
    files.append(File.generated(config, "reference/commands.md", content=commands.reference(application())))
    schema = json.dumps(config_reference.schema(), indent=1) + "\n"
    files.append(File.generated(config, "reference/run.schema.json", content=schema))
    pages = [Path(config.docs_dir, file.src_uri) for file in files.documentation_pages() if file.abs_src_path]
    linked = {name for page in pages for name in _OUTSIDE.findall(page.read_text(encoding="utf-8"))}
    for name in sorted(linked):
        if _kept(name):
            files.append(File.generated(config, name, content=(ROOT / name).read_bytes()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links into ``benchmarks/`` lead to the copies; one to a folder or a page there becomes plain text."""
    return _OUTSIDE.sub(lambda link: f"]({link[1]})" if _kept(link[1]) else f"] (`{link[1]}`)", markdown)


def _kept(name: str) -> bool:
    """Pages stay where they are: their own links would lead nowhere."""
    return (ROOT / name).is_file() and not name.endswith(".md")
