"""The jobs of the paper at its own size: recipes, sweeps, comparisons, in the order of what they are worth."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import glue_pruning
from benchmarks.glue_pruning import Plan, Recipe
from crossvote.swstack.experiment.run.paths import record
from crossvote.swstack.mapping.scheme import Scale
from crossvote.swstack.pruning.config import DECIDED_FIRST

#: Rates in the range of the BERT paper's own search, one for all tasks; the rest is the recipe that was chosen on
#: held-out train examples for the six-layer encoder (`glue_pruning`).
COMMON = {
    **glue_pruning.COMMON,
    "finetune.learning_rate": 4e-5,
    "prune.learning_rate": 5e-5,
}

# In the order of what they are worth.
RECIPES: dict[str, Recipe] = {
    "mrpc": Recipe(5, 3, 2, 3),
    "cola": Recipe(4, 3, 2, 3, augmentation=0.5, dropout=False),
    "rte": Recipe(6, 5, 3, 3),
    "stsb": Recipe(4, 2, 2, 3),
    "sst2": Recipe(2, 1, 1, 3, train_limit=16_000),
    "qnli": Recipe(2, 2, 1, 1, augmentation=0.5),
    "mnli": Recipe(2, 1, 1, 1, train_limit=16_000),
    "qqp": Recipe(2, 1, 1, 1, train_limit=16_000),
}

#: Tasks whose trainings come first, and those after the first sweeps.
SMALL, LARGE = ("mrpc", "cola", "rte", "stsb"), ("sst2",)

#: Tasks of the fault sweeps, the paper's nine rates (Table 3), and those beyond.
SWEPT = ("mrpc", "cola")

PAPER_RATES = (0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.00125, 0.0015, 0.00175, 0.002)

HIGH_RATES = (0.005, 0.01, 0.02, 0.05)

CHIPS = 20

#: One of them prunes the models of Table 1, the other every one of them once more, from the same dense model with
#: the same losses and as many epochs of training in all.
PRUNED_BY = ("gates", DECIDED_FIRST)

#: What was solved lies near the dense model, and a learning rate as high as the gates' leads away from it. Chosen, with
#: the augmentation, on train sentences of SST-2 that no model saw (docs/pruning.md).
SOLVED_RATE, SOLVED_AUGMENTATION = 2e-5, 0.5

#: Further methods, and the tasks on which they are compared with those two.
METHODS = ("saliency", "magnitude-start", "magnitude", "movement")

COMPARED = ("mrpc", "stsb", "rte")

#: The shares of the curve.
SHARES = (0.4, 0.5)

#: Schemes whose latency, energy and area are computed from the images of one model.
SYSTEM_TASK, SYSTEM_SCHEMES = "mrpc", ("none", "none-column", "paper", "best")

#: Variants by name: the shipped scheme, and its quantization scale where that is not the scheme's own.
VARIANTS: dict[str, tuple[str, Scale | None]] = {
    "none": ("none", None),
    "none-column": ("none-column", None),
    "paper": ("paper", None),
    "paper-column": ("paper", "column"),
    "best": ("best", None),
}


@dataclass(frozen=True)
class SweepPlan:
    """One variant on all chips of some rates. planes: 'all' or 'msb', which cells can be stuck."""

    task: str
    variant: str
    planes: str
    rates: tuple[float, ...]
    chips: int

    @property
    def name(self) -> str:
        """Unique, and a file name."""
        return f"{self.task}-{self.variant}-{self.planes}-{100 * min(self.rates):g}-{100 * max(self.rates):g}"


@dataclass(frozen=True)
class Job:
    """A process. needs: files that must be there first. makes: the file by which it is known to be finished.

    holds: a run directory that it works in, which no other job may do at that time.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[Path, ...]
    makes: Path
    log: Path
    holds: Path | None = None


def sweep_plans() -> list[SweepPlan]:
    """All sweeps in the order of what they are worth."""
    first = [
        SweepPlan(t, v, "all", PAPER_RATES, CHIPS) for t in SWEPT for v in ("paper", "none", "best", "none-column")
    ]
    readings = [
        SweepPlan(t, v, planes, PAPER_RATES, CHIPS)
        for t in SWEPT
        for v, planes in (
            ("none", "msb"),
            ("paper", "msb"),
            ("paper-column", "all"),
            ("none-column", "msb"),
            ("paper-column", "msb"),
        )
    ]
    high = [
        SweepPlan(t, v, "all", HIGH_RATES, CHIPS)
        for v in ("best", "none-column", "paper-column", "paper", "none")
        for t in SWEPT
    ]
    return [*first, *readings, *high]


def jobs(
    model: str, glue_dir: str, share: float, out: Path, tasks: Sequence[str], checkpoint_steps: int, method: str
) -> tuple[list[Job], list[Plan]]:
    """All jobs in order, and the plans of the trainings among them.

    method: of ``PRUNED_BY``, what prunes the models of Table 1.
    """
    recipes = {task: recipe_of(task, method) for task in tasks}
    (second,) = set(PRUNED_BY) - {method}
    common = {**COMMON, "prune.method": f'"{method}"', "prune.learning_rate": rate_of(method)}
    steps = {"finetune.checkpoint_steps": checkpoint_steps, "prune.checkpoint_steps": checkpoint_steps}
    plans = glue_pruning.plan(model, glue_dir, share, out, recipes, {**common, **steps})
    small, large, last = (
        [
            *(_training(one) for one in plans if one.task in own),
            *(_comparison(one, "again", (second,), (share,)) for one in plans if one.task in own),
        ]
        for own in (SMALL, LARGE, set(RECIPES) - {*SMALL, *LARGE})
    )
    sweeps = [_sweeping(one, out) for one in sweep_plans() if one.task in tasks]
    swept = len(set(SWEPT) & set(tasks))
    first, readings, high = sweeps[: 4 * swept], sweeps[4 * swept : 9 * swept], sweeps[9 * swept :]
    compared = [
        [_comparison(one, "methods", METHODS, (share,)) for one in plans if one.seed == seed and one.task in COMPARED]
        for seed in range(3)
    ]
    curves = [
        _comparison(one, f"curve {of}", (of,), SHARES)
        for one in plans
        if one.seed == 0 and one.task in SWEPT
        for of in PRUNED_BY
    ]
    system = [_system(one, out) for one in plans if (one.task, one.seed) == (SYSTEM_TASK, 0)]
    order = [small, first, large, readings, system, curves, high, last, *compared]
    return [job for part in order for job in part], plans


def _crossvote(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", "from crossvote.swstack.cli.main import main; main()", *arguments)


def _pruned(one: Plan) -> Path:
    return one.run / record("score-pruned")


def _training(one: Plan) -> Job:
    name, log = f"train {one.task} {one.seed}", one.run.with_suffix(".log")
    return Job(name, _crossvote(*one.command[1:]), (), _pruned(one), log, one.run)


def _sweeping(one: SweepPlan, out: Path) -> Job:
    command = (sys.executable, "-m", "benchmarks.paper_size", "--out", str(out), "--sweep", one.name)
    makes = out / "sweeps" / f"{one.name}.json"
    needs = (out / f"{one.task}-0" / record("score-pruned"),)
    return Job(f"sweep {one.name}", command, needs, makes, makes.with_suffix(".log"))


def rate_of(method: str) -> float:
    """Learning rate of the weights while pruning."""
    return SOLVED_RATE if method == DECIDED_FIRST else COMMON["prune.learning_rate"]


def recipe_of(task: str, method: str) -> Recipe:
    """How a task's model is pruned; what is solved is trained for as long as gates learn and are followed up."""
    own = RECIPES[task]
    if method != DECIDED_FIRST:
        return own
    return replace(own, final_epochs=own.gate_epochs + own.final_epochs, augmentation=SOLVED_AUGMENTATION)


def _comparison(one: Plan, name: str, methods: Sequence[str], shares: Sequence[float]) -> Job:
    """methods: with the same recipe."""
    recipe = recipe_of(one.task, methods[0])
    settings = {
        "learning_rate": rate_of(methods[0]),
        "gate_epochs": recipe.gate_epochs,
        "final_epochs": recipe.final_epochs,
        "augmentation": recipe.augmentation,
    }
    options = [text for method in methods for text in ("--method", method)]
    options += [text for share in shares for text in ("--column-sparsity", f"{share:g}")]
    options += [text for key, value in settings.items() for text in ("-o", f"prune.{key}={value}")]
    last = one.run / "comparison" / f"{methods[-1]}-{100 * shares[-1]:g}-{one.seed}" / "result.json"
    command = _crossvote("compare", str(one.run), *options)
    log = one.run.with_suffix(f".{name.replace(' ', '-')}.log")
    return Job(f"{name} {one.task} {one.seed}", command, (_pruned(one),), last, log, one.run)


def _system(one: Plan, out: Path) -> Job:
    schemes = "map.schemes=[" + ", ".join(f'"{scheme}"' for scheme in SYSTEM_SCHEMES) + "]"
    folder = out / "system"
    steps = [_crossvote("map", str(one.run), "-o", schemes), _crossvote("simulate", str(one.run), "--out", str(folder))]
    command = " && ".join(shlex.join(step) for step in [*steps, ("touch", str(folder / "finished"))])
    log = one.run.with_suffix(".system.log")
    return Job(f"system {one.task}", ("bash", "-c", command), (_pruned(one),), folder / "finished", log, one.run)
