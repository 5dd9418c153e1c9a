"""Products of 8-bit integers on x86 processors that have AVX2, but no dot products of 8 bits: compiled on first use."""

from __future__ import annotations

import ctypes
import platform
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from crossvote.sim.common.errors import Notice, UserError
from crossvote.sim.common.libraries import compiled_library, find_compiler, load_library

_FLAGS = ("-O3", "-std=c++17", "-mavx2", "-ffp-contract=off")
_SIZE, _DATA = ctypes.c_int64, ctypes.c_void_p
_WEIGHT = (_DATA, _SIZE, _DATA, _SIZE)
_SIGNATURES = {
    "pack": (None, (_DATA, _SIZE, _SIZE, _DATA, _DATA)),
    "multiply": (None, (_DATA, _SIZE, _SIZE, *_WEIGHT, _DATA, _SIZE)),
    "multiply_values": (
        None,
        (_DATA, _DATA, ctypes.c_float, _SIZE, _SIZE, *_WEIGHT, _DATA, _DATA, _DATA, _SIZE),
    ),
}
#: Outputs that lie side by side in a packed weight.
_PANEL = 16


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """Weights int8[N, K], some of whose outputs are 0, ready to be multiplied.

    Attributes:
        outputs: N. inputs: K. panels: int16[panels, pairs of inputs, 16, 2], the outputs that are multiplied.
        places: which ones these are, int64; None for all.
    """

    outputs: int
    inputs: int
    panels: torch.Tensor
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
    ) -> None:
        """y [V, N] = step * (q @ weight.T) * scale + bias with q = round(x / step), clipped to +-``top``, in float32.

        Args:
            x: [V, K]. step: [1, 1] or [V, 1]; None for max|x| / top of each vector, 1 where that is 0.
            scale, bias: [N] or [1]. y: rows that lie one after the other.

        Raises:
            ValueError: x or y has another type, shape or device.
        """
        self._check(x, torch.float32)
        if y.dtype != torch.float32 or y.shape != (len(x), self.outputs) or not y.is_contiguous():
            raise ValueError(f"the outputs of {len(x)} vectors are contiguous float32[{len(x)}, {self.outputs}].")
        steps = None if step is None else step.float().expand(len(x), 1).contiguous()
        x, scale = x.contiguous(), scale.expand(self.outputs).contiguous()
        bias = None if bias is None else bias.expand(self.outputs).contiguous()
        _loaded().multiply_values(
            x.data_ptr(),
            _address(steps),
            top,
            len(x),
            self.inputs,
            *self._arguments(),
            scale.data_ptr(),
            _address(bias),
            y.data_ptr(),
            _threads(len(x)),
        )

    def _check(self, x: torch.Tensor, dtype: torch.dtype) -> None:
        if x.dtype != dtype or x.device.type != "cpu" or x.ndim != 2 or x.shape[1] != self.inputs:
            raise ValueError(f"takes {dtype}[V, {self.inputs}] on the CPU, not {x.dtype}{list(x.shape)}.")

    def _arguments(self) -> tuple[int, int, int | None, int]:
        """How a weight is handed over."""
        count = self.outputs if self.places is None else len(self.places)
        return self.panels.data_ptr(), count, _address(self.places), self.outputs


def packed(weight: torch.Tensor, places: torch.Tensor | None = None) -> PackedWeight | None:
    """Weights int8[N, K] of the CPU, of which only the outputs at ``places`` (int64, all if None) are taken for other
    than 0; None where the machine does without. O(N K).
    """
    library = _library()
    if library is None:
        return None
    weight, places = weight.contiguous(), None if places is None else places.contiguous()
    outputs, inputs = weight.shape
    count = outputs if places is None else len(places)
    panels = torch.empty((-(-count // _PANEL), -(-inputs // 2), _PANEL, 2), dtype=torch.int16)
    library.pack(weight.data_ptr(), count, inputs, _address(places), panels.data_ptr())
    return PackedWeight(outputs, inputs, panels, places)


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
    try:
        if find_compiler() is None:
            return None
        return load_library(compiled_library(Path(__file__).with_suffix(".cpp"), _FLAGS), _SIGNATURES)
    except (UserError, OSError) as error:
        warnings.warn(f"Products of 8 bits are computed in float32, which is slower: {error}", Notice, stacklevel=2)
        return None


def _loaded() -> ctypes.CDLL:
    library = _library()
    assert library is not None, "what is packed was packed by it"
    return library
