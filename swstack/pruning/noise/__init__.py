"""What is done to the weights while a model is trained for faults: a kind is one file here, a configuration class.

The kind ``code`` draws the errors of the protection scheme's own law; the others are published ways to train for faults
and variation, to be compared with it. In a configuration a kind is a name (``noise = "code"``) or a table with its
settings (``noise = {kind = "censored", cut = 2.0}``). Reading a configuration loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from crossvote.sim.common.registry import KIND_SCHEMA, Registry, kind_mapping, parse_kind
from crossvote.sim.common.schema import config_dataclass

if TYPE_CHECKING:
    import torch

    from crossvote.swstack.pruning.code_law import MatrixLaw


@config_dataclass
class Noise:
    """What all kinds have."""

    kind: ClassVar[str]

    def perturbed(self, law: MatrixLaw, weight: torch.Tensor, rate: float, generator: torch.Generator) -> torch.Tensor:
        """The weights [N, K] of a matrix as a forward pass at the fault rate ``rate`` sees them, differentiable."""
        raise NotImplementedError

    def penalty(self, law: MatrixLaw, weight: torch.Tensor, rate: float) -> torch.Tensor | None:
        """What the matrix adds to the loss, a scalar; None: nothing."""
        return None


NOISES: Registry[type[Noise]] = Registry("noise", __name__, lazy=True)


def parse_noise(value: Any) -> Noise:
    """The kind meant by a name, or by a table of settings with its name under ``kind``.

    Raises:
        UserError: neither, an unknown kind, or an unknown or impossible setting.
    """
    return parse_kind(NOISES, value)


#: A kind as a field of a configuration class.
NoiseField = Annotated[Any, PlainValidator(parse_noise), PlainSerializer(kind_mapping), WithJsonSchema(KIND_SCHEMA)]
