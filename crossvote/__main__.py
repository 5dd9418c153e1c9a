"""``python -m crossvote`` is the command ``crossvote``."""

from __future__ import annotations

from crossvote.swstack.cli.main import main

if __name__ == "__main__":
    main()
