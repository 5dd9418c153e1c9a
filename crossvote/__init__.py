"""CrossVote: transformers on ReRAM crossbars with stuck cells, from checkpoint to accuracy, cost and Verilog."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "__version__":  # looked up only when asked for: a command that prints nothing of it starts faster
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("crossvote")
        except PackageNotFoundError:  # a checkout that is not installed
            return "0+unknown"
    raise AttributeError(f"module 'crossvote' has no attribute {name!r}")
