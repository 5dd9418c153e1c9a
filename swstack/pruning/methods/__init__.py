"""Pruning methods, one file each: `methods/group_lasso.py` holds, and registers, the method 'group-lasso'.

A new method is a new file whose class carries the decorator `crossvote.swstack.pruning.method.pruning_method`; nothing
else names it. Files that begin with an underscore hold what several methods share.
"""

from __future__ import annotations

import pkgutil


def method_names() -> tuple[str, ...]:
    """Names of all methods, the paper's first; imports none of them, and so no torch."""
    names = sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__) if module.name[0] != "_")
    return ("gates", *(name for name in names if name != "gates"))
