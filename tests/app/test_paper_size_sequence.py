"""A whole sequence through the Verilog: it goes on where it stopped, and every output is compared once."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from benchmarks import paper_size_sequence as sequence
from crossvote.sim.common.libraries import find_compiler
from crossvote.sim.peripheral.verilator_build import find_verilator
from crossvote.swstack.experiment.run.paths import MASKS
from crossvote.swstack.models.masks import load_masks

pytestmark = pytest.mark.skipif(
    find_verilator() is None or find_compiler() is None, reason="needs Verilator and a compiler"
)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_sequence_goes_on_where_it_stopped(tiny_mpnet, tmp_path):
    settings = sequence.Settings(str(tiny_mpnet), "grammar-single", 4)
    placed = sequence.placed_sequence(settings, None, 0.3)
    assert not sequence.run(placed, tmp_path, settings, minutes=-1)
    groups = len(placed.image.groups)
    done: list[str] = []
    original = sequence.cosimulate

    def counted(request, chip):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(request.image.name)
        return original(request, chip)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence, "cosimulate", counted)
        with pytest.raises(KeyboardInterrupt):
            sequence.run(placed, tmp_path, settings, 10)
    assert len(rows(tmp_path / "sequence-groups.csv")) == 3
    assert sequence.run(placed, tmp_path, settings, 10)
    found = rows(tmp_path / "sequence-groups.csv")
    assert [row["group"] for row in found[:3]] == done
    assert len({row["group"] for row in found}) == len(found) == groups
    matrices = rows(tmp_path / "sequence.csv")
    names = [matrix.name for group in placed.image.groups for matrix in group.matrices]
    assert [row["matrix"] for row in matrices] == names
    tokens = len(next(iter(placed.inputs.values())))
    assert tokens >= 4
    kept = sum(len(set(g.column_map.output[g.column_map.used].tolist())) for g in placed.image.groups)
    assert sum(int(row["outputs"]) for row in matrices) == tokens * kept
    assert {(row["equal"], row["mismatches"], row["tokens"]) for row in matrices} == {("True", "0", str(tokens))}
    assert f"{len(names)} of {len(names)} matrices equal" in sequence.total(tmp_path)


def test_pieces_of_other_settings_are_not_gone_on_with(tiny_mpnet, tmp_path):
    settings = sequence.Settings(str(tiny_mpnet), "grammar-single", 4)
    placed = sequence.placed_sequence(settings, None, 0.3)
    assert sequence.run(placed, tmp_path, settings, 10)
    other = sequence.Settings(str(tiny_mpnet), "grammar-single", 5)
    assert not sequence.run(placed, tmp_path, other, minutes=-1)


def test_a_run_gives_its_own_pruned_weights(workplace):
    run = workplace.folder / "run"
    masks = load_masks(run / MASKS)
    placed = sequence.placed_sequence(sequence.Settings(str(run), "grammar-single", 4), None, 0.3)
    for group in placed.image.groups:
        kept = [m.first_output + np.flatnonzero(masks[m.name].columns) for m in group.matrices]
        assert set(group.column_map.output[group.column_map.used]) == set(np.concatenate(kept))
