"""Modules that are imported when something of them is first used.

Classes of configurations lie beside the arithmetic that they configure, and reading a configuration, listing presets or
looking at a finished run needs none of the arithmetic: NumPy alone takes as long to load as all else of such a command.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class Later(ModuleType):
    """Stands for the module ``name``. An attribute is looked up there once, and costs what any other does after that.

    Type checkers get the true import: ``if TYPE_CHECKING: import numpy as np``, ``else: np = Later("numpy")``.
    """

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(importlib.import_module(self.__name__), attribute)
        setattr(self, attribute, found)
        return found
