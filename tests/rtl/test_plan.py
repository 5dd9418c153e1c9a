"""The verification plan leaves nothing out, and its page is what it says; coverage files and waveforms are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb import plan
from tb.code_coverage import Point, read_coverage, summary
from tb.formal import __main__ as formal
from tb.random_mutants import describe, mutated
from tb.run import SMALL, waveform


def test_everything_is_in_a_feature_and_every_pattern_means_something() -> None:
    assert plan.problems() == []
    assert all(len(names) > 5 for names in plan.known().values())


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PLAN", (*plan.PLAN[1:], plan.Feature("odd", tests=("test_odd.*",))))
    found = plan.problems()
    assert "properties: 'differences_are_exact' is in no feature" in found
    assert "mutants: 'difference.py: operands swapped' is in no feature" in found
    assert "tests: 'test_odd.*' means nothing" in found


def test_the_page_is_the_plan() -> None:
    page = Path(__file__).parents[2] / "docs" / "verification.md"
    assert page.read_text(encoding="utf-8").endswith(plan.tables())


def test_coverage_is_read(tmp_path: Path) -> None:
    def counter(kind: str, line: int, what: str, count: int) -> str:
        fields = {"f": "opc.v", "l": line, "page": f"v_{kind}/opc", "o": what}
        return "C '" + "".join(f"\x01{key}\x02{value}" for key, value in fields.items()) + f"' {count}\n"

    path = tmp_path / "coverage.dat"
    lines = counter("line", 3, "block", 0) + counter("toggle", 4, "a[0]:0->1", 5) + counter("toggle", 4, "a[0]:1->0", 0)
    path.write_text("# SystemC::Coverage-3\n" + lines + counter("toggle", 4, "a[1]", 7), encoding="latin-1")
    counts = read_coverage(path)
    assert counts == {Point("line", 3, "block"): 0, Point("toggle", 4, "a[0]"): 0, Point("toggle", 4, "a[1]"): 7}
    assert summary(counts) == "line 0 of 1 (0.0 %), toggle 1 of 2 (50.0 %)"


def test_a_waveform_is_found(tmp_path: Path) -> None:
    assert waveform(tmp_path) is None
    (tmp_path / "opc.fst").touch()
    assert waveform(tmp_path) == tmp_path / "opc.fst"


def test_a_random_mutant_is_told_in_short() -> None:
    line = r"mutate -mode inv -module opc -cell $flatten\readout.$54 -port Q -portbit 8 -wire readout.end -wirebit 0"
    assert describe(line) == "inv of readout.end: Q bit 8"


@pytest.mark.slow
@pytest.mark.skipif(formal.missing() is not None, reason=str(formal.missing()))
def test_random_mutants_sleep_in_one_netlist(tmp_path: Path) -> None:
    from crossvote.rtl.opc import Opc

    text, mutants = mutated(Opc(SMALL), 12, 3, tmp_path)
    assert [mutant.number for mutant in mutants] == list(range(1, 13))
    assert '$value$plusargs("mutant=%d", mutant)' in text
    assert all(f"16'h{number:04x}" in text.lower() for number in range(1, 13))
