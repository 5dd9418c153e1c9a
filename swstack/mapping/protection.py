"""The protection schemes that have a name of their own."""

from __future__ import annotations

from crossvote.sim.common.errors import UserError
from crossvote.swstack.mapping.scheme import Scheme
from crossvote.swstack.mapping.schemes.closest import Closest
from crossvote.swstack.mapping.schemes.fixed import Fixed
from crossvote.swstack.mapping.schemes.optimal import Optimal
from crossvote.swstack.mapping.schemes.permuted import Permuted
from crossvote.swstack.mapping.schemes.placed import Placed
from crossvote.swstack.mapping.schemes.replicas import Replicas
from crossvote.swstack.mapping.schemes.turned import Turned

PRESETS: dict[str, Scheme] = {
    "none": Replicas(),
    "none-column": Replicas(scale="column"),
    "paper": Replicas(flip="msb", replicas={"msb": 3}, vote="output"),
    "best": Replicas(flip="all", replicas={"msb": 3}, vote="crossbar", scale="column", placement="packed"),
    # The paper's stages alone and together, one scale per column.
    "flip-msb": Replicas(flip="msb", scale="column"),
    "flip-all": Replicas(flip="all", scale="column"),
    "vote-msb": Replicas(replicas={"msb": 3}, vote="output", scale="column"),
    "paper-column": Replicas(flip="msb", replicas={"msb": 3}, vote="output", scale="column"),
    "paper-crossbar": Replicas(flip="msb", replicas={"msb": 3}, vote="crossbar", scale="column"),
    "paper-alone": Replicas(flip="msb", replicas={"msb": 3}, vote="alone", scale="column"),
    # Copies that are not embedded into the bit lines of pruned outputs: their true overhead.
    "msb-beside": Replicas(replicas={"msb": 3}, vote="output", scale="column", placement="beside"),
    "triplicated": Replicas(replicas={"all": 3}, vote="output", scale="column", placement="beside"),
    # Codes of the top planes, copies summed or voted on.
    "mean5": Fixed(lines=(4, 3, 1, 1, 1), scale="column", placement="free"),
    "mean4": Fixed(lines=(5, 3, 1, 1), scale="column", placement="free"),
    "vote5": Fixed(lines=(3, 3, 2, 1, 1), voted=(0, 1), scale="column", placement="free"),
    # Codes by optimisation, summed copies only: nothing votes.
    "code": Optimal(),
    "code-group": Optimal(per="group"),
    "code-apart": Optimal(placement="apart"),
    "code-tensor": Optimal(scale="tensor"),
    "code-vote": Optimal(votes=True),
    # One step for a whole matrix leaves most weights few of them: no plane can be given up, and only small rates are
    # stood, at which votes are far stronger than sums.
    "code-vote-tensor": Optimal(scale="tensor", design_rate=0.001, votes=True),
    # The fault map is known, and cells are programmed around it: to be compared with each other only.
    "closest": Closest(scale="column", flip="none"),
    "closest5": Closest(lines=(4, 3, 1, 1, 1), scale="column", flip="none", placement="free"),
    "turned": Turned(scale="column", flip="none"),
    "permuted": Permuted(scale="column", flip="none"),
    "placed": Placed(scale="column", flip="none"),
    "placed7": Placed(lines=(3, 2, 1, 1, 1, 1, 1), scale="column", flip="none", placement="free"),
}


def preset(name: str) -> Scheme:
    """The named scheme.

    Raises:
        UserError: there is no such preset.
    """
    if name not in PRESETS:
        raise UserError(f"unknown protection preset '{name}'; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
