"""CrossVote: transformers on ReRAM crossbars with stuck cells, from checkpoint to accuracy, cost and Verilog.

What programs may rely on are ``__version__`` and the nouns and verbs of ``crossvote.face``, which are names of this
package too. They are looked up when first used, so that ``import crossvote`` loads neither PyTorch nor anything else.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossvote.face import *  # noqa: F403

    __version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("crossvote")
        except PackageNotFoundError:  # a checkout that is not installed
            return "0+unknown"
    private = name.startswith("_") and name != "__all__"
    # ``from crossvote import sim`` asks for a name first and imports the package of that name then.
    if not private and importlib.util.find_spec(f"{__name__}.{name}") is None:
        face = importlib.import_module(f"{__name__}.face")
        if name == "__all__":
            return ["__version__", *face.__all__]
        if name in face.__all__:
            return getattr(face, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]
