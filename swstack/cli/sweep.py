"""``crossvote sweep``: campaigns of thousands of trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossvote.sim.common.shell import command_line
from crossvote.swstack.cli.app import FAILED, app, command, shown
from crossvote.swstack.cli.output import Output

if TYPE_CHECKING:
    from crossvote.swstack.experiment.campaign.spec import CampaignSpec

sweep = typer.Typer(
    no_args_is_help=True,
    help="Campaigns: configurations x schemes x fault rates x chips.",
    epilog=shown("crossvote sweep plan schemes.toml", "crossvote sweep run schemes.toml"),
)
app.add_typer(sweep, name="sweep", short_help="Campaigns: configurations x schemes x fault rates x chips.")

Spec = Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="The campaign's TOML file.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The campaign's folder.")]
Place = Annotated[
    Path | None, typer.Option("--dir", metavar="DIR", help="The campaign's folder; otherwise campaigns/NAME.")
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine", metavar="ENGINE", help="serial, process:N, dask:N, slurm:N, or tcp://HOST:PORT of a Dask scheduler."
    ),
]
UntilCi = Annotated[
    float | None,
    typer.Option("--until-ci", metavar="POINTS", help="Stop a rate once every mean is known to so many points."),
]


def _load(path: Path, until_ci: float | None = None) -> CampaignSpec:
    from crossvote.sim.common.schema import build, merge, to_mapping
    from crossvote.swstack.experiment.campaign.spec import CampaignSpec, load_spec

    spec = load_spec(path)
    if until_ci is not None:
        spec = build(CampaignSpec, merge(to_mapping(spec), {"stop": {"until_ci": until_ci}}), "--until-ci")
    return spec


@command(group=sweep, examples=("crossvote sweep plan schemes.toml",))
def plan(
    out: Output,
    campaign: Spec,
    calibrate: Annotated[
        bool, typer.Option(help="Estimate time and disk from a short measurement of the model.")
    ] = True,
) -> None:
    """Say what a campaign would do: variants, trials, what is refused, and how long it takes; writes nothing."""
    from crossvote.swstack.cli.live import duration
    from crossvote.swstack.experiment.campaign.spec import variants
    from crossvote.swstack.experiment.campaign.trials import expand, run_name

    spec = _load(campaign)
    known = variants(spec)
    trials: dict[int, int] = {}
    for trial in expand(spec, known):
        trials[trial.variant] = trials.get(trial.variant, 0) + 1
    rows = [["variant", "trials", "refused"]]
    rows += [[v.label, str(trials.get(v.number, 0)), "yes" if v.refused else ""] for v in known]
    out.table(rows)
    for reason in dict.fromkeys(v.refused for v in known if v.refused):
        out.text(f"Refused: {', '.join(v.label for v in known if v.refused == reason)}: {reason}")
    models = {run_name(v.config) for v in known if v.config is not None}
    total = sum(trials.values())
    out.text(
        f"{total} trials of {len(known)} variants on {len(models)} models (trained, pruned and mapped first, where the "
        "base has not done it)."
    )
    result: dict[str, Any] = {
        "trials": total,
        "models": len(models),
        "variants": [
            {"label": v.label, "keys": dict(v.keys), "trials": trials.get(v.number, 0), "refused": v.refused}
            for v in known
        ],
    }
    if calibrate:
        from crossvote.swstack.experiment.campaign.estimate import calibrate as measure
        from crossvote.swstack.experiment.campaign.estimate import distinct

        seconds = size = 0.0
        for group in distinct(known).values():
            assert group[0].config is not None
            estimate = measure(group[0].config)
            own = sum(trials.get(variant.number, 0) for variant in group)
            folders = {run_name(variant.config) for variant in group if variant.config is not None}
            seconds += own * estimate.seconds
            size += own * estimate.trial_bytes * spec.examples + len(folders) * estimate.model_bytes
        out.text(
            f"About {duration(seconds)} on one core, besides training, and {size / 1e6:,.0f} MB on disk "
            "(from a short calibration on this machine)."
        )
        result |= {"seconds": seconds, "bytes": size}
    out.result(result)


@command(group=sweep, examples=("crossvote sweep run schemes.toml --engine process:8 --until-ci 0.5",))
def run(
    out: Output, campaign: Spec, engine: EngineName = "process", place: Place = None, until_ci: UntilCi = None
) -> None:
    """Run a campaign; what is measured is not measured again."""
    spec = _load(campaign, until_ci)
    _run(out, place or Path("campaigns") / spec.name, spec, engine)


@command(group=sweep, examples=("crossvote sweep resume campaigns/schemes --engine tcp://head:8786",))
def resume(out: Output, folder: Folder, engine: EngineName = "process") -> None:
    """Go on with a campaign that was stopped, on any engine. Refused if its inputs or its code changed."""
    _run(out, folder, None, engine)


@command(group=sweep, examples=("crossvote sweep retry campaigns/schemes",))
def retry(out: Output, folder: Folder, engine: EngineName = "process") -> None:
    """Try the trials that failed again, and go on."""
    _run(out, folder, None, engine, again=True)


@command(
    group=sweep,
    examples=("crossvote sweep status campaigns/schemes", "crossvote sweep status campaigns/schemes --follow"),
)
def status(
    out: Output,
    folder: Folder,
    follow: Annotated[bool, typer.Option("--follow", help="Keep looking until nothing is open any more.")] = False,
) -> None:
    """Say how far a campaign is and what it found so far, also while it runs."""
    from crossvote.swstack.experiment.campaign.database import Database
    from crossvote.swstack.experiment.campaign.driver import states
    from crossvote.swstack.experiment.campaign.folder import database_path

    if follow:
        with out.campaign(folder) as watch:
            for state in states(folder):
                watch(state)
    with Database.open(database_path(folder)) as database:
        _show(out, folder, database)


@command(group=sweep, examples=("crossvote sweep export campaigns/schemes --out tables",))
def export(
    out: Output,
    folder: Folder,
    target: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Otherwise DIR/export.")] = None,
) -> None:
    """Write trials, means with bands, paired differences and tolerated rates as CSV and Parquet."""
    from crossvote.swstack.experiment.campaign.database import Database
    from crossvote.swstack.experiment.campaign.folder import database_path
    from crossvote.swstack.experiment.campaign.summary import export as write

    with Database.open(database_path(folder)) as database:
        files = write(database, target or folder / "export")
    for path in files:
        out.text(str(path))
    out.result([str(path) for path in files])


def _run(out: Output, folder: Path, spec: CampaignSpec | None, engine: str, again: bool = False) -> None:
    from crossvote.swstack.experiment.campaign.database import Database
    from crossvote.swstack.experiment.campaign.engines import check_engine
    from crossvote.swstack.experiment.campaign.folder import database_path
    from crossvote.swstack.experiment.campaign.running import run_campaign

    check_engine(engine)
    out.resume = command_line("sweep resume", folder)
    with out.campaign(folder) as watch:
        run_campaign(folder, spec, engine, watch, retry=again)
    with Database.open(database_path(folder)) as database:
        _show(out, folder, database)
        failed = database.counts()["failed"]
    if failed:
        raise typer.Exit(FAILED)


def tolerance(row: Mapping[str, Any]) -> str:
    """What a row of ``tolerated.csv`` says, without its variant and scheme."""
    from crossvote.swstack.experiment.campaign.summary import AT_CHANCE

    if row["note"] == AT_CHANCE:
        return f"{AT_CHANCE}, so no rate is called tolerated"
    points, between = f"{row['points allowed']:g} point", f"{100 * row['low']:.3g} to {100 * row['high']:.3g} %"
    if not row["tolerated rate"]:
        return f"loses more than {points} at every measured rate (tolerated: {between})"
    note = f", {row['note']}" if row["note"] else ""
    return f"loses at most {points} up to {100 * row['tolerated rate']:.3g} % stuck ({between}){note}"


def _show(out: Output, folder: Path, database: Any) -> None:
    from crossvote.swstack.experiment.campaign.plan import results_digest
    from crossvote.swstack.experiment.campaign.summary import summarize, tables

    counts, findings = database.counts(), summarize(database)
    timed, seconds = database.seconds()
    rest = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    out.text(f"{folder}: {rest or 'nothing planned'}" + (f"; {seconds / timed:.2f} s a trial" if timed else ""))
    for table in tables(findings):
        out.table(table)
    for row in findings.tolerated:
        out.text(f"{row['variant']}, {row['scope']}, {row['scheme']}: {tolerance(row)}")
    failed = next(database.rows("failed"), None)
    if failed is not None:
        last = (failed.error or "").strip().splitlines()[-1]
        again = command_line("sweep retry", folder)
        out.text(f"{counts['failed']} failed, the first with: {last}; try again with: {again}")
    out.result({"folder": str(folder), "counts": counts, "digest": results_digest(database), **asdict(findings)})
