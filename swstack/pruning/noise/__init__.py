"""What is done to the weights while a model is trained for faults: a kind is one file here, a configuration class.

The kind ``code`` draws the errors of the protection scheme's own law; the others are published ways to train for faults
and variation, to be compared with it. In a configuration a kind is a name (``noise = "code"``) or a table with its
settings (``noise = {kind = "censored", cut = 2.0}``). Reading a configuration loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import PlainSerializer, PlainValidator

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.registry import Registry
from crossvote.sim.common.schema import build, config_dataclass, to_mapping

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


NOISES: Registry[type[Noise]] = Registry("noise", __name__)


def parse_noise(value: Any) -> Noise:
    """The kind meant by a name, or by a table of settings with its name under ``kind``.

    Raises:
        UserError: neither, an unknown kind, or an unknown or impossible setting.
    """
    if isinstance(value, Noise):
        return value
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise UserError(f"a noise is a name ({', '.join(NOISES.names())}) or a table with its kind and settings.")
    settings = {key: setting for key, setting in value.items() if key != "kind"}
    return build(NOISES[value["kind"]], settings, f"noise '{value['kind']}'")


def noise_mapping(noise: Noise) -> dict[str, Any]:
    """The kind as plain values, which ``parse_noise`` turns back."""
    return {"kind": noise.kind, **to_mapping(noise)}


#: A kind as a field of a configuration class.
NoiseField = Annotated[Any, PlainValidator(parse_noise), PlainSerializer(noise_mapping)]
