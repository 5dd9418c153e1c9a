"""Pages of the site that are made from the code: the reference of all configuration keys, and their JSON schema."""

from __future__ import annotations

import json

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from crossvote.swstack.experiment import config_reference


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated files to those of ``docs/``."""
    files.append(File.generated(config, "reference/configuration.md", content=config_reference.reference()))
    schema = json.dumps(config_reference.schema(), indent=1) + "\n"
    files.append(File.generated(config, "reference/run.schema.json", content=schema))
    return files
