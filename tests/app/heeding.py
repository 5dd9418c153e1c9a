"""Children that hear a signal also where the tests themselves are deaf to it (a shell's background job, nohup)."""

from __future__ import annotations

import signal


def heed_signals() -> None:
    """Give interrupts their default meaning again; to be run in a child before its program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
