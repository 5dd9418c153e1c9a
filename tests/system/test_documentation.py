from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "system-model.md"


def test_the_examples_of_the_page_work():
    first, component = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    names: dict = {}
    exec(first, names)
    assert names["table"][0] == ["", "unprotected", "MSB three times"]
    names = {"__name__": "example"}
    exec(component, names)
    assert names["seen"] == [("t0", 20_000), ("t1", 25_000), ("t2", 30_000)]
