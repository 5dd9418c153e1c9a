"""The campaign at the paper's size: the order of its jobs, its readings of what is faulted, and what it concludes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import paper_size
from benchmarks import paper_size_plan as plan
from benchmarks import paper_size_tables as tables
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.common.keyed import KeyedResults
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.shipped import shipped_configs
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import dense_masks

OUT = Path("out")


def jobs_for(method: str):
    return plan.jobs("mpnet-base", "glue", 0.3, OUT, list(plan.RECIPES), 100, method)


JOBS, PLANS = jobs_for("gates")


def scheme(name: str):
    config = load_config(shipped_configs()["default"], [f'map.schemes=["{name}"]'])
    return config.protections()[name]


@pytest.fixture(scope="module")
def image(tiny_mpnet) -> Image:
    model, _ = load_model(ModelConfig(source=str(tiny_mpnet)), 2, False, seed=0)
    masks = dense_masks(model)
    for mask in masks.values():
        mask.columns[::3] = False
    return build_image(model, word_line_groups(model), masks, scheme("paper"))


def test_small_tasks_are_trained_with_all_seeds_before_the_first_sweep_and_no_job_comes_twice():
    names = [job.name for job in JOBS]
    assert len(set(names)) == len(names)
    assert len({job.makes for job in JOBS}) == len(JOBS)
    first_sweep = next(i for i, name in enumerate(names) if name.startswith("sweep"))
    small = [f"{task} {seed}" for seed in range(3) for task in plan.SMALL]
    assert names[:first_sweep] == [f"train {one}" for one in small] + [f"again {one}" for one in small]
    assert {name.split()[1] for name in names if name.startswith("train")} == set(plan.RECIPES)
    # Whatever a job needs is made by one before it.
    made: set[Path] = set()
    for job in JOBS:
        assert set(job.needs) <= made
        made.add(job.makes)


@pytest.mark.parametrize(("first", "second"), [("gates", "least-squares"), ("least-squares", "gates")])
def test_every_model_of_table_1_is_pruned_by_both_methods(first, second):
    jobs, plans = jobs_for(first)
    trained = {job.holds: job for job in jobs if job.name.startswith("train")}
    again = {job.holds: job for job in jobs if job.name.startswith("again")}
    assert set(again) == set(trained) == {one.run for one in plans}
    assert all(f'prune.method="{first}"' in job.command for job in trained.values())
    # What was solved is trained with settings of its own, whichever comes first, and as long as the gates in all.
    own = {
        "gates": {"prune.learning_rate=5e-05", "prune.gate_epochs=3", "prune.final_epochs=2"},
        "least-squares": {"prune.learning_rate=2e-05", "prune.final_epochs=5", "prune.augmentation=0.5"},
    }
    mrpc = OUT / "mrpc-0"
    assert own[first] <= set(trained[mrpc].command)
    assert own[second] <= set(again[mrpc].command)
    assert ("prune.augmentation=0.0" in again[mrpc].command) == (second == "gates")
    assert all(job.needs == (trained[run].makes,) for run, job in again.items())
    assert all(job.makes == run / "comparison" / f"{second}-30-{run.name[-1]}" / "result.json"
               for run, job in again.items())  # fmt: skip
    # The curve of both comes with other shares, and nothing of it twice.
    curves = {job.name: job for job in jobs if job.name.startswith("curve") and "cola 0" in job.name}
    assert list(curves) == ["curve gates cola 0", "curve least-squares cola 0"]
    for name, job in curves.items():
        assert own[name.split()[1]] <= set(job.command)


def test_the_goal_is_told_for_every_method_and_share():
    losses = {("cola", "gates", 0.3): [1.0, 2.0], ("rte", "gates", 0.3): [-0.5], ("rte", "gates", 0.4): [3.0]}
    assert tables.goal_rows(losses) == [
        {"method": "gates", "columns, %": "30", "mean loss": "0.50", "largest": "1.50", "of task": "cola", "tasks": 2},
        {"method": "gates", "columns, %": "40", "mean loss": "3.00", "largest": "3.00", "of task": "rte", "tasks": 1},
    ]


def test_every_point_has_twenty_chips_and_both_readings_and_scales_are_there():
    plans = plan.sweep_plans()
    assert {one.chips for one in plans} == {20}
    for task in plan.SWEPT:
        own = {(p.variant, p.planes) for p in plans if p.task == task and p.rates == plan.PAPER_RATES}
        pairs = {(v, planes) for v in ("none", "paper", "none-column", "paper-column") for planes in ("all", "msb")}
        assert own == pairs | {("best", "all")}


def test_jobs_run_in_order_as_soon_as_they_can_and_stop_in_time(tmp_path):
    def job(name, code, needs=()):
        makes = tmp_path / name
        script = f"import pathlib, time; {code}; pathlib.Path({str(makes)!r}).touch()"
        return plan.Job(name, (sys.executable, "-c", script), needs, makes, tmp_path / f"{name}.log")

    first = job("first", "pass")
    done = []
    paper_size.run_jobs(
        [first, job("second", "1 / 0", (first.makes,)), job("third", "time.sleep(60)", (tmp_path / "second",))],
        1, 30, lambda finished, code: done.append((finished.name, code)),
    )  # fmt: skip
    assert done == [("first", 0), ("second", 1)]  # the third never had what it needs
    assert "ZeroDivisionError" in (tmp_path / "second.log").read_text()
    both = [replace(job(name, "time.sleep(0.2)"), holds=tmp_path) for name in ("one", "two")]
    free = job("free", "pass")
    done.clear()
    paper_size.run_jobs([*both, free], 3, 30, lambda finished, code: done.append(finished.name))
    assert done.index("free") < done.index("two")  # which had to wait for the first one
    done.clear()
    paper_size.run_jobs([first, job("slow", "time.sleep(60)")], 2, 1, lambda *_: done.append("late"))
    assert done == []


def test_only_cells_that_hold_an_msb_are_left(image):
    faults = FaultMap.sample(image.rows, image.columns, image.crossbars, 0.01, seed_sequence(1))
    left = paper_size.only_top_plane(faults, image)
    wanted = set()
    for group in image.groups:
        for index, cell in enumerate(faults.cells.tolist()):
            pair, bit_line = cell // (image.rows * image.columns) // 2, cell % image.columns
            if group.first_pair <= pair < group.first_pair + group.pairs:
                line = (pair - group.first_pair) % group.column_blocks * group.columns + bit_line
                if group.column_map.output[line] >= 0 and group.column_map.plane[line] == 6:
                    wanted.add((cell, bool(faults.stuck_at[index])))
    assert 0 < len(wanted) < len(faults.cells)
    assert set(zip(left.cells.tolist(), left.stuck_at.tolist(), strict=True)) == wanted


def test_tolerated_rates_lie_between_the_rates_measured():
    curve = {0.0: 90.0, 0.001: 88.0, 0.002: 78.0, 0.003: 85.0}
    assert tables.tolerated_percent(curve, 10) == "0.1800"
    assert tables.tolerated_percent(curve, 1) == "0.0500"
    assert tables.tolerated_percent(curve, 20) == "0.3000"


def test_the_papers_own_curve_is_at_no_distance():
    points = [
        {"task": "mrpc", "variant": variant, "faulted planes": "all", "rate": rate, "mean": value}
        for variant, values in tables.PAPER_TABLE_3.items()
        for rate, value in zip((0.0, *plan.PAPER_RATES), (tables.PAPER_FAULT_FREE, *values), strict=True)
    ]
    assert tables.distance_to_paper(points, "mrpc", "none", "paper", "all") == pytest.approx(0)
    worse = [{**p, "mean": p["mean"] - 3} if p["rate"] else p for p in points]
    assert tables.distance_to_paper(worse, "mrpc", "none", "paper", "all") == pytest.approx(3)
    assert tables.distance_to_paper(points[:-1], "mrpc", "none", "paper", "all") is None


def test_a_sweep_measured_twice_gives_each_point_once():
    trials = [{"rate": 0.0, "chip": -1, "f1": 90.0}, *({"rate": 0.1, "chip": i, "f1": 50.0 + i} for i in range(3))]
    one = {"task": "mrpc", "variant": "none", "planes": "all", "scale": "tensor", "metric": "f1", "trials": trials}
    points = tables.points_of([one, one])
    assert [(point["rate"], point["mean"], point["chips"]) for point in points] == [(0.0, 90.0, 0), (0.1, 51.0, 3)]
    assert points[1]["variance"] == np.var([50, 51, 52], ddof=1)


def test_the_command_plans_its_jobs_from_its_own_options(tmp_path, monkeypatch, capsys):
    """With nothing finished it reports nothing, but every option that the plan needs must be there."""
    command = ["paper_size", "--report", "--tasks", "mrpc", "--out", str(tmp_path / "out"), "--checkpoint-steps", "7"]
    monkeypatch.setattr(sys, "argv", [*command, "--results", str(tmp_path / "results")])
    planned = []
    original = plan.jobs
    monkeypatch.setattr(paper_size, "jobs", lambda *given: planned.append(given) or original(*given))
    paper_size.main()
    assert planned == [("mpnet-base", "glue", 0.3, tmp_path / "out", ["mrpc"], 7, "gates")]
    assert list(tmp_path.iterdir()) == []


def test_only_jobs_that_are_asked_for_run(tmp_path, monkeypatch):
    run = []
    monkeypatch.setattr(paper_size, "run_jobs", lambda todo, *_: run.extend(job.name for job in todo))
    options = ["--tasks", "mrpc,cola", "--only", "train mrpc 0|sweep cola-best-all"]
    monkeypatch.setattr(sys, "argv", ["paper_size", *options, "--out", str(tmp_path / "out")])
    paper_size.main()
    assert run == ["train mrpc 0", "sweep cola-best-all-0.01-0.2", "sweep cola-best-all-0.5-5"]


def test_the_complete_rates_of_an_interrupted_sweep_are_reported(tmp_path):
    one = replace(next(p for p in plan.sweep_plans() if p.variant == "paper-column"), chips=2)
    config = tmp_path / f"{one.task}-0" / "config.toml"
    config.parent.mkdir()
    config.write_text(shipped_configs()["default"].read_text())
    kept = KeyedResults(tmp_path / "sweeps" / one.name)
    assert tables.complete_rates(one, tmp_path) is None
    kept.put("paper-column", {"chip": None}, {"f1": 90.0})
    assert tables.complete_rates(one, tmp_path) is None
    for rate, chips in ((0.0001, 2), (0.00025, 1)):
        for chip in range(chips):
            kept.put(f"paper-column-rate-{rate!r}-chip-{chip}", {"rate": rate, "chip": chip}, {"f1": 80.0 + chip})
    found = tables.complete_rates(one, tmp_path)
    assert found is not None
    assert (found["metric"], found["scale"]) == ("f1", "column")
    assert [(trial["rate"], trial["chip"], trial["f1"]) for trial in found["trials"]] == [
        (0.0, -1, 90.0), (0.0001, 0, 80.0), (0.0001, 1, 81.0),
    ]  # fmt: skip
