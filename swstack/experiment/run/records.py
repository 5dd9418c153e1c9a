"""What the stages leave, as typed records: the JSON files of ``results/`` read back.

Records hold results alone. Wall times, versions and places lie beside them (``stages/NAME.about.json``), so that equal
results are equal bytes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import reading
from crossvote.sim.common.records import as_record, read_json

FORMAT = 2

R = TypeVar("R")
Rows = tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Finetuned:
    """Fine-tuning. history: one row per epoch: epoch, loss, and score where early stopping is on.

    kind, labels: what the train examples asked for and their classes; what is measured later reads them here.
    """

    task: str
    kind: str
    labels: tuple[str, ...]
    metric: str
    provenance: str
    train_examples: int
    history: Rows


@dataclass(frozen=True)
class Score:
    """A model on the dev examples, in percent, primary metric first.

    chance: chance level of the primary metric, as ``crossvote.swstack.tasks.chance.Chance`` has it.
    unknown_tokens: share of the examples' tokens, special ones left out, that the tokenizer does not know.
    """

    metrics: dict[str, float]
    chance: dict[str, Any]
    dev_examples: int
    provenance: str
    unknown_tokens: float


@dataclass(frozen=True)
class SparsityRow:
    """Shares pruned of one matrix (inputs x outputs) or word-line group."""

    name: str
    inputs: int
    outputs: int
    column_sparsity: float
    row_sparsity: float
    element_sparsity: float


@dataclass(frozen=True)
class Pruned:
    """Pruning. completed_at_freeze, reopened: as in ``crossvote.swstack.pruning.pruning.PruneResult``."""

    history: Rows
    completed_at_freeze: dict[str, int]
    reopened: int
    matrices: tuple[SparsityRow, ...]
    groups: tuple[SparsityRow, ...]


@dataclass(frozen=True)
class FaultTrained:
    """Training for faults; no scheme: none took place. history: one row per epoch. The rest as configured."""

    scheme: str | None = None
    noise: dict[str, Any] | None = None
    design_rate: float | None = None
    draw: str | None = None
    ramp_share: float | None = None
    history: Rows = ()


@dataclass(frozen=True)
class MappedScheme:
    """One protection scheme on crossbars.

    groups: one row per word-line group, as ``crossvote.swstack.mapping.cost.mapping_report`` gives it.
    chip_crossbars: size of the smallest chip that holds the image. zero_space: every group within its dense count.
    """

    name: str
    description: str
    replicas: bool
    content_hash: str
    crossbars: int
    dense_crossbars: int
    chip_crossbars: int
    zero_space: bool
    groups: Rows


@dataclass(frozen=True)
class Mapped:
    """All protection schemes of a run."""

    dense_crossbars: int
    schemes: tuple[MappedScheme, ...]

    def scheme(self, name: str) -> MappedScheme | None:
        """The scheme of that name."""
        return next((scheme for scheme in self.schemes if scheme.name == name), None)


@dataclass(frozen=True)
class Calibration:
    """Steps of "static" activations by word-line group; None where activations need none."""

    steps: dict[str, float] | None


@dataclass(frozen=True)
class Chips:
    """The chips of a run: each the law by which its silicon is drawn, as ``crossvote.swstack.evaluation.chips`` writes
    and reads it."""

    chips: Rows

    def first(self, rate: float) -> dict[str, Any]:
        """The first chip of a fault rate.

        Raises:
            UserError: no chip of that rate was drawn.
        """
        found = next((chip for chip in self.chips if chip["rate"] == rate), None)
        if found is None:
            rates = ", ".join(f"{rate:g}" for rate in sorted({chip["rate"] for chip in self.chips}))
            raise UserError(f"no chip of rate {rate:g} was drawn; there are chips of {rates}.")
        return found


@dataclass(frozen=True)
class Accuracy:
    """The sweep. fault_free: primary metric of the dense and the pruned model in floating point, in percent, and of the
    model trained for faults where there is one ("trained").

    conditions: what every number depends on besides. points: of the primary metric; all_points: of every metric.
    trials: one row per scheme and chip.
    """

    task: str
    data: str
    examples: int
    metric: str
    metrics: tuple[str, ...]
    activations: str
    input_bits: int
    fault_scope: str
    read: dict[str, Any]
    schemes: dict[str, dict[str, Any]]
    chips: int
    sa0_sa1: tuple[float, float]
    pattern: str
    chance: dict[str, Any]
    fault_free: dict[str, float]
    points: Rows
    all_points: Rows
    trials: Rows


@dataclass(frozen=True)
class Cosimulated:
    """Co-simulation on the first chip of ``rate``. matrices: one row per matrix and scheme, each the fields of
    ``crossvote.swstack.evaluation.results.CosimRecord``."""

    rate: float
    matrices: Rows
    #: Schemes that no back end of the output peripheral takes, each with the reason.
    left_out: Rows = ()


@dataclass(frozen=True)
class Costs:
    """The system model, as ``experiment.simulation.cost.costs`` gives it; ``skipped`` says why there is none.

    timeline: when the units of the last scheme's first layer are busy with a few tokens.
    """

    stream: int
    resolution: str
    schemes: dict[str, dict[str, Any]]
    skipped: str | None = None
    chip: str | None = None
    tokens: float | None = None
    baseline: str | None = None
    unprotected: tuple[str, ...] = ()
    timeline: Rows = ()


def to_json(record: Any) -> str:
    """A record as the text of its file; equal records give equal text.

    A score of outputs that were no numbers is written as ``NaN``, which Python reads back.
    """
    return json.dumps({"format": FORMAT, **dataclasses.asdict(record)}, indent=1) + "\n"


def read_plain(path: Path) -> dict[str, Any]:
    """The fields of a record as plain values.

    Raises:
        UserError: absent, damaged, or of another format. StorageError: unreadable.
    """
    if not path.is_file():
        raise UserError(f"{path}: not there; run the stage that writes it first.")
    with reading(path, "result"):
        data = read_json(path)
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
            raise UserError(f"not a result of format {FORMAT}; run the stage that writes it again.")
        return data


def read_record(kind: type[R], path: Path) -> R:
    """A record back from its file.

    Raises:
        UserError: absent, damaged, or of another format. StorageError: unreadable.
    """
    data = read_plain(path)
    with reading(path, "result"):
        return as_record(kind, data)
