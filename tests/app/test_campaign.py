"""Campaigns: what is planned, that nothing is lost or done twice, and that results depend on nothing but identity."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
import tomli_w
from tiny_run import write_tiny
from typer.testing import CliRunner

from crossvote.sim.common.errors import StorageError, UserError
from crossvote.sim.common.schema import build, merge, to_mapping
from crossvote.swstack.cli import main as cli
from crossvote.swstack.experiment.campaign import exploration as exploring
from crossvote.swstack.experiment.campaign import measure as measuring
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.driver import Driver
from crossvote.swstack.experiment.campaign.engines import open_engine
from crossvote.swstack.experiment.campaign.exploration import Candidate, ExplorationSpec, front
from crossvote.swstack.experiment.campaign.folder import database_path, driving
from crossvote.swstack.experiment.campaign.plan import plan, results_digest
from crossvote.swstack.experiment.campaign.running import run_campaign
from crossvote.swstack.experiment.campaign.sensitivity import sensitivity
from crossvote.swstack.experiment.campaign.spec import load_spec, variants
from crossvote.swstack.experiment.campaign.summary import export, summarize, tables
from crossvote.swstack.experiment.campaign.trials import PERFECT, Chunk, Outcome, expand
from crossvote.swstack.experiment.config import RunConfig, load_config
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.images import recorded_image
from crossvote.swstack.experiment.run.records import Accuracy, Costs
from crossvote.swstack.experiment.run.store import StageStore
from crossvote.swstack.experiment.work import bring_up

CAMPAIGN = """
base = "base.toml"
schemes = ["none", "paper"]
rates = [0.005, 0.02]
chips = 4
[grid]
"prune.column_sparsity" = [0.3, 0.5]
"""


@pytest.fixture(scope="module")
def home(tiny_bert, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("campaign")
    write_tiny(folder / "base.toml", tiny_bert)
    (folder / "small.toml").write_text(CAMPAIGN)
    return folder


@pytest.fixture(scope="module")
def serial(home) -> Path:
    """The campaign, run in one process: what all others must equal."""
    counts = run_campaign(home / "serial", load_spec(home / "small.toml"), "serial")
    assert counts == {"open": 0, "done": 36, "failed": 0, "enough": 0}
    return home / "serial"


def digest(folder: Path) -> str:
    with Database.open(database_path(folder)) as database:
        return results_digest(database)


def counts(folder: Path) -> dict[str, int]:
    with Database.open(database_path(folder)) as database:
        return database.counts()


def fresh(serial: Path, folder: Path) -> Path:
    """The campaign's folder with its models and without its results."""
    for name in ("runs", "store"):
        shutil.copytree(serial / name, folder / name)
    (folder / ".lock").touch()
    return folder


def stub(chunk: Chunk) -> list[Outcome]:
    """A made-up score that is a function of the trial."""
    return [Outcome(trial.key, {"accuracy": 80 + int(trial.key[:2], 16) / 64}, seconds=0.001) for trial in chunk.trials]


def spec_of(home, text=CAMPAIGN, name="other.toml"):
    (home / name).write_text(text)
    return load_spec(home / name)


def test_a_plan_is_no_wider_than_its_variants_and_says_every_refusal_below(home: Path) -> None:
    (home / "wide.toml").write_text(CAMPAIGN + '"quantization.weight_bits" = [8, 16]\n')
    result = CliRunner().invoke(cli.application(), ["sweep", "plan", str(home / "wide.toml"), "--no-calibrate"])
    assert result.exit_code == 0, result.output
    known = [variant for variant in variants(load_spec(home / "wide.toml")) if variant.refused]
    table, below = result.stdout.split("Refused: ", 1)
    assert known
    assert sum(line.endswith("  yes") for line in table.splitlines()) == len(known)
    assert all(variant.label in below and str(variant.refused) in below for variant in known)


def test_a_campaign_that_is_not_there_is_refused_before_anything_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.application(), ["sweep", "resume", str(tmp_path / "nowhere")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no campaign here yet" in result.stderr


def test_a_plan_names_every_trial_once_and_what_is_refused(home):
    spec = spec_of(home, CAMPAIGN + '"faults.chip" = [1]\n"quantization.weight_bits" = [8, 16]\n')
    known = variants(dataclasses.replace(spec, grid={k: v for k, v in spec.grid.items() if k != "faults.chip"}))
    assert [variant.refused is None for variant in known] == [True, False, True, False]
    assert "planes" in known[1].refused
    trials = list(expand(spec, known))
    assert len({trial.key for trial in trials}) == len(trials) == 2 * 2 * (1 + 2 * 4)
    with pytest.raises(UserError, match="no variant is possible"):
        variants(spec)


def test_a_key_is_what_decides_the_result_and_nothing_else(home):
    def keys(**changes):
        text = "\n".join(f"{key} = {value}" for key, value in {"chips": 2, "rates": "[0.01]", **changes}.items())
        found = {}
        for trial in expand(spec := spec_of(home, f'base = "base.toml"\n{text}\n'), variants(spec)):
            found[trial.scheme, trial.rate, trial.chip] = trial.key
        return found

    plain = keys()
    more = keys(chips=5, rates="[0.01, 0.02]", schemes='["paper", "none", "best"]', examples="false")
    assert plain.items() <= more.items()
    assert not set(plain.values()) & set(keys(set='{"seed" = 1}').values())
    # The trial without faults meets no silicon, but the schemes of one seed do.
    assert not set(plain.values()) & set(keys(set='{"faults.pattern" = "clustered"}').values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chip = 3", "unknown key 'chip'; did you mean 'chips'?"),
        ("chips = 0", "key 'chips' = 0"),
        ("[grid]\n'map.schemes' = [['none']]", "say 'schemes' at the top"),
        ("[grid]\nseed = []", "grid.seed has no value"),
        ("scopes = ['somewhere']", "'somewhere' must be all, layer.N"),
        ("base = 'nowhere.toml'", "neither a TOML file"),
        ("schemes = ['nobody']", "no variant is possible"),
        ("name = '../x'", "name"),
    ],
)
def test_a_wrong_campaign_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(text)
    result = CliRunner().invoke(cli.application(), ["sweep", "run", "c.toml", "--engine", "serial"])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.toml"]


@pytest.mark.parametrize("engine", ["threads", "process:0", "tcp://", "slurm"])
def test_an_unknown_engine_is_refused(home, tmp_path, engine):
    arguments = ["sweep", "run", str(home / "small.toml"), "--engine", engine, "--dir", str(tmp_path / "c")]
    result = CliRunner().invoke(cli.application(), arguments)
    assert result.exit_code == 2
    assert "must be serial, process:N" in result.stderr
    assert not (tmp_path / "c").exists()


def test_one_training_serves_all_variants_that_share_it(serial):
    kinds = {stage.name: len(list(stage.iterdir())) for stage in (serial / "store").iterdir()}
    assert (kinds["finetune"], kinds["prune"], kinds["map"]) == (1, 2, 2)


def test_worker_processes_give_the_same_results(serial, home, tmp_path):
    folder = fresh(serial, tmp_path / "process")
    run_campaign(folder, load_spec(home / "small.toml"), "process:2")
    assert digest(folder) == digest(serial)
    shards = sorted(path.name for path in (folder / "examples").iterdir())
    assert shards


def test_every_examples_logits_are_kept_and_give_the_metric(serial):
    import numpy as np
    import pyarrow.parquet as pq

    with Database.open(database_path(serial)) as database:
        row = next(row for row in database.rows("done") if row.trial.chip == 2)
    table = pq.read_table(serial / "examples" / row.shard).to_pandas()
    own = table[table["trial"] == row.trial.key].sort_values("example")
    assert len(own) == 24
    assert np.stack(own["logits"]).shape == (24, 2)


def test_results_agree_with_those_of_a_plain_run(serial, home):
    """The same configuration through ``crossvote eval`` gives the same numbers, trial by trial."""
    (first, _) = variants(load_spec(home / "small.toml"))
    run = bring_up(home / "plain", first.config, "eval", store=StageStore(serial / "store"))
    plain = {
        (t["scheme"], t["rate"], t["chip"]): t["accuracy"] for t in run.read("results/accuracy.json", Accuracy).trials
    }
    with Database.open(database_path(serial)) as database:
        own = {
            (row.trial.scheme, row.trial.rate, row.trial.chip): row.metrics["accuracy"]
            for row in database.rows()
            if row.trial.variant == 0
        }
    assert own == plain


def test_dask_with_a_killed_worker_then_a_killed_driver_then_another_engine(serial, home, tmp_path):
    """A scheduler and two worker processes; one dies, then the driver does; the rest is done in one process."""
    pytest.importorskip("distributed")
    folder = fresh(serial, tmp_path / "dask")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "False"}
    address = f"tcp://127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--host", address]
    started: list[subprocess.Popen] = []

    def start(*arguments):
        process = subprocess.Popen(
            arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        started.append(process)
        return process

    try:
        start(*command)
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nworkers", "1", "--nthreads", "1"]
        worker += ["--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)]
        first, _ = start(*worker), start(*worker)
        driver = start(
            sys.executable, "-m", "crossvote.swstack.cli.main", "sweep", "run", str(home / "small.toml"),
            "--dir", str(folder), "--engine", address,
        )  # fmt: skip
        _until(lambda: database_path(folder).is_file() and counts(folder)["done"] >= 1, driver)
        first.send_signal(signal.SIGKILL)
        done = counts(folder)["done"]
        _until(lambda: counts(folder)["done"] >= done + 4, driver)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    finally:
        for process in started:
            process.kill()
            process.wait()
    before = counts(folder)
    assert 0 < before["done"] < 36
    run_campaign(folder, None, "serial")
    assert counts(folder) == {"open": 0, "done": 36, "failed": 0, "enough": 0}
    assert digest(folder) == digest(serial)


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _until(ready, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, "the driver ended too early"
        assert time.monotonic() < deadline, "the campaign did not get far enough"
        time.sleep(0.02)


def test_workers_die_with_the_driver(tmp_path):
    script = (
        "import time, sys\n"
        "from crossvote.swstack.experiment.campaign.engines import open_engine\n"
        "import os\n"
        "if __name__ == '__main__':\n"
        "    with open_engine('process:2') as engine:\n"
        "        print(engine.submit(os.getpid).result(), flush=True)\n"
        "        time.sleep(60)\n"
    )
    (tmp_path / "hold.py").write_text(script)
    with subprocess.Popen([sys.executable, str(tmp_path / "hold.py")], stdout=subprocess.PIPE, text=True) as process:
        worker = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 10
    while _alive(worker):
        assert time.monotonic() < deadline, "the worker outlived its driver"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_trial_that_fails_is_recorded_and_stops_nothing(home, tmp_path, monkeypatch):
    def fails(chunk):
        return [
            Outcome(trial.key, {}, error="Traceback ...\nValueError: chip 2") if trial.chip == 2 else stub_one(trial)
            for trial in chunk.trials
        ]

    def stub_one(trial):
        return stub(Chunk(Path(), {}, (trial,)))[0]

    spec = load_spec(home / "small.toml")
    found = run_campaign(tmp_path / "c", spec, "serial", work=fails)
    assert (found["done"], found["failed"]) == (28, 8)
    # Going on leaves them; trying again does them.
    assert run_campaign(tmp_path / "c", spec, "serial", work=stub)["failed"] == 8
    commands = (["status"], 0), (["export"], 0), (["resume", "--engine", "serial"], 1)  # a job script sees it, too
    for (name, *options), code in commands:
        result = CliRunner().invoke(cli.application(), ["sweep", name, str(tmp_path / "c"), *options])
        assert result.exit_code == code, result.output
        assert ("8 failed, the first with: ValueError: chip 2" in result.output) == (name != "export")
    assert run_campaign(tmp_path / "c", None, "serial", work=stub, retry=True)["done"] == 36
    assert CliRunner().invoke(cli.application(), ["sweep", *commands[-1][0], str(tmp_path / "c")]).exit_code == 0
    with Database.open(database_path(tmp_path / "c")) as database:
        assert {row.attempts for row in database.rows() if row.trial.chip == 2} == {2}


def poisonous(chunk):
    """Takes its worker with it at chip 1."""
    if any(trial.chip == 1 for trial in chunk.trials):
        os.kill(os.getpid(), signal.SIGKILL)
    return stub(chunk)


def test_a_poisonous_trial_is_given_up_and_the_rest_is_done(home, tmp_path):
    spec = spec_of(home, 'base = "base.toml"\nchips = 3\nrates = [0.01]\nschemes = ["none"]\nattempts = 2\n')
    found = run_campaign(tmp_path / "c", spec, "process:1", work=poisonous)
    assert found == {"open": 0, "done": 3, "failed": 1, "enough": 0}
    with Database.open(database_path(tmp_path / "c")) as database:
        (row,) = database.rows("failed")
    assert row.trial.chip == 1
    assert "its worker was lost 2 times" in row.error


def test_interrupted_it_records_what_was_under_way(home, tmp_path):
    calls = []

    def interrupts(chunk):
        calls.append(chunk)
        return stub(chunk)

    def watch(state):
        if state.counts["done"] >= 5 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt

    stopped: list[bool] = []
    spec = load_spec(home / "small.toml")
    with pytest.raises(KeyboardInterrupt):
        run_campaign(tmp_path / "c", spec, "serial", watch=watch, work=interrupts)
    measured = sum(len(chunk.trials) for chunk in calls)
    assert counts(tmp_path / "c")["done"] == measured < 36
    run_campaign(tmp_path / "c", None, "serial", work=interrupts)
    assert sum(len(chunk.trials) for chunk in calls) == 36


def test_a_second_driver_is_refused_and_readers_are_not(home, tmp_path):
    spec = load_spec(home / "small.toml")
    with driving(tmp_path / "c"):
        with pytest.raises(UserError, match="another driver runs this campaign"):
            run_campaign(tmp_path / "c", spec, "serial", work=stub)
        assert counts(tmp_path / "c") == {"open": 0, "done": 0, "failed": 0, "enough": 0}


def test_more_chips_take_up_what_is_there_and_fewer_forget_nothing(home, tmp_path):
    calls = []

    def counted(chunk):
        calls.extend(trial.key for trial in chunk.trials)
        return stub(chunk)

    spec = load_spec(home / "small.toml")
    run_campaign(tmp_path / "c", spec, "serial", work=counted)
    run_campaign(tmp_path / "c", dataclasses.replace(spec, chips=6), "serial", work=counted)
    assert len(calls) == len(set(calls)) == 36 + 16
    run_campaign(tmp_path / "c", dataclasses.replace(spec, chips=2), "serial", work=counted)
    assert counts(tmp_path / "c")["done"] == 20
    run_campaign(tmp_path / "c", dataclasses.replace(spec, chips=6), "serial", work=counted)
    assert len(calls) == 36 + 16


def test_more_chips_and_rates_load_and_convert_nothing_again(serial, home, tmp_path, monkeypatch):
    """A worker keeps model, images and converted layers while only rates and chips change, and measures the same."""
    done = []
    for name in ("load_part", "convert"):
        kept = getattr(measuring, name)
        monkeypatch.setattr(measuring, name, lambda *a, kept=kept, name=name: done.append(name) or kept(*a))
    folder, one = fresh(serial, tmp_path / "more"), CAMPAIGN.replace("[0.3, 0.5]", "[0.3]")
    text = one.replace("chips = 4", "chips = 1").replace("[0.005, 0.02]", "[0.02]")
    run_campaign(folder, spec_of(home, text), "serial")
    assert done == ["load_part", "convert", "convert"]
    run_campaign(folder, spec_of(home, one), "serial")
    assert done == ["load_part", "convert", "convert"]
    found = []
    for path in (folder, serial):
        with Database.open(database_path(path)) as database:
            found.append({row.trial.key: row.metrics for row in database.rows("done")})
    assert len(found[0]) == 2 * (1 + 2 * 4)
    assert found[0].items() <= found[1].items()


def test_changed_inputs_between_run_and_resume_are_said_and_nothing_is_lost(home, tiny_bert, tmp_path):
    for name in ("small.toml", "base.toml"):
        shutil.copy(home / name, tmp_path / name)
    shutil.copytree(tiny_bert, tmp_path / "model")
    text = (tmp_path / "base.toml").read_text().replace(str(tiny_bert), "model")
    (tmp_path / "base.toml").write_text(text)
    spec = load_spec(tmp_path / "small.toml")
    run_campaign(tmp_path / "c", spec, "serial", work=stub)
    before = digest(tmp_path / "c")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "changed": 1}))
    with pytest.raises(UserError, match="36 of 36 trials would be others than those planned"):
        run_campaign(tmp_path / "c", None, "serial", work=stub)
    assert digest(tmp_path / "c") == before


def test_enough_chips_are_enough_whatever_order_they_come_in(home, tmp_path):
    """The rule looks at the chips in their order, so engines that finish them in another order stop alike."""
    spec = load_spec(home / "small.toml")
    spec = dataclasses.replace(
        spec, chips=60, stop=dataclasses.replace(spec.stop, until_ci=0.4, min_chips=5), examples=False
    )
    tables = []
    for name, order in (("a", 1), ("b", -1)):
        run_campaign(tmp_path / name, spec, "serial", work=lambda chunk, order=order: stub(chunk)[::order])
        found = counts(tmp_path / name)
        assert found["open"] == 0
        assert found["enough"] > 0
        with Database.open(database_path(tmp_path / name)) as database:
            tables.append([(c["scheme"], c["rate"], c["chips"]) for c in summarize(database).cells])
    chips = {(rate, n) for _, rate, n in tables[0] if rate}
    assert len(chips) <= 4  # the schemes of a rate stop together, in each of two variants
    assert all(5 <= n < 60 for _, n in chips)
    assert tables[0] == tables[1]
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_findings_pair_schemes_on_the_same_chips_and_find_the_tolerated_rate(home, tmp_path):
    def made_up(chunk):
        outcomes = []
        for trial in chunk.trials:
            loss = 0 if trial.chip == PERFECT else 100 * trial.rate * (2 if trial.scheme == "none" else 0.5)
            wobble = 0 if trial.chip == PERFECT else trial.chip / 10
            outcomes.append(Outcome(trial.key, {"accuracy": 90 - loss + wobble, "other": 1.0}))
        return outcomes

    run_campaign(tmp_path / "c", load_spec(home / "small.toml"), "serial", work=made_up)
    with Database.open(database_path(tmp_path / "c")) as database:
        found = summarize(database)
        files = export(database, tmp_path / "out")
    pair = next(row for row in found.pairs if row["rate"] == 0.02)
    # The chips' own wobble is not in the difference.
    assert pair["difference"] == pytest.approx(3.0)
    assert pair["low"] == pytest.approx(pair["high"])
    assert (pair["scheme"], pair["against"], pair["chips"]) == ("paper", "none", 4)
    tolerated = {row["scheme"]: row for row in found.tolerated}
    assert tolerated["paper"]["note"] == "the highest measured"
    assert 0.005 < tolerated["none"]["tolerated rate"] < 0.02
    assert {path.name for path in files} == {
        "trials.csv", "summary.csv", "pairs.csv", "tolerated.csv", "trials.parquet", "manifest.json",
    }  # fmt: skip
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "out" / "trials.parquet").num_rows == 36


def test_schemes_that_know_the_stuck_cells_have_tables_of_their_own(home, tmp_path):
    text = (home / "small.toml").read_text()
    (home / "knowing.toml").write_text(re.sub(r"schemes = .*", 'schemes = ["none", "paper", "placed"]', text))

    def made_up(chunk):
        return [Outcome(trial.key, {"accuracy": 90.0 - 100 * trial.rate}) for trial in chunk.trials]

    run_campaign(tmp_path / "c", load_spec(home / "knowing.toml"), "serial", work=made_up)
    with Database.open(database_path(tmp_path / "c")) as database:
        blind, known = tables(summarize(database))
        files = {path.name: path for path in export(database, tmp_path / "out")}
    assert (blind[0][2], {row[2] for row in blind[1:]}) == ("scheme", {"none", "paper"})
    assert (known[0][2], {row[2] for row in known[1:]}) == ("scheme, map known", {"placed"})
    for name in ("summary", "pairs", "tolerated"):
        for file, knows in ((f"{name}.csv", False), (f"{name}-known.csv", True)):
            with files[file].open() as stream:
                found = {row["scheme"] for row in csv.DictReader(stream)}
            assert found <= ({"placed"} if knows else {"none", "paper"})
            assert found
    shown = CliRunner().invoke(cli.application(), ["sweep", "status", str(tmp_path / "c")])
    assert "scheme, map known" in shown.output


def test_a_model_at_chance_level_tolerates_nothing(home, tmp_path):
    def made_up(chunk):
        return [Outcome(trial.key, {"accuracy": 51.0}) for trial in chunk.trials]

    run_campaign(tmp_path / "c", load_spec(home / "small.toml"), "serial", work=made_up)
    with Database.open(database_path(tmp_path / "c"), write=True) as database:
        assert {row["note"] for row in summarize(database).tolerated} == {"the highest measured"}
        numbers = [str(variant["number"]) for variant in database.meta("variants")]
        level = {"metric": "accuracy", "score": 50.0, "noise": 4.0, "examples": 100}
        database.set_meta(chances=dict.fromkeys(numbers, level))
        tolerated = summarize(database).tolerated
    assert {(row["tolerated rate"], row["note"]) for row in tolerated} == {(0.0, "at chance level without faults")}
    shown = CliRunner().invoke(cli.application(), ["sweep", "status", str(tmp_path / "c")])
    assert "at chance level without faults, so no rate is called tolerated" in shown.output


def test_the_chance_level_of_a_campaigns_models_is_kept(serial):
    with Database.open(database_path(serial)) as database:
        chances = database.meta("chances")
        assert chances.keys() == {str(variant["number"]) for variant in database.meta("variants")}
    assert all(level["metric"] == "accuracy" and level["score"] >= 50 for level in chances.values())


def test_a_metric_of_which_less_is_better_is_lost_when_it_rises(home, tmp_path):
    def made_up(chunk):
        def perplexity(trial):
            return 20 if trial.chip == PERFECT else 20 + 100 * trial.rate * (2 if trial.scheme == "none" else 0.4)

        return [Outcome(trial.key, {"perplexity": perplexity(trial)}) for trial in chunk.trials]

    run_campaign(tmp_path / "c", load_spec(home / "small.toml"), "serial", work=made_up)
    with Database.open(database_path(tmp_path / "c")) as database:
        found = summarize(database)
    tolerated = {row["scheme"]: row for row in found.tolerated}
    assert tolerated["paper"]["note"] == "the highest measured"
    assert 0.005 <= tolerated["none"]["tolerated rate"] < 0.02
    assert {cell["metric"] for cell in found.cells} == {"perplexity"}


def test_each_variant_has_the_metric_of_its_own_task(home, tmp_path):
    def made_up(chunk):
        def score(trial):
            return {"accuracy": 80 - 1000 * trial.rate} if trial.variant else {"perplexity": 20 + 1000 * trial.rate}

        return [Outcome(trial.key, score(trial)) for trial in chunk.trials]

    run_campaign(tmp_path / "c", spec_of(home), "serial", work=made_up)
    with Database.open(database_path(tmp_path / "c")) as database:
        found = summarize(database)
        numbers = {variant["label"]: variant["number"] for variant in database.meta("variants")}
    assert {(numbers[cell["variant"]], cell["metric"]) for cell in found.cells} == {(0, "perplexity"), (1, "accuracy")}
    assert [row["tolerated rate"] for row in found.tolerated] == pytest.approx([0] * 4)


def test_a_scope_restricts_the_faults_to_a_part(serial, home, tmp_path):
    """Faults of single parts add up to those of the whole, and a part that is not there is said."""
    folder = fresh(serial, tmp_path / "c")
    text = CAMPAIGN.replace("chips = 4", 'chips = 1\nscopes = ["all", "layer.0", "layer.1", "plane.6", "layer.7"]')
    run_campaign(folder, spec_of(home, text), "serial")
    connection = sqlite3.connect(database_path(folder))
    rows = connection.execute("SELECT scope, faults FROM trials WHERE variant = 0 AND rate = 0.02 AND scheme = 'none'")
    faults = dict(rows.fetchall())
    connection.close()
    assert faults["layer.0"] + faults["layer.1"] == faults["all"]
    assert 0 < faults["plane.6"] < faults["all"] / 4
    with Database.open(database_path(folder)) as database:
        errors = {row.trial.scope: row.error for row in database.rows("failed")}
    assert set(errors) == {"layer.7"}
    assert "'layer.7' names nothing of this model" in errors["layer.7"]


def with_ranking(config: RunConfig, ranking: Sequence[str]) -> RunConfig:
    """The configuration with a scheme that gives the groups in front more copies."""
    att = {"kind": "layered", "ranking": list(ranking), "copies": [3, 1], "shares": [0.25]}
    return build(
        RunConfig, merge(to_mapping(config), {"map": {"schemes": ["att"], "protection": {"att": att}}}), "test"
    )


def test_sensitivity_measures_part_by_part_and_trains_nothing(serial, home, tmp_path):
    (first, _) = variants(load_spec(home / "small.toml"))
    run = bring_up(tmp_path / "run", first.config, "map", store=StageStore(serial / "store")).path
    arguments = ["sensitivity", str(run), "--part", "layer", "--rate", "0.05", "--chips", "2", "--engine", "serial"]
    result = CliRunner().invoke(cli.application(), [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert {row["part"] for row in rows} == {"all", "layer.0", "layer.1"}
    assert [row["points lost"] for row in rows] == sorted((row["points lost"] for row in rows), reverse=True)
    assert all(row["low"] <= row["points lost"] <= row["high"] for row in rows)
    (trained,) = (run / "sensitivity" / "store" / "finetune").iterdir()
    assert (trained / "model" / "model.safetensors").samefile(run / "model" / "model.safetensors")
    assert (run / "sensitivity" / "sensitivity.csv").is_file()
    groups = CliRunner().invoke(cli.application(), ["group" if word == "layer" else word for word in arguments])
    (ranking,) = (line for line in groups.stdout.splitlines() if line.startswith("ranking = "))
    own = tomllib.loads(ranking)["ranking"]
    assert len(own) == 8
    # What it says is an input of allocation as it stands; what is no group of this model is refused.
    again = bring_up(run, with_ranking(first.config, own), "map").path
    assert {group.name for group in recorded_image(again, "att").groups} == set(own)
    with pytest.raises(UserError, match=r"scheme 'att': ranking: 'layer\.7\.o' names none"):
        bring_up(tmp_path / "new", with_ranking(first.config, ["layer.7.o"]), "map")
    assert not (tmp_path / "new").exists()
    for wrong, message in ((["--part", "head"], "must be one of layer"), (["--scheme", "mine"], "'mine' is not one")):
        refused = CliRunner().invoke(cli.application(), [*arguments, *wrong])
        assert refused.exit_code == 2
        assert message in refused.stderr


def test_what_the_base_has_finished_is_taken_over_and_not_said_to_be_to_do(serial, home, tmp_path):
    (first, _) = variants(load_spec(home / "small.toml"))
    for command in ("prune", "map"):
        run = bring_up(tmp_path / "run", first.config, command, store=StageStore(serial / "store")).path
    said: list[str | None] = []
    rows = sensitivity(run, ["layer"], rate=0.05, chips=1, watch=lambda state: said.append(state.preparing))
    assert len(rows) == 3
    assert set(said) == {None, "map: 1 to do"}  # one scheme is another image than two


EXPLORATION = """
base = "base.toml"
rate = 0.02
chips = 1
candidates = 5
max_lost = 100
objectives = ["energy", "lost"]
[set]
prune.column_sparsity = 0.3
[space]
scheme = ["none", "paper"]
chip.adc.bits = [7, 8]
quantization.weight_bits = [8, 16]
"""


def test_an_exploration_finds_a_front_refuses_what_cannot_be_and_goes_on(serial, home, tmp_path):
    pytest.importorskip("optuna")
    (home / "explore.toml").write_text(EXPLORATION)
    folder = tmp_path / "e"
    fresh(serial, folder / "campaign")

    def call():
        command = ["explore", str(home / "explore.toml"), "--dir", str(folder), "--json"]
        return CliRunner().invoke(cli.application(), command)

    result = call()
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["front"]
    rows = list(csv.DictReader((folder / "candidates.csv").open()))
    assert len(rows) == 5
    for row in rows:
        # Too many planes, or codes of the ADC that 128 rows exceed.
        refused = row["quantization.weight_bits"] == "16" or row["chip.adc.bits"] == "7"
        assert bool(row["refused"]) == refused
        assert bool(row["energy, uJ"]) != bool(row["refused"])
    # Nobody on the front is beaten by another candidate in both objectives.
    able = [(float(row["energy, uJ"]), float(row["points lost"])) for row in rows if not row["refused"]]
    for one in answer["front"]:
        own = (one["costs"]["energy"], one["lost"])
        assert not any(other != own and other[0] <= own[0] and other[1] <= own[1] for other in able)
        assert load_config(folder / "front" / f"{one['number']}.toml").chip.adc.bits == one["keys"]["chip.adc.bits"]
    with Database.open(database_path(folder / "campaign")) as database:
        level = next(iter(database.meta("chances").values()))
        perfect = {cell["scheme"]: cell["mean"] for cell in summarize(database).cells if not cell["rate"]}
    for one in answer["front"]:
        assert one["at_chance"] == (perfect[one["keys"]["scheme"]] <= level["score"] + level["noise"])
    before = (folder / "candidates.csv").read_bytes()
    assert json.loads(call().stdout) == answer
    assert (folder / "candidates.csv").read_bytes() == before


def test_the_folder_of_the_front_holds_no_candidate_that_was_beaten_later(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")

    def stub(folder: Path, spec: ExplorationSpec, engine: str, number: int, keys: dict[str, object]) -> Candidate:
        return Candidate(number, keys, lost=0.5, costs={"energy": 9.0 - number})

    monkeypatch.setattr(exploring, "_measure", stub)
    keys = {
        "base": str(home / "base.toml"),
        "space": {"scheme": ["none", "paper", "best"]},
        "candidates": 3,
        "objectives": ["energy", "lost"],
    }
    (tmp_path / "e" / "front").mkdir(parents=True)
    (tmp_path / "e" / "front" / "mine.toml").write_text("")
    spec = build(ExplorationSpec, keys, "test")
    (best,) = front(exploring.explore(tmp_path / "e", spec), spec)
    assert {path.name for path in (tmp_path / "e" / "front").iterdir()} == {f"{best.number}.toml", "mine.toml"}
    assert (tmp_path / "e" / "front.svg").is_file()
    strict = build(ExplorationSpec, {**keys, "max_lost": 0.1}, "test")
    exploring._draw(tmp_path / "e", strict, exploring.explore(tmp_path / "e", spec))
    assert not (tmp_path / "e" / "front.svg").exists()


def test_a_scheme_that_knows_the_stuck_cells_beats_none_that_does_not(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")

    def stub(folder: Path, spec: ExplorationSpec, engine: str, number: int, keys: dict[str, object]) -> Candidate:
        known = keys["scheme"] == "placed7"
        return Candidate(
            number,
            keys,
            lost=0.1 if known else 0.5,
            costs=dict.fromkeys(("energy", "latency", "area"), 1.0),
            map_known=known,
        )

    monkeypatch.setattr(exploring, "_measure", stub)
    keys = {"base": str(home / "base.toml"), "space": {"scheme": ["none", "placed7"]}, "objectives": ["energy", "lost"]}
    (tmp_path / "x.toml").write_text(tomli_w.dumps({**keys, "name": "x"}))
    result = CliRunner().invoke(
        cli.application(), ["explore", str(tmp_path / "x.toml"), "--dir", str(tmp_path / "e"), "--json"]
    )
    assert result.exit_code == 0, result.output
    assert [one["map_known"] for one in json.loads(result.stdout)["front"]] == [False, True]
    pictures = sorted(path.stem for path in (tmp_path / "e").glob("*.svg"))
    assert pictures == ["front", "front-known"]
    for end, scheme in (("", "none"), ("-known", "placed7")):
        for table in ("candidates", "front"):
            rows = list(csv.DictReader((tmp_path / "e" / f"{table}{end}.csv").open()))
            assert [row["scheme"] for row in rows] == [scheme]
    assert len(list((tmp_path / "e" / "front").glob("*.toml"))) == 2


@pytest.mark.slow
def test_a_candidate_says_whether_its_scheme_knows_the_stuck_cells(home, tmp_path):
    pytest.importorskip("optuna")
    keys = {"base": str(home / "base.toml"), "space": {"scheme": ["none", "placed7"]}, "objectives": ["energy", "lost"]}
    found = exploring.explore(tmp_path / "e", build(ExplorationSpec, {**keys, "chips": 1, "max_lost": 100}, "test"))
    assert {one.keys["scheme"]: one.map_known for one in found if not one.refused} == {"none": False, "placed7": True}


def test_every_candidate_is_another_choice_until_none_is_left(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sampler of few choices proposes its favourite again and again."""
    pytest.importorskip("optuna")

    def stub(folder: Path, spec: ExplorationSpec, engine: str, number: int, keys: dict[str, object]) -> Candidate:
        return Candidate(number, keys, lost=0.5, costs={"energy": 1.0 + list(keys.values()).count("none")})

    monkeypatch.setattr(exploring, "_measure", stub)
    space = {"scheme": ["none", "paper", "best"], "eval.limit": [1, 2, 3, 4]}
    for wanted, there in ((4, 4), (9, 9), (100, 12)):  # the later ones go on with the study
        keys = {"base": str(home / "base.toml"), "space": space, "candidates": wanted, "objectives": ["energy", "lost"]}
        found = exploring.explore(tmp_path / "e", build(ExplorationSpec, keys, "test"))
        assert len(found) == len({tuple(one.keys.values()) for one in found}) == there


def test_a_study_that_changed_is_a_sentence_and_stays(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit of a number would be another candidate: what was written is sealed."""
    pytest.importorskip("optuna")

    def stub(folder: Path, spec: ExplorationSpec, engine: str, number: int, keys: dict[str, object]) -> Candidate:
        return Candidate(number, keys, lost=0.5, costs={"energy": 1.25})

    monkeypatch.setattr(exploring, "_measure", stub)
    keys = {"base": str(home / "base.toml"), "space": {"eval.limit": [1, 2, 3, 4]}, "objectives": ["energy", "lost"]}
    spec = build(ExplorationSpec, {**keys, "candidates": 3}, "test")
    found = exploring.explore(tmp_path / "e", spec)
    assert exploring.explore(tmp_path / "e", spec) == found
    study = tmp_path / "e" / paths.STUDY
    whole = study.read_bytes()
    tables = {path.name: path.read_bytes() for path in (tmp_path / "e").glob("*.csv")}
    for change in (
        "UPDATE trial_user_attributes SET value_json = replace(value_json, '1.25', '1.35') WHERE key = 'candidate'",
        "UPDATE trial_params SET param_value = 3 - param_value",
        "DELETE FROM trial_user_attributes WHERE key = 'seal'",
    ):
        with contextlib.closing(sqlite3.connect(study)) as connection, connection:
            assert connection.execute(change).rowcount
        damaged = study.read_bytes()
        with pytest.raises(UserError, match=r"study\.db: trial 0 (is not what was written|holds no candidate); move"):
            exploring.explore(tmp_path / "e", spec)
        assert study.read_bytes() == damaged
        assert {path.name: path.read_bytes() for path in (tmp_path / "e").glob("*.csv")} == tables
        study.write_bytes(whole)


@pytest.mark.slow
def test_the_configurations_of_a_front_run_and_cost_what_it_says(home, tmp_path):
    pytest.importorskip("optuna")
    (home / "explore.toml").write_text(EXPLORATION)
    command = ["explore", str(home / "explore.toml"), "--dir", str(tmp_path / "e"), "--json"]
    front_found = json.loads(CliRunner().invoke(cli.application(), command).stdout)["front"]
    assert front_found
    for one in front_found:
        run = tmp_path / f"run{one['number']}"
        config = tmp_path / "e" / "front" / f"{one['number']}.toml"
        result = CliRunner().invoke(cli.application(), ["run", str(config), "--run-dir", str(run)])
        assert result.exit_code == 0, result.output
        costs = RunDirectory(run).read(paths.RESULTS["simulate"], Costs).schemes[one["keys"]["scheme"]]
        assert costs["energy_uj_per_sequence"] == one["costs"]["energy"]
        points = RunDirectory(run).read(paths.RESULTS["eval"], Accuracy).points
        perfect, faulty = (next(p["mean"] for p in points if bool(p["rate"]) == wanted) for wanted in (False, True))
        assert perfect - faulty == pytest.approx(one["lost"], abs=1e-9)


def test_the_front_holds_what_nobody_beats():
    spec = build(ExplorationSpec, {"space": {"scheme": ["a"]}, "objectives": ["energy", "lost"], "max_lost": 2}, "test")

    def one(number, energy, lost):
        return Candidate(number, {}, lost, {"energy": energy})

    found = [one(0, 1, 2), one(1, 2, 1), one(2, 2, 2), one(3, 0.5, 3), one(4, 1, 2), Candidate(5, {}, refused="no.")]
    assert [candidate.number for candidate in front(found, spec)] == [0, 1]
    # What is at chance level has nothing to lose: it beats nobody, and where all are, the costs alone are compared.
    blind = [dataclasses.replace(one(n, 0.1 * n, 0.0), at_chance=True) for n in (6, 7)]
    assert [candidate.number for candidate in front([*found, *blind], spec)] == [0, 1]
    assert [candidate.number for candidate in front(blind, spec)] == [6]


@pytest.mark.parametrize(("blind", "said"), [((0, 1), "All that could be on it are"), ((0,), "whatever they lose: 0")])
def test_an_exploration_says_what_is_at_chance_level(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blind: tuple[int, ...], said: str
) -> None:
    pytest.importorskip("optuna")

    measured: list[int] = []

    def stub(folder: Path, spec: ExplorationSpec, engine: str, number: int, keys: dict[str, object]) -> Candidate:
        measured.append(number)
        costs = dict.fromkeys(("energy", "latency", "area"), 1.0 + number)
        return Candidate(number, keys, lost=0.0, costs=costs, at_chance=len(measured) - 1 in blind)

    monkeypatch.setattr(exploring, "_measure", stub)
    text = 'base = "base.toml"\ncandidates = 2\n[space]\nscheme = ["none", "paper"]\n'
    (home / "blind.toml").write_text(text)
    result = CliRunner().invoke(
        cli.application(), ["explore", str(home / "blind.toml"), "--dir", str(tmp_path / "e")], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0, result.output
    assert said in result.output
    assert "at chance level without faults" in result.output
    with (tmp_path / "e" / "candidates.csv").open() as file:
        notes = [row["note"] for row in csv.DictReader(file)]
    assert [note == "at chance level without faults" for note in notes] == [number in blind for number in range(2)]


def test_a_damaged_or_foreign_store_is_one_sentence(home, tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "campaign.db").write_bytes(b"not a database, and long enough to be looked at" * 9)
    with pytest.raises(UserError, match=r"campaign\.db: a damaged campaign file"):
        run_campaign(tmp_path / "c", load_spec(home / "small.toml"), "serial", work=stub)
    with pytest.raises(UserError, match="no campaign here yet"):
        run_campaign(tmp_path / "nowhere", None, "serial")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        run_campaign(tmp_path / "mine", load_spec(home / "small.toml"), "serial", work=stub)


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(home, tmp_path):
    spec = load_spec(home / "small.toml")
    seen = []

    def watch(state):
        seen.append(state.counts["done"])

    class Full:
        def __init__(self, connection):
            self._connection = connection

        def __getattr__(self, name):
            return getattr(self._connection, name)

        def executemany(self, *arguments):
            if seen and seen[-1] >= 3:
                raise sqlite3.OperationalError("database or disk is full")
            return self._connection.executemany(*arguments)

        def __enter__(self):
            return self._connection.__enter__()

        def __exit__(self, *arguments):
            return self._connection.__exit__(*arguments)

    known = variants(spec)
    with driving(tmp_path / "c") as database:
        plan(database, spec, known)
        database._connection = Full(database._connection)
        with open_engine("serial") as engine:
            work = Driver(tmp_path / "c", database, spec, known, engine, stub, watch)
            with pytest.raises(StorageError, match=r"disk is full\); make room and resume"):
                work.run()
    assert counts(tmp_path / "c")["done"] >= 3
    assert run_campaign(tmp_path / "c", None, "serial", work=stub)["done"] == 36


def test_the_commands_plan_run_show_and_export(serial, home, tmp_path):
    call = lambda *arguments: CliRunner().invoke(cli.application(), ["sweep", *map(str, arguments)])  # noqa: E731
    planned = call("plan", home / "small.toml", "--json")
    assert planned.exit_code == 0, planned.output
    plan = json.loads(planned.stdout)
    assert (plan["trials"], plan["models"]) == (36, 2)
    assert plan["seconds"] > 0
    folder = fresh(serial, tmp_path / "c")
    done = call("run", home / "small.toml", "--dir", folder, "--engine", "serial", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["digest"] == digest(serial)
    assert "36 done" in call("status", folder).output
    assert call("export", folder, "--out", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "summary.csv").is_file()
    assert call("status", tmp_path / "nowhere").exit_code == 2


@pytest.mark.parametrize("trouble", [BrokenPipeError(32, "Broken pipe"), PermissionError(13, "Permission denied", "a")])
def test_what_fails_beside_the_database_is_not_laid_to_it(serial, trouble):
    with pytest.raises(type(trouble)) as caught, Database.open(database_path(serial)):
        raise trouble
    assert caught.value is trouble
