"""The speed benchmark says what it has measured at once, and measures it once where it may keep it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import fault_evaluation as benchmark
from benchmarks.measure import Result


def row(name: str) -> Result:
    return Result(name, "fp32", 1.0, 2.0, 0.5, "ms", goal=0.6)


def test_a_stopped_part_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []
    stop = True

    def measure(name: str) -> Callable[[], list[Result]]:
        def run() -> list[Result]:
            if stop and name == "second":
                raise KeyboardInterrupt
            done.append(name)
            return [row(name)]

        return run

    def part(quick: bool) -> Iterator[benchmark.Case]:
        for name in ("first", "second"):
            yield name, measure(name)

    monkeypatch.setitem(benchmark.BY_CASE, "rates", part)
    arguments = ["--only", "rates", "--kept", str(tmp_path / "kept"), "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["fault_evaluation", *arguments])
    with pytest.raises(KeyboardInterrupt):
        benchmark.main()
    assert "| first | fp32 |" in capsys.readouterr().out
    stop = False
    benchmark.main()
    assert done == ["first", "second"]
    assert (tmp_path / "out/fault_rates.md").read_text(encoding="utf-8").count("| fp32 |") == 2


def test_the_rates_of_percents_are_measured_one_by_one() -> None:
    names = [name for name, _ in benchmark.cases("rates", True)]
    rates = benchmark.RATES[2:]
    assert len(set(names)) == len(names) == 2 * 2 * len(rates)
    assert all(f"p = {100 * rate:g} %" in " ".join(names) for rate in rates)
