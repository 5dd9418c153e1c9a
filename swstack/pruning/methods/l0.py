"""L0 regularization with hard-concrete gates (Louizos et al. 2018), steered to a share by the controller."""

from __future__ import annotations

import math

import torch

from crossvote.swstack.pruning.method import Controller, GradientScale, PruningMethod, Setup
from crossvote.swstack.pruning.methods import METHODS

# Constants of the paper: temperature beta, stretch limits gamma and zeta.
_BETA, _GAMMA, _ZETA = 2 / 3, -0.1, 1.1
#: First log alpha: a gate is open with probability 0.97.
_START = 2.0


@METHODS.register("l0")
class HardConcrete(PruningMethod):
    """Every row or column is multiplied by a random z in [0, 1] whose distribution is learned.

    At the freeze the entries with the highest log alpha are kept with factor 1.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._log_alpha = {
            stack.name: torch.full((len(stack.axes), stack.size), _START, device=setup.device, requires_grad=True)
            for stack in self.stacks
        }
        self._optimizer = torch.optim.SGD(self._log_alpha.values(), lr=setup.config.gate_learning_rate)
        self._scale = GradientScale(setup)
        self._controller = Controller(setup)

    def factors(self, ramp: float) -> dict[str, torch.Tensor]:
        """One draw of z per row or column (equation 10)."""
        result = {}
        for name, log_alpha in self._log_alpha.items():
            uniform = torch.rand_like(log_alpha).clamp(1e-6, 1 - 1e-6)
            noise = uniform.log() - (1 - uniform).log()
            stretched = torch.sigmoid((noise + log_alpha) / _BETA) * (_ZETA - _GAMMA) + _GAMMA
            result[name] = stretched.clamp(0.0, 1.0)
        return result

    def update(self, ramp: float) -> None:
        """One SGD step; the expected pruned share (equation 12) is what the controller steers."""
        for stack in self.stacks:
            log_alpha = self._log_alpha[stack.name]
            assert log_alpha.grad is not None
            nonzero = torch.sigmoid(log_alpha.detach() - _BETA * math.log(-_GAMMA / _ZETA))
            pressure = self._controller.pressure(stack, 1.0 - nonzero.mean(dim=1), ramp)
            scaled = self._scale.scale(stack, log_alpha.grad)
            log_alpha.grad = scaled - pressure[:, None] * nonzero * (1 - nonzero)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def scores(self) -> dict[str, torch.Tensor]:
        """log alpha."""
        return {name: value.detach() for name, value in self._log_alpha.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """log alpha, multipliers and running means."""
        values = {f"log_alpha.{name}": value for name, value in self._log_alpha.items()}
        return {**values, **self._controller.tensors(), **self._scale.tensors()}
