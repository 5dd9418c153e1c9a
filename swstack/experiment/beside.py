"""What the report shows beside the results of the stages: attention heads, and the sensitivity of parts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import reading

#: What families call the number of attention heads.
_HEADS = ("num_attention_heads", "n_heads", "n_head", "num_heads")


def attention_heads(model: Path) -> tuple[int, int]:
    """Attention heads of a layer, of queries and of keys, by the model's ``config.json``; 1 where that does not say."""
    path = model / "config.json"
    with reading(path, "model configuration"):
        config = json.loads(path.read_text(encoding="utf-8"))
    found = next((config[key] for key in _HEADS if isinstance(config.get(key), int)), 1)
    return int(found), int(config.get("num_key_value_heads") or found)


def sensitivity_rows(path: Path) -> list[dict[str, Any]]:
    """The rows that ``crossvote sensitivity`` wrote, numbers as numbers; none where it was not called.

    Raises:
        UserError: the file is something else.
    """
    if not path.is_file():
        return []
    with reading(path, "sensitivity table"), path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
        try:
            return [{key: value if key == "part" else float(value) for key, value in row.items()} for row in rows]
        except (TypeError, ValueError):
            raise UserError(f"{path}: not a table of 'crossvote sensitivity'; run that again.") from None
