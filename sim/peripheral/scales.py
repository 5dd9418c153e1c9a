"""Scales of an OPC's outputs: from floating-point column scales to the fixed-point numbers of its scale stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters
from crossvote.sim.common.errors import UserError


@dataclass(frozen=True, eq=False)
class OpcScales:
    """The scale multiplier / 2^(scale_bits + shift) of each output of an OPC; one entry per output.

    Attributes:
        multiplier, shift: int64[outputs]. unit: the real value of 1 in a scaled output.

    Raises:
        UserError: arrays of different length, or a negative value.
    """

    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    unit: float = 1.0

    def __post_init__(self) -> None:
        if self.multiplier.ndim != 1 or self.multiplier.shape != self.shift.shape:
            raise UserError("the scales of an OPC need a multiplier and a shift for every output.")
        for name, values in (("multiplier", self.multiplier), ("shift", self.shift)):
            if values.size and values.min() < 0:
                raise UserError(f"output {values.argmin()} has the {name} {values.min()}; it must not be negative.")

    @classmethod
    def from_floats(cls, scales: NDArray[np.floating], scale_bits: int, unit: float | None = None) -> OpcScales:
        """The fixed-point numbers nearest to ``scales`` / ``unit``.

        With s the scale of an output, m its multiplier and k its shift:
        |m / 2^(scale_bits + k) - s / unit| <= 2^-scale_bits * s / unit. The multiplier has its top bit set, so rounding
        it errs by half of 1 in at least 2^(scale_bits - 1); at s = unit it is the largest number below 1. A scaled
        output y of the sum S therefore has |y - S * s / unit| <= |S| * 2^-scale_bits * s / unit + 1/2.

        Args:
            scales: [outputs], positive. scale_bits: as in ``OpcParameters``.
            unit: what 1 in a scaled output stands for, at least the largest scale; the largest scale when None.

        Raises:
            UserError: a scale that is not a positive number, above ``unit``, or below 2^-(2^SHIFT_BITS) of it.
        """
        given = np.asarray(scales, np.float64)
        if given.ndim != 1 or not given.size:
            raise UserError(f"column scales must be one number per output, not an array of shape {given.shape}.")
        bad = np.flatnonzero(~(np.isfinite(given) & (given > 0)))
        if bad.size:
            raise UserError(f"output {bad[0]} has the scale {given[bad[0]]}; column scales must be positive numbers.")
        step = float(given.max()) if unit is None else float(unit)
        smallest = step / (1 << (1 << SHIFT_BITS))
        if not given.max() <= step < np.inf:
            raise UserError(f"the scale {given.max()} of output {given.argmax()} is above the unit {step}.")
        if given.min() < smallest:
            raise UserError(
                f"the scale {given.min()} of output {given.argmin()} is below {smallest}, the smallest that the scale "
                f"stage can hold beside a unit of {step}."
            )
        mantissa, exponent = np.frexp(given / step)
        multiplier = np.rint(np.ldexp(mantissa, scale_bits)).astype(np.int64)
        shift = -exponent.astype(np.int64)
        full = multiplier == 1 << scale_bits  # rounded up to the next power of two
        multiplier[full] >>= 1
        shift[full] -= 1
        multiplier[shift < 0] = (1 << scale_bits) - 1
        shift[shift < 0] = 0
        return cls(multiplier, shift, step)

    def __len__(self) -> int:
        return len(self.multiplier)

    def check_fits(self, parameters: OpcParameters) -> None:
        """Refuse scales that this OPC cannot hold.

        Raises:
            UserError: no scale stage, more scales than outputs, or a multiplier or shift with too many bits.
        """
        p = parameters
        if not p.scale_bits:
            raise UserError("the OPC was built with scale_bits = 0, so it has no scale stage.")
        if len(self) > p.outputs:
            raise UserError(f"{len(self)} scales were given, but the OPC has {p.outputs} outputs.")
        for name, values, bits in (
            ("multiplier", self.multiplier, p.scale_bits),
            ("shift", self.shift, SHIFT_BITS),
        ):
            if values.size and values.max() >= 1 << bits:
                raise UserError(
                    f"output {values.argmax()} has the {name} {values.max()}, which does not fit into {bits} bits."
                )
