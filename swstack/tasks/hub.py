"""Data sets of the Hugging Face hub, or of the library's cache where the hub is out of reach."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crossvote.swstack.models.sources import HUB_SECONDS


def hub_data(name: str, configuration: str | None, **more: Any) -> Any:
    """``datasets.load_dataset`` after one short attempt to reach the hub.

    Left alone it would try for half a minute, and tell of every try.

    Raises:
        Exception: of many kinds; who asks says what the data were for.
    """
    from datasets import load_dataset  # slow to import, and needed on this path only

    with _the_cache_where_the_hub_is_out_of_reach():
        return load_dataset(name, configuration, **more)


@contextmanager
def _the_cache_where_the_hub_is_out_of_reach() -> Iterator[None]:
    import datasets.config
    from huggingface_hub import constants, get_session

    places: tuple[Any, ...] = (constants, datasets.config)
    before = [place.HF_HUB_OFFLINE for place in places]
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    try:
        if not constants.HF_HUB_OFFLINE:
            get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except Exception:  # of the HTTP library, which huggingface_hub may exchange
        for place in places:
            place.HF_HUB_OFFLINE = True
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        for place, offline in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = offline
