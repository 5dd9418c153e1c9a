"""Reading a bit line that is not ideal: coarse or short ADCs, leaking cells, varying conductance, disturbed reads.

A driven cell adds its conductance, in units of one level of a cell, to its bit line; the ADC turns the sum into a code.
With the defaults a cell adds its level (a one-bit cell its bit), and a code is their sum. Source of the disturb
faults: arXiv 2401.11664, section 2.1.
"""

from __future__ import annotations

from pydantic import Field

from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.schema import config_dataclass


@config_dataclass
class ReadModel:
    """What happens between the cells and the codes. ``of_chip`` takes it from the description of the hardware."""

    adc_bits: int | None = Field(default=None, ge=1, le=16, description="resolution of the ADC; absent: the image's")
    adc_range: float | None = Field(
        default=None, gt=0, description="sum, in levels, of the last code; absent: one code per level"
    )
    on_off_ratio: float | None = Field(
        default=None, gt=1, description="low over high resistance conductance; absent: a cell at 0 does not conduct"
    )
    variation: float = Field(
        default=0.0, ge=0, le=5, description="standard deviation of the logarithm of a cell's conductance"
    )
    verified_share: float = Field(default=0.0, ge=0, le=1, description="share of used cells written with verification")
    verified_variation: float = Field(default=0.0, ge=0, le=5, description="variation of those cells")
    one_disturb: float = Field(default=0.0, ge=0, le=1, description="chance that a cell at 1 reads 0, in each read")
    zero_disturb: float = Field(default=0.0, ge=0, le=1, description="chance that a cell at 0 reads 1, in each read")
    seed: int = Field(default=0, ge=0, description="seed of variation and disturbed reads")

    @classmethod
    def of_chip(cls, chip: ChipConfig, seed: int = 0) -> ReadModel:
        """The reads of a chip; ``seed`` is that of the run, for disturbed reads."""
        return cls(
            adc_bits=chip.adc.bits,
            adc_range=chip.adc.full_scale,
            on_off_ratio=chip.cell.on_off_ratio,
            variation=chip.cell.variation,
            verified_share=chip.cell.verified_share,
            verified_variation=chip.cell.verified_variation,
            one_disturb=chip.cell.one_disturb,
            zero_disturb=chip.cell.zero_disturb,
            seed=seed,
        )

    def last_code(self, adc_bits: int) -> int:
        """The ADC's last code, for an image meant for ``adc_bits``."""
        return (1 << (self.adc_bits or adc_bits)) - 1

    def step(self, adc_bits: int) -> float:
        """Sum between two codes, in levels."""
        return 1.0 if self.adc_range is None else self.adc_range / self.last_code(adc_bits)

    @property
    def disturbed(self) -> bool:
        return self.one_disturb > 0 or self.zero_disturb > 0

    @property
    def high_resistance(self) -> float:
        """Conductance of a cell at level 0, as a share of one at its last level."""
        return 0.0 if self.on_off_ratio is None else 1.0 / self.on_off_ratio
