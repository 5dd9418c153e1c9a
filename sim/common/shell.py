"""Command lines in messages, which a user copies into a shell."""

from __future__ import annotations

import os
import shlex


def command_line(command: str, *arguments: str | os.PathLike[str]) -> str:
    """``crossvote COMMAND ARGUMENTS...`` as a shell takes it: what has blanks or signs is quoted, and a path that
    begins with a hyphen is no option.
    """
    words = (os.fspath(argument) for argument in arguments)
    safe = (f"./{word}" if word.startswith("-") and not word.startswith("--") else word for word in words)
    return f"crossvote {command} {shlex.join(safe)}"
