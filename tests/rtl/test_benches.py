"""A bench runs from pytest too; ``python -m tb.run`` (make sim) runs all of them under both simulators."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.run import BENCHES, missing, run_bench


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
@pytest.mark.parametrize("name", ["opc_log", "opc_checksum", "opc_scale"])
def test_a_bench_passes(name: str, simulator: str, tmp_path: Path) -> None:
    if hint := missing(simulator):
        pytest.skip(hint)
    bench = next(bench for bench in BENCHES if bench.name == name)
    passed, failed, log = run_bench(bench, simulator, tmp_path / "bench")
    assert failed == 0, log.read_text(errors="replace")[-4000:]
    assert passed > 5
