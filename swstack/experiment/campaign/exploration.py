"""Which chip and which scheme cost least at a loss that is allowed: Optuna proposes, a campaign measures.

A candidate is a choice of configuration keys and a scheme. Its model is mapped to its chip, its accuracy measured on
the same faulty silicon as everybody's, its costs simulated. What the support matrix or a component's range refuses is
refused, not extrapolated. The study is one SQLite file, which Optuna's dashboard reads.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field

from crossvote.sim.common.csv_rows import KNOWING, write_csv
from crossvote.sim.common.errors import StorageError, UserError
from crossvote.sim.common.files import reading, write_text_atomic, writing
from crossvote.sim.common.lock import held
from crossvote.sim.common.schema import adapter, build, config_dataclass, flat_keys, read_toml, to_mapping
from crossvote.swstack.experiment.campaign.database import Database, check_sqlite
from crossvote.swstack.experiment.campaign.folder import campaign_store, database_path
from crossvote.swstack.experiment.campaign.running import run_campaign
from crossvote.swstack.experiment.campaign.spec import CampaignSpec, resolved_base, variants
from crossvote.swstack.experiment.campaign.summary import AT_CHANCE, summarize
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.records import Costs
from crossvote.swstack.experiment.work import bring_up
from crossvote.swstack.tasks.metrics import lost

#: Marks a proposal that was tried before: it counts for nothing.
_REPEATS = "repeats"
_ADVICE = "move this file away and explore again (what the campaign beside it measured is kept)."

#: What an objective is called in tables and pictures.
_TITLES = {"energy": "energy, uJ", "latency": "latency, us", "area": "area, mm2", "lost": "points lost"}

Objective = Literal["energy", "latency", "area", "lost"]

#: What an objective is called in the system model's summary.
_COSTS = {"energy": "energy_uj_per_sequence", "latency": "latency_us", "area": "area_mm2"}


@config_dataclass
class ExplorationSpec:
    """One exploration."""

    name: str = Field(default="exploration", pattern=r"^[\w][\w.+-]*$", description="Names its folder.")
    base: str = Field(default="default", description="Shipped configuration, TOML file or run directory to start from.")
    set: dict[str, Any] = Field(default_factory=dict, description="Keys that all candidates change.")
    space: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, min_length=1, description="Keys and the values to choose from; 'scheme' chooses a scheme."
    )
    rate: float = Field(default=0.01, gt=0, le=1, description="Fault rate at which the loss is measured.")
    chips: int = Field(default=10, ge=1, description="Chips per candidate, the same for all.")
    objectives: tuple[Objective, ...] = Field(
        default=("energy", "area", "lost"), min_length=1, description="What is minimised."
    )
    max_lost: float | None = Field(default=1.0, gt=0, description="Points that may be lost; more is no answer.")
    candidates: int = Field(default=50, ge=1, description="Candidates to try.")
    seed: int = Field(default=0, ge=0, description="Of the proposals.")


@dataclass(frozen=True)
class Candidate:
    """A candidate that was measured, or the sentence that refused it.

    lost: mean points lost at the rate against the same scheme without faults. Costs are of one sequence.
    at_chance: without faults it scores what one answer for all does, so that ``lost`` says nothing about it.
    map_known: its scheme knows the stuck cells of each chip, so that it stands apart from those that do not.
    """

    number: int
    keys: dict[str, Any]
    lost: float | None = None
    costs: dict[str, float] = dataclasses.field(default_factory=dict)
    refused: str | None = None
    at_chance: bool = False
    map_known: bool = False

    def value(self, objective: str) -> float:
        """What is minimised."""
        assert self.lost is not None
        return self.lost if objective == "lost" else self.costs[objective]


def load_exploration(path: Path) -> ExplorationSpec:
    """An exploration's TOML file; ``base`` is relative to it.

    Raises:
        UserError: no such file, not TOML, or a key that is wrong.
    """
    data = read_toml(path)
    for section in ("set", "space"):
        if isinstance(data.get(section), Mapping):
            data[section] = flat_keys(data[section])
    if isinstance(data.get("base"), str):
        data["base"] = resolved_base(data["base"], path.parent)
    return build(ExplorationSpec, {"name": path.stem, **data}, str(path))


def explore(
    folder: Path, spec: ExplorationSpec, engine: str = "serial", told: Callable[[int, int], None] = lambda a, b: None
) -> list[Candidate]:
    """Try candidates until there are ``spec.candidates`` different ones, or no others; what was tried before counts.

    Returns all of them.

    Writes ``candidates.csv``, ``front.csv`` and a configuration ``front/N.toml`` of every candidate on the front, and
    in the end the front as a picture (``front.svg``, ``front.png``). Schemes that know the stuck cells of each chip
    have files of their own: ``candidates-known.csv``, ``front-known.csv``, ``front-known.svg``.

    Raises:
        UserError: no Optuna, a wrong key, or another exploration at work in the folder.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("exploring needs Optuna: pip install 'crossvote[explore]'.") from None
    campaign_of(spec, {key: values[0] for key, values in spec.space.items()})  # a wrong key is refused at once
    study_file = folder / paths.STUDY
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    busy = f"{folder}: another exploration is at work here."
    with held(folder / paths.LOCK, busy), _in_words(study_file):
        if os.path.lexists(study_file):
            with reading(study_file, "exploration"):
                check_sqlite(study_file, _ADVICE)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=spec.name,
            storage=f"sqlite:///{study_file.absolute()}",
            load_if_exists=True,
            directions=["minimize"] * len(spec.objectives),
            sampler=optuna.samplers.TPESampler(seed=spec.seed),
        )
        before = [t for t in study.trials if t.state.is_finished() and _REPEATS not in t.user_attrs]
        found = [_read(trial, study_file) for trial in before]
        if len(study.directions) != len(spec.objectives) or any(one.keys.keys() != spec.space.keys() for one in found):
            raise UserError(f"{folder}: holds an exploration of other keys or objectives; name another with --dir.")
        sizes = [len(values) for values in spec.space.values()]
        seen = {tuple(trial.params[key] for key in spec.space) for trial in before}
        while len(found) < spec.candidates and len(seen) < math.prod(sizes):
            told(len(found), spec.candidates)
            trial = study.ask()
            # Optuna keeps plain values; tables and arrays go by their place in the list.
            place = tuple(trial.suggest_int(key, 0, len(values) - 1) for key, values in spec.space.items())
            if place in seen:  # samplers of few choices come back to the best; the next one is new
                trial.set_user_attr(_REPEATS, True)
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                other = _unseen(random.Random(f"{spec.seed} {trial.number}"), sizes, seen)
                study.enqueue_trial(dict(zip(spec.space, other, strict=True)))
                continue
            seen.add(place)
            keys = {key: values[at] for (key, values), at in zip(spec.space.items(), place, strict=True)}
            candidate = _measure(folder, spec, engine, trial.number, keys)
            trial.set_user_attr("candidate", dataclasses.asdict(candidate))
            trial.set_user_attr("seal", _seal(trial.params, dataclasses.asdict(candidate)))
            if candidate.refused is None:
                study.tell(trial, [candidate.value(objective) for objective in spec.objectives])
            else:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            found.append(candidate)
            _write(folder, spec, found)
        told(len(found), spec.candidates)
        _write(folder, spec, found)
        _draw(folder, spec, found)
    return found


def _unseen(draw: random.Random, sizes: Sequence[int], seen: Set[tuple[int, ...]]) -> tuple[int, ...]:
    """A choice of every key that was not tried; there must be one.

    Drawn by Python's own generator, not by ``crossvote.sim.common.seeds``: nothing that is measured follows from it,
    and explorations that are kept (``benchmarks/results/campaign``) would propose other candidates.
    """
    while True:
        place = tuple(draw.randrange(size) for size in sizes)
        if place not in seen:
            return place


def campaign_of(spec: ExplorationSpec, keys: Mapping[str, Any]) -> CampaignSpec:
    """The campaign that measures one candidate.

    Raises:
        UserError: a key that no candidate could have.
    """
    data: dict[str, Any] = {
        "name": spec.name,
        "base": spec.base,
        "set": {**spec.set, **{key: value for key, value in keys.items() if key != "scheme"}},
        "rates": [spec.rate],
        "chips": spec.chips,
        "examples": False,
    }
    if "scheme" in keys:
        data["schemes"] = [keys["scheme"]]
    return build(CampaignSpec, data, spec.name)


def front(candidates: Sequence[Candidate], spec: ExplorationSpec) -> list[Candidate]:
    """The candidates within the loss that is allowed to which no other is equal or better in every objective.

    One at chance level has nothing to lose, so it beats none above; it counts only where there is none above.
    """
    able = [c for c in candidates if c.lost is not None and (spec.max_lost is None or c.lost <= spec.max_lost)]
    able = [c for c in able if not c.at_chance] or able
    values = {c.number: tuple(c.value(objective) for objective in spec.objectives) for c in able}
    kept: list[Candidate] = []
    seen = set()
    for one in able:
        own = values[one.number]
        beaten = any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in values.values())
        if not beaten and own not in seen:
            seen.add(own)
            kept.append(one)
    return kept


def by_knowledge(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """Those whose scheme does not know the stuck cells, and, if there are any, those whose scheme does, which beat none
    of the former; by what the names of their files end in.
    """
    kinds: dict[str, list[Candidate]] = {"": [], KNOWING: []}
    for candidate in candidates:
        kinds[KNOWING if candidate.map_known else ""].append(candidate)
    return {end: own for end, own in kinds.items() if own or not end}


def _measure(folder: Path, spec: ExplorationSpec, engine: str, number: int, keys: dict[str, Any]) -> Candidate:
    campaign = campaign_of(spec, keys)
    place = folder / "campaign"
    try:
        (variant,) = variants(campaign)
        assert variant.config is not None
        scheme = variant.config.map.schemes[0]
        known = variant.config.protections()[scheme].knows_faults
        counts = run_campaign(place, campaign, engine)
        with Database.open(database_path(place)) as database:
            failed = next(database.rows("failed"), None)
            findings = summarize(database)
        cells = [cell for cell in findings.cells if cell["scheme"] == scheme]
        at_chance = any(row["note"] == AT_CHANCE for row in findings.tolerated if row["scheme"] == scheme)
        if failed is not None or counts["done"] == 0:
            return Candidate(number, keys, refused=((failed and failed.error) or "no trial.").strip().splitlines()[-1])
        # A run of its own, for its chip is its own; the model and the images are those of the campaign.
        run = bring_up(folder / "runs" / str(number), variant.config, "simulate", store=campaign_store(place))
        found = run.read(paths.RESULTS["simulate"], Costs)
    except StorageError:
        raise
    except UserError as error:
        return Candidate(number, keys, refused=str(error))
    if found.skipped is not None:
        return Candidate(number, keys, refused=found.skipped)
    perfect = next(cell["mean"] for cell in cells if not cell["rate"])
    faulty = next(cell for cell in cells if cell["rate"])
    costs = {name: float(found.schemes[scheme][key]) for name, key in _COSTS.items()}
    points = lost(faulty["metric"], perfect, faulty["mean"])
    return Candidate(number, keys, points, costs, at_chance=at_chance, map_known=known)


def _read(trial: Any, file: Path) -> Candidate:
    try:
        written, seal = trial.user_attrs["candidate"], trial.user_attrs["seal"]
        candidate = adapter(Candidate).validate_python(written)
    except (KeyError, ValueError):
        raise UserError(f"{file}: trial {trial.number} holds no candidate; {_ADVICE}") from None
    if seal != _seal(trial.params, written):
        raise UserError(f"{file}: trial {trial.number} is not what was written; {_ADVICE}")
    return candidate


def _seal(params: Mapping[str, int], candidate: Mapping[str, Any]) -> str:
    """Digest of what was proposed and found, so that a bit that flips in the file is no other candidate."""
    return hashlib.sha256(json.dumps([params, candidate], sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def _in_words(file: Path) -> Iterator[None]:
    """What Optuna and its database stumble over, as a sentence."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OptunaError, SQLAlchemyError) as error:
        reason = " ".join(str(error.__cause__ or error).split("[SQL", maxsplit=1)[0].split())
        if "full" in reason or "readonly" in reason or "unable to open" in reason:
            raise StorageError(f"{file}: cannot be used ({reason}).") from None
        raise UserError(f"{file}: a damaged file of an exploration ({reason}); {_ADVICE}") from None


def _row(candidate: Candidate, spec: ExplorationSpec) -> dict[str, Any]:
    return {
        "candidate": candidate.number,
        **{key: candidate.keys[key] for key in spec.space},
        _TITLES["lost"]: candidate.lost,
        **{title: candidate.costs.get(name) for name, title in _TITLES.items() if name != "lost"},
        "note": AT_CHANCE if candidate.at_chance else "",
        "refused": candidate.refused or "",
    }


def _draw(folder: Path, spec: ExplorationSpec, found: Sequence[Candidate]) -> None:
    from crossvote.swstack.report.figures import save_figure
    from crossvote.swstack.report.pareto import pareto_figure

    objectives = [_TITLES[objective] for objective in spec.objectives]
    group = "scheme" if "scheme" in spec.space else None
    for end, own in by_knowledge(found).items():
        measured = [_row(candidate, spec) for candidate in own if candidate.refused is None]
        best = [_row(candidate, spec) for candidate in front(own, spec)]
        if best:
            save_figure(pareto_figure(measured, best, objectives, group, spec.max_lost), folder, f"front{end}")
        else:
            for kind in ("svg", "png"):
                (folder / f"front{end}.{kind}").unlink(missing_ok=True)


def _write(folder: Path, spec: ExplorationSpec, found: Sequence[Candidate]) -> None:
    best: list[Candidate] = []
    for end, own in by_knowledge(found).items():
        unbeaten = front(own, spec)
        write_csv(folder / f"candidates{end}.csv", [_row(candidate, spec) for candidate in own])
        write_csv(folder / f"front{end}.csv", [_row(candidate, spec) for candidate in unbeaten])
        best += unbeaten
    numbers = {str(candidate.number) for candidate in best}
    for old in (folder / "front").glob("*.toml"):
        if old.stem.isdigit() and old.stem not in numbers:
            old.unlink()  # beaten since it was written
    for candidate in best:
        (variant,) = variants(campaign_of(spec, candidate.keys))
        assert variant.config is not None
        text = f"# Candidate {candidate.number} of the exploration '{spec.name}'.\n"
        write_text_atomic(
            folder / "front" / f"{candidate.number}.toml", text + tomli_w.dumps(to_mapping(variant.config))
        )
