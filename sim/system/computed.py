"""Crossbars of the system model whose integers are computed while it runs.

They answer the same transport call as crossbars that only keep time; the clock cycles of the back end set the time.
"""

from __future__ import annotations

from dataclasses import replace

from crossvote.sim.common.errors import UserError
from crossvote.sim.kernel import Module, Transaction
from crossvote.sim.peripheral.tile_array import TileArray
from crossvote.sim.system.cosim import CosimRequest, CosimRun
from crossvote.sim.system.network import Network, Route
from crossvote.sim.system.placement import GroupPlace
from crossvote.sim.system.token_stages import Crossbars, GroupTiming, Token


class ComputedCrossbars(Crossbars):
    """``Crossbars`` that also compute; the time of the output peripheral is what the back end's cycles say.

    Tokens beyond those of the request are timed only.

    Raises:
        UserError: see ``CosimRun``; or a chip that does not time its output peripheral by the RTL.
    """

    def __init__(
        self,
        parent: Module,
        name: str,
        place: GroupPlace,
        timing: GroupTiming,
        network: Network,
        route: Route,
        resolution: str,
        request: CosimRequest,
    ) -> None:
        chip = timing.chip
        if chip.pipeline.peripheral != "rtl":
            raise UserError(
                f"chip '{chip.name}': computing group {request.image.name} needs pipeline.peripheral = 'rtl'."
            )
        self.request, self.cosim = request, CosimRun(request, chip)
        if len(self.cosim.opcs):
            one, two = self.cosim.opcs.measured_cycles()
            if isinstance(self.cosim.opcs, TileArray):
                timing = replace(timing, tile=(two - one, one))
            else:
                timing = replace(timing, measured=(two - one, one - timing.beats))
        super().__init__(parent, name, place, timing, network, route, resolution)
        self._started = 0

    def transport(self, transaction: Transaction, arrival_ps: int) -> tuple[int, int]:
        """Time as in ``Crossbars``; the vectors of a quantum are computed when its first token comes."""
        assert isinstance(transaction, Token)
        at = self._started
        if at < len(self.request.x):
            if at >= self.cosim.done:
                self.cosim.compute(min(at + self.request.quantum, len(self.request.x)))
            transaction.request = self.request.x[at : at + 1]
            transaction.response = self.cosim.result.outputs[at : at + 1]
        self._started += 1
        return super().transport(transaction, arrival_ps)
