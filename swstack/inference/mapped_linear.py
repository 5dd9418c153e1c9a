"""One matrix on crossbars in the place of its module: quantized inputs, what the chip makes of them, outputs."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crossvote.sim.array.image import MatrixImage
from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference.autograd import through_the_chip
from crossvote.swstack.mapping.config import Activations
from crossvote.swstack.mapping.quantization import activation_scale, integer_type, round_activations


class MappedLinear(nn.Module):
    """One matrix on crossbars in place of its ``nn.Linear`` or ``Conv1D``: inputs [..., K] to outputs [..., N].

    Quantizes the inputs, x_q = round(x / step), lets the subclass say which integers the chip makes of them, and
    returns step * scale * unit * integers + bias.

    Args:
        group, matrix: which outputs, scale and bias. input_bits: n_x.
        activations: how inputs are quantized. input_step: the calibrated step, for "static".
    """

    scale: torch.Tensor
    bias: torch.Tensor | None
    undriven: torch.Tensor | None

    #: Token vectors computed at once on a CPU, per thread.
    chunk = 256

    def __init__(
        self,
        matrix: MatrixImage,
        driven: NDArray[np.bool_],
        input_bits: int,
        activations: Activations,
        input_step: float | None,
        unit: float = 1.0,
    ) -> None:
        super().__init__()
        if (activations == "static") != (input_step is not None):
            raise UserError(f"matrix {matrix.name}: static activations need a calibrated step, others have none.")
        self.name = matrix.name
        self.first_output = matrix.first_output
        self.out_features, self.in_features = matrix.outputs, len(driven)
        self.input_bits = input_bits
        self.activations = activations
        self.input_step = input_step
        # Not persistent: what is programmed is in the image. A loader of the dense model's would take integers for
        # weights; without them, a state dict holds what learns around the chip, and goes into the dense model.
        for name, value in {
            "scale": torch.from_numpy(matrix.scale * np.float32(unit)),
            "bias": None if matrix.bias is None else torch.from_numpy(matrix.bias.copy()),
            "undriven": None if driven.all() else torch.from_numpy(~driven),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def extra_repr(self) -> str:
        return f"{self.name}, {self.in_features} -> {self.out_features}, activations={self.activations}"

    def integer_outputs(self, x: torch.Tensor) -> torch.Tensor:
        """y [V, N], int32 or int64, for integer inputs x [V, K] of ``input_bits`` bits: what the chip gives.

        Undriven inputs must be 0.
        """
        # float32 is exact below 2^24: sums of at most K < 2^16 values of 2 * 128 (K < 2^14 with two-bit cells)
        values = x.to(torch.float32 if self.input_bits <= 8 else torch.float64)
        y = self._sums(x.to(integer_type(self.input_bits)), values)
        return y.int() if y.is_floating_point() else y

    def _sums(self, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """``integer_outputs`` for the same integers as an integer type and as float; may be float32 and whole."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != self.in_features:
            raise UserError(f"matrix {self.name} takes {self.in_features} inputs, not {x.shape[-1]}.")
        if not x.is_floating_point():  # a model that casts to the type of a weight, as T5 does
            raise UserError(f"matrix {self.name} was handed {x.dtype}; it takes floating-point inputs.")
        outputs: torch.Tensor = through_the_chip(self, x)
        return outputs

    def effective_weight(self) -> torch.Tensor:
        """What the chip makes of single inputs, float32 [N, K]: the faulty weights, scaled; O(K^2 N)."""
        with torch.no_grad():
            single = torch.eye(self.in_features, dtype=torch.int32, device=self.scale.device)
            if self.undriven is not None:
                single = single.masked_fill(self.undriven, 0)
            return self.integer_outputs(single).float().mul_(self.scale).T

    def chip_outputs(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs [..., N] for inputs [..., K] of the chip as it is; no gradients."""
        vectors = x.reshape(-1, self.in_features).float()
        if self.undriven is not None:
            vectors = vectors.masked_fill(self.undriven, 0.0)
        y = torch.empty((len(vectors), self.out_features), dtype=torch.float32, device=x.device)
        automatic = torch.is_autocast_enabled(x.device.type)
        with torch.autocast(x.device.type, enabled=False) if automatic else nullcontext():
            tensor_step = self.tensor_step(vectors)
            chunk = self._chunk(len(vectors), x.device)
            for start in range(0, len(vectors), chunk):
                part = slice(start, start + chunk)
                self._outputs(vectors[part], tensor_step, y[part])
        return y.view(*x.shape[:-1], self.out_features).to(x.dtype)

    def tensor_step(self, vectors: torch.Tensor) -> torch.Tensor | None:
        """The step [1, 1] of all inputs, where they share one."""
        if self.activations == "static":
            return torch.full((1, 1), self.input_step, device=vectors.device)  # type: ignore[arg-type]
        if self.activations == "tensor" and len(vectors):
            return activation_scale(vectors, self.input_bits, "tensor")
        return None

    def _outputs(self, vectors: torch.Tensor, step: torch.Tensor | None, y: torch.Tensor) -> None:
        """Outputs y [V, N] for inputs [V, K] with one step, or for None with a step each."""
        if self.activations == "float":
            self._float_outputs(vectors, y)
        else:
            self._quantized_outputs(vectors, step, y)
        y.mul_(self.scale)
        if self.bias is not None:
            y.add_(self.bias)

    def _quantized_outputs(self, vectors: torch.Tensor, step: torch.Tensor | None, y: torch.Tensor) -> None:
        """Outputs before scale and bias."""
        if step is None:
            step = activation_scale(vectors, self.input_bits, "token")
        values = round_activations(vectors, step, self.input_bits)
        integers = values.to(integer_type(self.input_bits))
        torch.mul(self._sums(integers, values if self.input_bits <= 8 else values.double()), step, out=y)

    def _float_outputs(self, vectors: torch.Tensor, y: torch.Tensor) -> None:
        """Outputs for inputs that are not quantized, before scale and bias."""
        raise UserError(f"matrix {self.name}: float activations cannot be streamed bit by bit; quantize them.")

    def _chunk(self, vectors: int, device: torch.device) -> int:
        """Vectors computed at once."""
        return max(1, min(vectors, self.chunk * (torch.get_num_threads() if device.type == "cpu" else 16)))
