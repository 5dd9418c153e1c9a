"""Run a campaign in its folder, from its plan to the last trial."""

from __future__ import annotations

from pathlib import Path

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.machine import is_installed
from crossvote.swstack.experiment.campaign.driver import Driver, Watch, Work
from crossvote.swstack.experiment.campaign.engines import open_engine
from crossvote.swstack.experiment.campaign.folder import database_path, driving, examples_path, reopen_lost, take_over
from crossvote.swstack.experiment.campaign.plan import check_unchanged, plan, planned_spec
from crossvote.swstack.experiment.campaign.preparation import chances, prepare
from crossvote.swstack.experiment.campaign.spec import CampaignSpec, variants
from crossvote.swstack.experiment.campaign.work import do_chunk


def run_campaign(
    folder: Path,
    spec: CampaignSpec | None,
    engine: str,
    watch: Watch = lambda state: None,
    work: Work = do_chunk,
    retry: bool = False,
) -> dict[str, int]:
    """Plan and run a campaign in ``folder``; without ``spec`` go on with what was planned there.

    retry: try the failed trials again. Returns the trials by status.

    Raises:
        UserError: a wrong specification, another driver, changed inputs, or an engine that is not there.
    """
    if spec is None and not database_path(folder).is_file():
        raise UserError(f"{folder}: no campaign here yet; start one with: crossvote sweep run CAMPAIGN.toml")
    known = variants(spec) if spec is not None else ()  # refused before anything is written
    if spec is not None and spec.examples and not is_installed("pyarrow"):
        raise UserError("keeping every example needs pyarrow (pip install pyarrow); or say examples = false.")
    with driving(folder) as database:
        database.check()
        if spec is None:
            spec = planned_spec(database)
            known = variants(spec)
            check_unchanged(database, spec, known)
        else:
            plan(database, spec, known)
        if spec.examples:
            reopen_lost(database, examples_path(folder))
        if retry:
            database.set_status([row.trial.key for row in database.rows("failed")], "open")
        take_over(folder, spec)
        with open_engine(engine) as opened:
            driver = Driver(folder, database, spec, known, opened, work, watch)
            if work is do_chunk:
                prepare(driver)
                database.set_meta(chances=chances(driver))
            counts = driver.run()
        database.set_meta(engine=engine)
        return counts
