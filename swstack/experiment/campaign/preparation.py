"""Before the trials of a campaign: fine-tune, prune and map what they need, each distinct model once."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

from crossvote.sim.common.files import refused_by_machine
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.campaign.driver import Driver, State, error_text
from crossvote.swstack.experiment.campaign.folder import PREPARED, campaign_store, run_path
from crossvote.swstack.experiment.campaign.spec import Variant
from crossvote.swstack.experiment.campaign.trials import Outcome
from crossvote.swstack.experiment.campaign.work import do_prepare
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.pipeline import identify, pending
from crossvote.swstack.experiment.run.records import read_plain
from crossvote.swstack.experiment.work import bring_up, chosen_stages


def prepare(driver: Driver) -> None:
    """Fine-tune, prune and map what the open trials need, each distinct model once; failures become their trials'.

    A stage of one variant waits for nothing but the stage before it, so that different models are made side by side.

    Raises:
        StorageError: the machine does not take a file; what is open stays open.
    """
    wanted = driver.database.open_variants()
    todo = [v for v in driver.variants if v.config is not None and v.number in wanted]
    broken: dict[Path, str] = {}
    store = campaign_store(driver.folder)
    for command in PREPARED:
        groups: dict[str, list[Variant]] = {}
        for variant in todo:
            groups.setdefault(_upto(variant, command), []).append(variant)
        waiting: dict[Future[str | None], Variant] = {}
        # One of each kind first: the others then find its work in the store.
        for turn in (slice(1), slice(1, None)):
            for group in groups.values():
                for variant in {run_path(driver.folder, v): v for v in group[turn]}.values():
                    path = run_path(driver.folder, variant)
                    assert variant.config is not None
                    if path in broken or _is_prepared(path, variant, command):
                        continue
                    if not pending(RunDirectory(path), variant.config, chosen_stages(command), store=store):
                        bring_up(path, variant.config, command, store=store)  # links alone, which need no worker
                        continue
                    arguments = (path, to_mapping(variant.config), command, store.folder)
                    waiting[driver.engine.submit(do_prepare, *arguments)] = variant
            while waiting:
                driver.watch(State(driver.database.counts(), 0.0, None, f"{command}: {len(waiting)} to do"))
                finished, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in finished:
                    variant = waiting.pop(future)
                    error = future.exception()
                    if refused_by_machine(error):
                        driver.refuse(error)
                        continue
                    text = error_text(error) if error is not None else future.result()
                    if isinstance(error, driver.engine.lost):
                        driver.engine.renew()
                    if text is not None:
                        broken[run_path(driver.folder, variant)] = text
            driver.check()
    for variant in todo:
        text = broken.get(run_path(driver.folder, variant))
        if text is not None:
            keys = driver.database.open_keys(variant.number)
            driver.database.record([Outcome(key, {}, error=text) for key in keys])


def chances(driver: Driver) -> dict[str, dict[str, Any]]:
    """Variant -> chance level of its primary metric, of those whose model was scored."""
    found = {}
    for variant in driver.variants:
        path = run_path(driver.folder, variant) / paths.RESULTS["score-pruned"] if variant.config else None
        if path is not None and path.is_file() and (chance := read_plain(path).get("chance")):
            found[str(variant.number)] = chance
    return found


def _upto(variant: Variant, command: str) -> str:
    """What decides the model or the images of a variant up to a stage."""
    assert variant.config is not None
    nowhere = RunDirectory(Path("/nonexistent"))
    return "".join(identify(stage, variant.config, nowhere).key({}) for stage in chosen_stages(command))


def _is_prepared(path: Path, variant: Variant, command: str) -> bool:
    assert variant.config is not None
    stages = [stage for stage in chosen_stages(command) if not stage.name.startswith("score")]
    return not pending(RunDirectory(path), variant.config, stages)
