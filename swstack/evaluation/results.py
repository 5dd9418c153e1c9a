"""What was measured on faulty chips and by co-simulation, as records; reading them needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossvote.sim.common.records import load_record, save_record


@dataclass(frozen=True)
class Trial:
    """One scheme on one chip. ``chip`` is -1 and ``rate`` 0 for the fault-free quantized model.

    metrics: name -> percent, primary metric first. faults: stuck cells within the crossbars of the image.
    """

    scheme: str
    rate: float
    chip: int
    faults: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Point:
    """One metric of one scheme at one rate over its chips, in percent.

    sd: with n - 1 in the denominator, 0 for one chip. low, high: 95 % confidence interval of the mean over chips
    (Student's t), equal to the mean for one chip. scores: per chip, in chip order.
    """

    scheme: str
    metric: str
    rate: float
    mean: float
    sd: float
    min: float
    max: float
    low: float
    high: float
    chips: int
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Scores:
    """All trials of a sweep and under which conditions they were measured.

    points: one per scheme, metric and rate; rate 0 is the quantized model without faults.
    conditions: what every number of the sweep depends on: examples, data, activations, fault scope and per scheme
        the protection (with the quantization scale) and the image's hash.
    """

    trials: tuple[Trial, ...]
    points: tuple[Point, ...]
    conditions: dict[str, Any]

    def of_metric(self, metric: str) -> tuple[Point, ...]:
        """The points of one metric."""
        return tuple(point for point in self.points if point.metric == metric)

    def save(self, path: str | Path) -> None:
        """Write the scores as JSON."""
        save_record(path, "scores", self)

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """What ``save`` wrote.

        Raises:
            UserError: no such file, or another kind of file.
        """
        return load_record(cls, path, "scores")


@dataclass(frozen=True)
class CosimRecord:
    """What was co-simulated and how it came out, as results keep it: equal runs give equal records.

    name: of the matrix, or of a word-line group computed as a whole. backend: the one that ran.
    outputs: integers compared. mismatches: those that differ from the integer reference.
    equal: something was compared, and simulated hardware, reference and torch evaluation agree on every integer, and on
        the count of checksums that did not hold.
    faults: stuck cells of the chip. opcs: output peripherals that ran. codes: pairs of ADC codes that went through
        them. cycles: their clock cycles, all together. simulated_ps: time on the chip, 0 inside a system run.
    checksum_mismatches: how often a checksum did not hold, as the hardware counted it over all output peripherals.
    checksum_reference: how often that follows from the cells.
    """

    name: str
    scheme: str
    backend: str
    tokens: int
    faults: int
    opcs: int
    outputs: int
    mismatches: int
    equal: bool
    codes: int
    cycles: int
    disagreements: int
    simulated_ps: int
    checksum_mismatches: int = 0
    checksum_reference: int = 0


@dataclass(frozen=True)
class Proof:
    """Matrices that were co-simulated, one record each, in the order in which they were asked for."""

    records: tuple[CosimRecord, ...]

    @property
    def equal(self) -> bool:
        """Whether every matrix came out equal on all of its integers."""
        return bool(self.records) and all(record.equal for record in self.records)

    @property
    def backend(self) -> str:
        """The back end that computed them; several, where they differ, with commas between."""
        return ", ".join(dict.fromkeys(record.backend for record in self.records))

    def __iter__(self) -> Iterator[CosimRecord]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, place: int) -> CosimRecord:
        return self.records[place]

    def save(self, path: str | Path) -> None:
        """Write the records as JSON."""
        save_record(path, "proof", self)

    @classmethod
    def load(cls, path: str | Path) -> Proof:
        """What ``save`` wrote.

        Raises:
            UserError: no such file, or another kind of file.
        """
        return load_record(cls, path, "proof")
