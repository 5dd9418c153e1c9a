"""The plan of a campaign in its database: what is to be measured, from which inputs, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build, to_mapping
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.spec import CampaignSpec, Variant
from crossvote.swstack.experiment.campaign.stopping import counted
from crossvote.swstack.experiment.campaign.trials import expand, plan_digest
from crossvote.swstack.experiment.run.pipeline import versions


def plan(database: Database, spec: CampaignSpec, known: Sequence[Variant]) -> int:
    """Write the campaign's trials down; results that are there and still wanted are kept. Returns how many are new."""
    new = database.plan(expand(spec, known))
    database.set_meta(
        spec=to_mapping(spec),
        versions=versions(),
        variants=[
            {
                "number": variant.number,
                "label": variant.label,
                "keys": dict(variant.keys),
                "refused": variant.refused,
                "metric": None,
                "schemes": list(variant.config.map.schemes) if variant.config else [],
                "knowing": [
                    name
                    for name, scheme in (variant.config.protections() if variant.config else {}).items()
                    if scheme.knows_faults
                ],
            }
            for variant in known
        ],
    )
    return new


def planned_spec(database: Database) -> CampaignSpec:
    """The specification that was planned last.

    Raises:
        UserError: nothing was planned.
    """
    found = database.meta("spec")
    if found is None:
        raise UserError(f"{database.path}: nothing is planned here.")
    return build(CampaignSpec, found, str(database.path))


def check_unchanged(database: Database, spec: CampaignSpec, known: Sequence[Variant]) -> None:
    """Refuse to go on with a campaign whose inputs or code are no longer those of its results.

    Raises:
        UserError: saying so; nothing is changed.
    """
    planned = {row.trial.key for row in database.rows()}
    new = sum(trial.key not in planned for trial in expand(spec, known))
    if new:
        raise UserError(
            f"{database.path}: {new} of {len(planned)} trials would be others than those planned, because the model, "
            "the data or the code changed since; put them back, or plan anew with: crossvote sweep run CAMPAIGN.toml "
            "(what is measured is kept)."
        )


def results_digest(database: Database) -> str:
    """One digest over all results that count: equal for equal results, whatever measured them in whatever order."""
    return plan_digest([(row.trial.key, row.metrics) for row in counted(database, planned_spec(database).stop)])


def manifest(database: Database) -> dict[str, Any]:
    """Specification, versions and the digest of the results."""
    return {
        "spec": database.meta("spec"),
        "versions": database.meta("versions"),
        "variants": database.meta("variants"),
        "counts": database.counts(),
        "digest": results_digest(database),
    }
