"""What a run needs of the support matrix: which back end does each stage, or why the run is refused."""

from __future__ import annotations

from collections.abc import Mapping

from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.extras import missing
from crossvote.sim.peripheral import Backend
from crossvote.sim.peripheral.support import ENGINES, Demand, Engine, cosim_backend, refusal
from crossvote.swstack.mapping.config import Activations
from crossvote.swstack.mapping.demand import scheme_demand
from crossvote.swstack.mapping.scheme import Scheme


def support_row(chip: ChipConfig, scheme: Scheme, planes: int) -> dict[Engine, str | None]:
    """For every back end why it does not run the scheme on the chip, or None where it does."""
    try:
        demand = scheme_demand(scheme, planes, chip.crossbar.cell_bits)
    except UserError as error:
        return dict.fromkeys(ENGINES, str(error).rstrip("."))
    except ModuleNotFoundError as error:  # the light base says of the other schemes what it can
        sentence = missing(error, "choosing its codes")
        if sentence is None:
            raise
        return dict.fromkeys(ENGINES, sentence.rstrip("."))
    return {engine: refusal(chip, demand, engine) for engine in ENGINES}


def check_run(
    chip: ChipConfig,
    schemes: Mapping[str, Scheme],
    planes: int,
    activations: Activations,
    backend: Backend,
    row_blocks: int = 1,
) -> None:
    """Refuse schemes that cannot be mapped on the chip and evaluated, or not co-simulated by the back end asked for.

    Args:
        row_blocks: of the widest matrix, where it is known already.

    Raises:
        UserError: the first of them, in one sentence.
    """
    for name, scheme in schemes.items():
        demand = _demand(name, scheme, planes, chip, row_blocks)
        reason = refusal(chip, demand, "explicit")
        exact = refusal(chip, demand, "fast")
        if reason is not None and exact is not None:
            raise UserError(f"scheme '{name}': {reason}.")
        if exact is not None and scheme.knows_faults:
            raise UserError(f"scheme '{name}' programs around known faults; {exact}, which it cannot.")
        if exact is not None and activations == "float":
            raise UserError(
                f"scheme '{name}': {exact}, and quantization.activations = 'float' cannot be streamed bit by bit."
            )
    cosim_engines(chip, schemes, planes, backend, row_blocks)


def cosim_engines(
    chip: ChipConfig, schemes: Mapping[str, Scheme], planes: int, backend: Backend, row_blocks: int = 1
) -> tuple[dict[str, Backend], dict[str, str]]:
    """Which back end co-simulates each scheme (see ``cosim_backend``), and for "auto" the schemes that none does, why.

    Raises:
        UserError: the back end asked for does not run a scheme.
    """
    chosen: dict[str, Backend] = {}
    skipped: dict[str, str] = {}
    for name, scheme in schemes.items():
        demand = _demand(name, scheme, planes, chip, row_blocks)
        try:
            chosen[name] = cosim_backend(chip, [demand], backend)
        except UserError as error:
            if backend != "auto":
                raise UserError(f"scheme '{name}': {error}") from None
            skipped[name] = str(error).rstrip(".")
    return chosen, skipped


def _demand(name: str, scheme: Scheme, planes: int, chip: ChipConfig, row_blocks: int) -> Demand:
    try:
        return scheme_demand(scheme, planes, chip.crossbar.cell_bits, row_blocks)
    except UserError as error:
        raise UserError(f"scheme '{name}': {error}") from None
