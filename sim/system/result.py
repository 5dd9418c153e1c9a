"""What a run of the system model gives: times, counts of actions, how busy units were, and the energy of it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, make_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from crossvote.sim.chip.components.opc import VARIANTS, own_variant
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.records import load_record, save_record
from crossvote.sim.kernel import Measurement, Period
from crossvote.sim.system import energy
from crossvote.sim.system.group_work import Counts
from crossvote.sim.system.placement import Placement, place
from crossvote.sim.system.token_stages import GroupTiming
from crossvote.sim.system.workload import Workload

if TYPE_CHECKING:
    from crossvote.sim.system.cosim import Cosimulation  # which loads Amaranth

Resolution = Literal["analytic", "matrix", "tile", "crossbar"]


@dataclass(frozen=True)
class Usage:
    """How busy a kind of unit was.

    Attributes:
        unit: its name. kind: what it is. servers: how many there are.
        operations: of all servers. busy_ps: of all servers together. wait_ps: mean wait of an operation.
        elapsed_ps: length of the run.
    """

    unit: str
    kind: str
    servers: int
    operations: int
    busy_ps: int
    wait_ps: float
    elapsed_ps: int

    @property
    def utilisation(self) -> float:
        """Busy share of all servers over the run, from 0 to 1."""
        return self.busy_ps / (self.servers * self.elapsed_ps) if self.elapsed_ps and self.servers else 0.0


@dataclass(frozen=True, eq=False)
class SystemResult:
    """What a run of the system model gives.

    Attributes:
        sequence_ps: (first token offered, last token done) of every sequence.
        passed_ps: when the last token of every sequence left the last crossbars.
        layer_ps: (first token in, last token out) of every layer, first sequence. barrier_ps: when its attention began.
        actions: counts by scope ("layer0.qkv") and action; energy follows from them (``crossvote.sim.system.energy``).
        usage: one entry per unit. crossbar_operations: int64[crossbars], token vectors per crossbar at
            resolution = "crossbar", else one entry per coarser unit.
        period: what the stream repeats, once it does. statistics: measurements of every module. computed: what came
        out of the computed groups, by name. events: kernel events. wall_seconds: of the whole run.
    """

    chip: ChipConfig
    workload: Workload
    placement: Placement
    resolution: Resolution
    sequence_ps: tuple[tuple[int, int], ...]
    passed_ps: tuple[int, ...]
    layer_ps: tuple[tuple[int, int], ...]
    barrier_ps: tuple[int, ...]
    actions: dict[str, dict[str, int]]
    usage: tuple[Usage, ...]
    crossbar_operations: Counts
    statistics: dict[str, dict[str, Measurement]]
    computed: dict[str, Cosimulation]
    events: int
    wall_seconds: float
    period: Period | None = None

    @property
    def latency_ps(self) -> int:
        """First sequence: first token offered to last token done."""
        return self.sequence_ps[0][1] - self.sequence_ps[0][0]

    @property
    def elapsed_ps(self) -> int:
        """Length of the run: until the last sequence is done."""
        return max(end for _, end in self.sequence_ps)

    @property
    def interval_ps(self) -> float | None:
        """Time from sequence to sequence in a full pipeline, ps; None when it was not measured.

        Exact where the stream repeats itself, else from the later half of the sequences.
        """
        if self.period is not None:
            return self.period.time_ps / self.period.items
        half = len(self.passed_ps) // 2
        if half < 1:
            return None
        return (self.passed_ps[-1] - self.passed_ps[half - 1]) / (len(self.passed_ps) - half)

    @property
    def sequences_per_s(self) -> float | None:
        """Throughput of a full pipeline; None for one sequence, which measures latency."""
        return 1e12 / self.interval_ps if self.interval_ps else None

    @property
    def operations(self) -> int:
        """Unpruned operations of one sequence: two per multiply-accumulate."""
        return 2 * self.workload.macs

    @cached_property
    def powered(self) -> energy.Powered:
        """What of the hardware is used, and how busy it is."""
        groups = [place.group for place in self.placement.places]
        timings = [GroupTiming(self.chip, group) for group in groups]
        own = own_variant(self.chip)
        needed = max((group.variant for group in groups), key=VARIANTS.index)
        crossbars = _share(self.usage, "crossbars")
        busy = dict.fromkeys(("driver", "sample_hold", "adc", "opc", "shift_add", "tile_control", "adder"), crossbars)
        return energy.Powered(
            chips=self.placement.chips,
            tiles=self.placement.tiles,
            opcs=sum(timing.opcs for timing in timings),
            variant=own if "scale" in own else needed,
            busy={**busy, "attention": _share(self.usage, "attention"), "vector": _share(self.usage, "vector")},
        )

    @cached_property
    def dynamic_energy_pj(self) -> float:
        """Energy of all actions, pJ."""
        return energy.dynamic_energy_pj(self.chip, self.actions)

    def leakage_energy_pj(self, gating: energy.Gating | None = None) -> float:
        """Leakage over the length of the run, pJ; None: gated as the chip is."""
        return sum(energy.leakage_w(self.chip, self.powered, gating).values()) * self.elapsed_ps

    @property
    def static_energy_pj(self) -> float:
        """What is drawn always, over the length of the run, pJ."""
        return energy.static_w(self.chip, self.powered) * self.elapsed_ps

    @property
    def total_energy_pj(self) -> float:
        """Dynamic energy, leakage and static energy, pJ."""
        return self.dynamic_energy_pj + self.leakage_energy_pj() + self.static_energy_pj

    @property
    def average_power_w(self) -> float:
        """Total energy over the length of the run, W."""
        return self.total_energy_pj / self.elapsed_ps

    @property
    def area_mm2(self) -> float:
        """Area of the tiles in use, with the output peripherals that the mapping needs, mm2."""
        return energy.area_mm2(self.chip, self.powered)

    def save(self, path: str | Path) -> None:
        """Write the result as JSON, without the wall time.

        Raises:
            UserError: groups were computed in it, whose integers are no part of the costs.
        """
        if self.computed:
            raise UserError(f"{path}: costs of a run with computed groups ({', '.join(self.computed)}) are not saved.")
        kept = _kept()
        save_record(path, "costs", kept(**{name: getattr(self, name) for name in _names(kept)}))

    @classmethod
    def load(cls, path: str | Path) -> SystemResult:
        """What ``save`` wrote; where the weights lie follows from chip and workload.

        Raises:
            UserError: no such file, or another kind of file.
        """
        kept = _kept()
        found: Any = load_record(kept, path, "costs")
        values = {name: getattr(found, name) for name in _names(kept)}
        placement = place(values["workload"], values["chip"])
        return cls(**values, placement=placement, computed={}, wall_seconds=0.0)


@cache
def _kept() -> type:
    """What of a result is saved, as a class of its own: all but what follows from it, and wall times."""
    hints = get_type_hints(SystemResult, localns={"Cosimulation": object}, include_extras=True)
    left_out = ("placement", "computed", "wall_seconds")
    return make_dataclass("Costs", [(name, hint) for name, hint in hints.items() if name not in left_out])


def _names(kept: type) -> list[str]:
    return [item.name for item in fields(kept)]


def _share(usage: Sequence[Usage], kind: str) -> float:
    """Mean utilisation of all units of a kind."""
    chosen = [u for u in usage if kind in u.kind]
    capacity = sum(u.servers * u.elapsed_ps for u in chosen)
    return sum(u.busy_ps for u in chosen) / capacity if capacity else 0.0
