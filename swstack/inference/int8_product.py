"""Products of 8-bit integers on x86 processors that have AVX2, but no dot products of 8 bits: compiled on first use."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from crossvote.sim.common.libraries import optional_library

_FLAGS = ("-O3", "-std=c++17", "-mavx2", "-ffp-contract=off")
_SIZE, _DATA = ctypes.c_int64, ctypes.c_void_p
_WEIGHT = (_DATA, _SIZE, _DATA, _SIZE)
_SIGNATURES = {
    "pack": (_SIZE, (_DATA, _SIZE, _SIZE, _DATA, _DATA, _DATA, _DATA, _DATA)),
    "multiply": (None, (_DATA, _SIZE, _SIZE, *_WEIGHT, _DATA, _SIZE)),
    "multiply_values": (
        ctypes.c_bool,
        (_DATA, _DATA, ctypes.c_float, _SIZE, _SIZE, *_WEIGHT, _DATA, _SIZE, _DATA, _DATA, _DATA, _SIZE),
    ),
}
#: Outputs and inputs that lie together in a packed weight, as in the C++ source.
_HALF, _DEPTH = 8, 1024
#: Bytes of a register.
_REGISTER = 32
#: Most inputs of a matrix whose votes are compiled.
VOTING_INPUTS = 1 << 16


class _Packed(ctypes.Structure):
    """``Packed`` of the C++ source."""

    _fields_ = tuple((name, _DATA) for name in ("weights", "quads", "first", "start"))


class _Terms(ctypes.Structure):
    """``Terms`` of the C++ source."""

    _fields_ = (
        ("count", _SIZE),
        ("replicas", _SIZE),
        *((name, _DATA) for name in ("outputs", "weight", "offsets", "k", "columns", "value", "held")),
        ("padded", _SIZE),
        ("rows", _SIZE),
    )


@dataclass(frozen=True, eq=False)
class VotedTerms:
    """Terms of r replicas each, whose medians are added to sums: y[:, output] += weight * median(x @ errors).

    Attributes:
        replicas: r. outputs: int64[n]. weight: float32[n], powers of two.
        named: float32[m], k and offsets int64 of the errors of every replica, as in ``vote_correction.Correction``, and
            the columns that k counts, if not all.
        held: or int8[(r - 1) * padded, K], what the replicas but the first, whose errors are 0, have; and the rows of
            crossbars that vote each on their own.
    """

    replicas: int
    outputs: torch.Tensor
    weight: torch.Tensor
    named: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None] | None = None
    held: tuple[torch.Tensor, int] | None = None

    def _arguments(self) -> _Terms:
        terms = _Terms(len(self.outputs), self.replicas, self.outputs.data_ptr(), self.weight.data_ptr())
        if self.named is not None:
            value, k, offsets, columns = self.named
            terms.offsets, terms.k, terms.value = offsets.data_ptr(), k.data_ptr(), value.data_ptr()
            terms.columns = _address(columns)
        if self.held is not None:
            lines, rows = self.held
            terms.held, terms.padded, terms.rows = lines.data_ptr(), len(lines) // (self.replicas - 1), rows
        return terms


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """Weights int8[N, K], some of whose outputs are 0, ready to be multiplied.

    Attributes:
        outputs: N. inputs: K.
        weights, quads, first, start: the outputs that are multiplied, as ``pack`` of the C++ source lays them.
        places: which ones these are, int64; None for all.
    """

    outputs: int
    inputs: int
    weights: torch.Tensor
    quads: torch.Tensor
    first: torch.Tensor
    start: torch.Tensor
    places: torch.Tensor | None

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """x @ weight.T, int32[V, N], for x int8[V, K]: exact for K below 2^17. O(V K N), by torch's number of threads.

        Raises:
            ValueError: x has another type, shape or device.
        """
        self._check(x, torch.int8)
        x = x.contiguous()
        y = torch.empty((len(x), self.outputs), dtype=torch.int32)
        _loaded().multiply(x.data_ptr(), len(x), self.inputs, *self._arguments(), y.data_ptr(), _threads(len(x)))
        return y

    def outputs_of(
        self,
        x: torch.Tensor,
        step: torch.Tensor | None,
        top: int,
        scale: torch.Tensor,
        bias: torch.Tensor | None,
        y: torch.Tensor,
        voted: Sequence[VotedTerms] = (),
    ) -> None:
        """y [V, N] = step * (q @ weight.T + votes) * scale + bias with q = round(x / step), clipped to +-``top``.

        Args:
            x: float32[V, K]. step: [1, 1] or [V, 1]; None for max|x| / top of each vector, 1 where that is 0.
            scale, bias: [N] or [1]. y: float32, rows that lie one after the other. voted: what votes on q; of outputs
                that are packed.

        Raises:
            ValueError: x or y has another type, shape or device, a term belongs to an output that is not packed, or
                there are votes on more than ``VOTING_INPUTS`` inputs.
        """
        self._check(x, torch.float32)
        if y.dtype != torch.float32 or y.shape != (len(x), self.outputs) or not y.is_contiguous():
            raise ValueError(f"the outputs of {len(x)} vectors are contiguous float32[{len(x)}, {self.outputs}].")
        if voted and self.inputs > VOTING_INPUTS:
            raise ValueError(f"votes are compiled for up to {VOTING_INPUTS} inputs, not {self.inputs}.")
        steps = None if step is None else step.float().expand(len(x), 1).contiguous()
        x, scale = x.contiguous(), scale.expand(self.outputs).contiguous()
        bias = None if bias is None else bias.expand(self.outputs).contiguous()
        terms = (_Terms * len(voted))(*(own._arguments() for own in voted))
        done = _loaded().multiply_values(
            x.data_ptr(),
            _address(steps),
            top,
            len(x),
            self.inputs,
            *self._arguments(),
            ctypes.addressof(terms),
            len(terms),
            scale.data_ptr(),
            _address(bias),
            y.data_ptr(),
            _threads(len(x)),
        )
        if not done:
            raise ValueError("a term that votes belongs to an output that is not packed.")

    def trimmed(self) -> PackedWeight:
        """The same in no more memory than it needs."""
        return replace(self, weights=self.weights.clone(), quads=self.quads.clone())

    def _check(self, x: torch.Tensor, dtype: torch.dtype) -> None:
        if x.dtype != dtype or x.device.type != "cpu" or x.ndim != 2 or x.shape[1] != self.inputs:
            raise ValueError(f"takes {dtype}[V, {self.inputs}] on the CPU, not {x.dtype}{list(x.shape)}.")

    def _arguments(self) -> tuple[Any, int, int | None, int]:
        """How a weight is handed over."""
        count = self.outputs if self.places is None else len(self.places)
        own = _Packed(*(part.data_ptr() for part in (self.weights, self.quads, self.first, self.start)))
        return ctypes.byref(own), count, _address(self.places), self.outputs


def packed(weight: torch.Tensor, places: torch.Tensor | None = None) -> PackedWeight | None:
    """Weights int8[N, K] of the CPU, of which only the outputs at ``places`` (int64, ascending, all if None) are taken
    for other than 0; None where the machine does without. O(N K).
    """
    library = _library()
    if library is None:
        return None
    weight, places = weight.contiguous(), None if places is None else places.contiguous()
    outputs, inputs = weight.shape
    count = outputs if places is None else len(places)
    halves, parts = -(-count // _HALF), -(-inputs // _DEPTH)
    most = 2 * halves * -(-inputs // 4) + _REGISTER  # memory that is not written to is not taken
    weights = torch.empty(most * _REGISTER, dtype=torch.int8)
    quads = torch.empty(most, dtype=torch.int16)
    first = torch.empty(halves * parts + 1, dtype=torch.int64)
    start = torch.empty(halves * _HALF, dtype=torch.int32)
    written = (part.data_ptr() for part in (weights, quads, first, start))
    registers = library.pack(weight.data_ptr(), count, inputs, _address(places), *written)
    return PackedWeight(outputs, inputs, weights[: registers * _REGISTER], quads[:registers], first, start, places)


def compiles() -> bool:
    """Whether the machine has this product."""
    return _library() is not None


def _address(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _threads(vectors: int) -> int:
    """Threads for so many vectors: none that has fewer than 64."""
    return max(1, min(torch.get_num_threads(), vectors // 64))


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled product; None where the processor lacks AVX2, or no compiler makes it."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.cpu.get_capabilities().get("avx2"):
        return None
    otherwise = "Products of 8 bits are computed in float32, which is slower"
    return optional_library(Path(__file__).with_suffix(".cpp"), _FLAGS, _SIGNATURES, otherwise)


def _loaded() -> ctypes.CDLL:
    library = _library()
    assert library is not None, "what is packed was packed by it"
    return library
