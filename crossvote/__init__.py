"""CrossVote: transformers on ReRAM crossbars with stuck cells, from checkpoint to accuracy, cost and Verilog.

The names below are what programs may rely on; ``crossvote.face`` documents them. They are looked up when first used,
so that ``import crossvote`` loads neither PyTorch nor anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossvote.face import (
        Image as Image,
    )
    from crossvote.face import (
        Model as Model,
    )
    from crossvote.face import (
        Silicon as Silicon,
    )
    from crossvote.face import (
        chip as chip,
    )
    from crossvote.face import (
        chips as chips,
    )
    from crossvote.face import (
        cosim as cosim,
    )
    from crossvote.face import (
        evaluate as evaluate,
    )
    from crossvote.face import (
        finetune as finetune,
    )
    from crossvote.face import (
        load as load,
    )
    from crossvote.face import (
        map as map,
    )
    from crossvote.face import (
        multiply as multiply,
    )
    from crossvote.face import (
        on_chip as on_chip,
    )
    from crossvote.face import (
        prune as prune,
    )
    from crossvote.face import (
        simulate as simulate,
    )
    from crossvote.face import (
        task as task,
    )

    __version__: str

__all__ = [
    "Image",
    "Model",
    "Silicon",
    "__version__",
    "chip",
    "chips",
    "cosim",
    "evaluate",
    "finetune",
    "load",
    "map",
    "multiply",
    "on_chip",
    "prune",
    "simulate",
    "task",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("crossvote")
        except PackageNotFoundError:  # a checkout that is not installed
            return "0+unknown"
    if name in __all__:
        from crossvote import face

        return getattr(face, name)
    raise AttributeError(f"module 'crossvote' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
