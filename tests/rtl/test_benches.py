"""A bench runs from pytest too; ``python -m tb.run`` (make sim) runs all of them under both simulators."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.run import BENCHES, missing, run_bench


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_log_of_disagreements(simulator: str, tmp_path: Path) -> None:
    if hint := missing(simulator):
        pytest.skip(hint)
    bench = next(bench for bench in BENCHES if bench.name == "opc_log")
    passed, failed, log = run_bench(bench, simulator, tmp_path / "bench")
    assert failed == 0, log.read_text(errors="replace")[-4000:]
    assert passed == 8
