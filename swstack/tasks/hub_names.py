"""Names of data sets on the Hugging Face hub, as a configuration has them: hub:OWNER/NAME/CONFIGURATION:SPLIT."""

from __future__ import annotations

import re

from crossvote.sim.common.errors import UserError

_HUB = "hub:"
#: NAME, OWNER/NAME or OWNER/NAME/CONFIGURATION; what begins with a dot would be a folder of this machine.
_PATH = re.compile(r"\w[\w.-]*(/\w[\w.-]*){0,2}")


def is_hub_name(source: str) -> bool:
    """Whether a source of data is meant as a name on the hub."""
    return source.startswith(_HUB)


def hub_parts(source: str) -> tuple[str, str | None, str]:
    """Repository, configuration and split of a name.

    Raises:
        UserError: it is no such name.
    """
    path, _, split = source.removeprefix(_HUB).partition(":")
    if not _PATH.fullmatch(path):
        raise UserError(f"{source}: no name of a data set; hub:OWNER/NAME:SPLIT or hub:NAME:SPLIT is.")
    words = path.split("/")
    return "/".join(words[:2]), words[2] if len(words) > 2 else None, split or "train"


def hub_repository(source: str) -> str:
    """The repository of a name; raises what ``hub_parts`` does."""
    return hub_parts(source)[0]
