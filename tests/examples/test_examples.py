"""The examples run as they stand, and say what their readers come for."""

from __future__ import annotations

import io
import re
import runpy
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from crossvote.swstack.models.config import EMBEDDED_MODEL
from crossvote.swstack.models.packaged import packaged_directory

ROOT = Path(__file__).parents[2]
#: Seconds of one slow core that an example may take.
LIMIT = 120


@pytest.fixture
def run(monkeypatch):
    """Runs an example as ``python examples/NAME`` does, in this process, which has loaded PyTorch; gives what it says.

    One in a process of its own: tests/app/test_end_to_end.py.
    """

    def as_script(name: str) -> str:
        script = ROOT / "examples" / name
        monkeypatch.syspath_prepend(script.parent)
        monkeypatch.setattr(sys, "argv", [str(script)])
        before, said = time.process_time(), io.StringIO()
        with redirect_stdout(said):
            runpy.run_path(str(script), run_name="__main__")
        assert time.process_time() - before < LIMIT
        return said.getvalue()

    return as_script


def values(text: str, metric: str) -> dict[tuple[str, float], float]:
    """(scheme, share of stuck cells in percent) -> value."""
    found = re.findall(rf"^(\S+), (\S+) % of the cells stuck: {metric} (\S+)", text, re.MULTILINE)
    return {(scheme, float(rate)): float(value) for scheme, rate, value in found}


needs_encoder = pytest.mark.skipif(packaged_directory(EMBEDDED_MODEL) is None, reason="minilm-l6 is not installed")


def test_a_decoder_loses_less_under_protection(run):
    text = run("decoder.py")
    found = values(text, "perplexity")
    assert found["none-column", 0.0] == pytest.approx(found["best", 0.0], rel=0.02)
    assert found["best", 0.0] < 10  # a model that guesses has the number of its words, more than a hundred
    assert found["none-column", 5.0] > found["none-column", 0.0]
    assert found["best", 5.0] <= found["none-column", 5.0]
    assert text.count("% stuck: '") == 8
    prefill, step = map(float, re.findall(r"(\d+\.\d) us", text))
    assert step < prefill < 32 * step


@needs_encoder
def test_an_own_classifier_from_csv(run):
    text = run("own_classifier.py")
    found = values(text, "accuracy")
    assert set(found) == {(scheme, rate) for scheme in ("none-column", "best") for rate in (0.0, 1.0)}
    assert found["best", 0.0] > 80
    assert "train: 32 rows of " in text
    assert re.search(r"takes \d+\.\d us on the chip", text)


def test_token_classification_from_rows(run):
    text = run("token_classification.py")
    assert "classes: B-DISH, B-TIME, I-DISH, I-TIME, O; reported is entity_f1" in text
    found = values(text, "entity_f1")
    assert found["best", 0.0] > 80
    assert found["none-column", 20.0] < found["none-column", 0.0]
    assert found["best", 20.0] >= found["none-column", 20.0]
