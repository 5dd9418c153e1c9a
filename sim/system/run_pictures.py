"""Pictures of a run as SVG text: deterministic, colour-blind safe (Okabe and Ito's palette)."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence, Set
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from crossvote.sim.common.plot_style import PALETTE, STYLE, filling
from crossvote.sim.system import energy
from crossvote.sim.system.placement import Placement
from crossvote.sim.system.result import SystemResult, Usage
from crossvote.sim.system.workload import HEAD

#: Smaller than the report's pictures, with letters as text.
_STYLE: Any = {**STYLE, "svg.fonttype": "none", "font.size": 8, "legend.fontsize": 7}


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return text.getvalue()


def utilisation_bars(usage: Sequence[Usage], title: str, most: int = 24) -> str:
    """Busy share of the busiest unit of every kind and role, longest bar first, with the 100 % line."""
    with mpl.rc_context(_STYLE):
        best: dict[str, Usage] = {}
        for unit in usage:
            parts = unit.unit.split(".")
            key = ".".join(parts[1:]) if parts[0].startswith("layer") else unit.unit
            if key not in best or unit.utilisation > best[key].utilisation:
                best[key] = unit
        shown = sorted(best.values(), key=lambda u: (-u.utilisation, u.unit))[:most]
        figure = Figure(figsize=(6.4, 0.6 + 0.2 * len(shown)))
        axes = figure.add_subplot()
        at = np.arange(len(shown))
        kinds = sorted({u.kind for u in shown})
        colours = {kind: PALETTE[i % len(PALETTE)] for i, kind in enumerate(kinds)}
        axes.barh(at, [100 * u.utilisation for u in shown], color=[colours[u.kind] for u in shown])
        for y, unit in zip(at, shown, strict=True):
            axes.text(100 * unit.utilisation + 1, float(y), f"{unit.utilisation:.1%}", va="center", fontsize=7)
        axes.set_yticks(at, [u.unit for u in shown])
        axes.invert_yaxis()
        axes.axvline(100, color="black", linewidth=0.8)
        axes.set_xlim(0, 108)
        axes.set_xlabel("busy share, %")
        axes.set_title(f"utilisation, busiest unit of each kind: {title}")
        handles = [mpl.patches.Patch(color=colour, label=kind) for kind, colour in colours.items()]
        axes.legend(handles=handles, fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
        return _svg(figure)


def _label(name: str, width: int = 22) -> str:
    return "\n".join(textwrap.wrap(name, width))


def _stack(axes: Any, names: Sequence[str], values: Mapping[str, Sequence[float]]) -> None:
    """Stacked bars, one per name; ``values`` holds a number per name for every part, drawn from the bottom up."""
    bottom = np.zeros(len(names))
    for number, (part, heights) in enumerate(values.items()):
        axes.bar(range(len(names)), heights, bottom=bottom, label=part, **filling(number))
        bottom += np.asarray(heights)
    for at, total in enumerate(bottom):
        axes.text(at, total, f"{total:,.4g}", ha="center", va="bottom", fontsize=7)
    axes.set_xticks(range(len(names)), [_label(name) for name in names], fontsize=7)


def energy_bars(results: Mapping[str, SystemResult]) -> str:
    """Energy per sequence of all results side by side: dynamic by part of the chip, then all of it."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(max(6.4, 1.6 * len(results)), 6.4))
        top, below = figure.add_subplot(2, 1, 1), figure.add_subplot(2, 1, 2)
        per = {name: 1e6 * len(result.sequence_ps) for name, result in results.items()}
        dynamic = {n: energy.energy_by_part_pj(r.chip, r.actions) for n, r in results.items()}
        parts = sorted({part for found in dynamic.values() for part in found if found[part]})
        _stack(top, list(results), {p: [dynamic[n].get(p, 0.0) / per[n] for n in results] for p in parts})
        top.set_ylabel("dynamic energy, uJ")
        top.set_title("energy of one sequence alone")
        kinds = {
            "dynamic": [r.dynamic_energy_pj / per[n] for n, r in results.items()],
            "leakage": [r.leakage_energy_pj() / per[n] for n, r in results.items()],
            "static": [r.static_energy_pj / per[n] for n, r in results.items()],
        }
        _stack(below, list(results), kinds)
        below.set_ylabel("total energy, uJ")
        for axes in (top, below):
            axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
        figure.subplots_adjust(hspace=0.45)
        return _svg(figure)


def energy_by_stage(results: Mapping[str, SystemResult]) -> str:
    """Dynamic energy per sequence of all results side by side, by stage of the pipeline, all layers together."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(max(6.4, 1.6 * len(results)), 3.4))
        axes = figure.add_subplot()
        found: dict[str, dict[str, float]] = {}
        for name, result in results.items():
            for scope, actions in energy.action_energy_pj(result.chip, result.actions).items():
                stage = found.setdefault(scope.rpartition(".")[2], {})
                stage[name] = stage.get(name, 0.0) + sum(actions.values()) / len(result.sequence_ps) / 1e6
        _stack(axes, list(results), {stage: [own.get(n, 0.0) for n in results] for stage, own in found.items()})
        axes.set_ylabel("dynamic energy per sequence, uJ")
        axes.set_title("by stage of the pipeline, all layers")
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
        return _svg(figure)


_LETTERS = {"qkv": "A", "o": "O", "ffn1": "1", "ffn2": "2", HEAD: "H"}


_MEANINGS = {
    "A": "Q, K and V",
    "O": "output",
    "1": "feed-forward, up",
    "2": "feed-forward, down",
    "K": "keys and values, written",
    "H": "head",
    "E": "token embeddings",
}


def _key(letters: Set[str], votes: bool) -> str:
    """What the letters on the tiles mean, and the dot."""
    found = [f"{letter}: {meaning}" for letter, meaning in _MEANINGS.items() if letter in letters]
    return "; ".join([*found, *(["dot: replicas vote"] if votes else [])])


def _roles(placement: Placement) -> tuple[dict[int, str], set[int]]:
    """The letter of every tile in use (its most frequent role), and the tiles of groups with votes."""
    held: dict[int, dict[str, int]] = {}
    voting: set[int] = set()
    roles = [(role, place) for groups in placement.groups for role, place in groups.items()]
    for role, place in [*roles, *((HEAD, place) for place in placement.head)]:
        tiles, blocks = np.unique(place.block_tile, return_counts=True)
        for tile, count in zip(tiles.tolist(), blocks.tolist(), strict=True):
            held.setdefault(tile, {})[_LETTERS[role]] = count
        if place.group.votes:
            voting.update(tiles.tolist())
    return {tile: max(found, key=lambda letter: found[letter]) for tile, found in held.items()}, voting


def _copies(placement: Placement) -> dict[int, list[float]]:
    """For every block of every tile in use, in its order: share of its bit lines that hold copies."""
    found: dict[int, list[float]] = {}
    columns = placement.chip.crossbar.columns
    for place in placement.places:
        shares = np.repeat(place.group.copies / columns, place.group.row_blocks).tolist()
        for tile, share in zip(place.block_tile.tolist(), shares, strict=True):
            found.setdefault(tile, []).append(share)
    return found


def _tile(colour: NDArray[np.float64], copies: Sequence[float], used: int, capacity: int) -> NDArray[np.float64]:
    """A tile as a square of blocks: grey ones are free, the darker the more of the bit lines hold copies."""
    side = int(np.ceil(np.sqrt(capacity)))
    picture = np.full((side * side, 3), 1.0)
    picture[:capacity] = 0.88
    share = np.zeros(used)
    share[: len(copies)] = copies
    picture[:used] = 1 - (0.35 + 0.65 * share[:, None]) * (1 - colour)
    return picture.reshape(side, side, 3)


def occupancy(placement: Placement) -> str:
    """Tiles of every chip in their places on the mesh, and in each tile its crossbars (or pairs of them).

    Colour is the layer; free crossbars are grey; the darker a crossbar, the more of its bit lines hold replicas or
    other copies. A letter says which matrices a tile holds most of: A for Q, K and V, O, 1 and 2 for the feed-forward
    ones, H for the head and E for the token embeddings, which have the colours after the last layer's. A dot: it holds
    outputs whose replicas vote.
    """
    with mpl.rc_context(_STYLE):
        chip = placement.chip
        per_router = chip.network.tiles_per_router
        routers = -(-chip.package.tiles // per_router)
        width = int(np.ceil(np.sqrt(routers)))
        side = int(np.ceil(np.sqrt(per_router)))
        capacity = chip.crossbars_per_tile // chip.signs
        letters, voting = _roles(placement)
        layer_of = {tile: i for i, tiles in enumerate(placement.layer_tiles) for tile in tiles}
        layer_of.update((tile, len(placement.layer_tiles)) for place in placement.head for tile in place.tiles.tolist())
        table = range(placement.tiles - placement.table_tiles, placement.tiles)
        layer_of.update(dict.fromkeys(table, len(placement.layer_tiles) + 1))
        letters.update(dict.fromkeys(table, "E"))
        copies = _copies(placement)
        columns = min(3, placement.chips)
        rows = -(-placement.chips // columns)
        figure = Figure(figsize=(2.6 * columns, 2.6 * rows))
        pixels = int(np.ceil(np.sqrt(capacity))) + 1
        for number in range(placement.chips):
            axes = figure.add_subplot(rows, columns, number + 1)
            picture = np.ones((pixels * side * -(-routers // width), pixels * side * width, 3))
            for local in range(chip.package.tiles):
                tile = number * chip.package.tiles + local
                router, inside = divmod(local, per_router)
                y = pixels * (side * (router // width) + inside // side)
                x = pixels * (side * (router % width) + inside % side)
                used = int(placement.blocks_used[tile]) if tile in layer_of else 0
                colour = np.array(mpl.colors.to_rgb(PALETTE[layer_of.get(tile, 0) % len(PALETTE)]))
                drawn = _tile(colour, copies.get(tile, ()), used, capacity)
                picture[y : y + pixels - 1, x : x + pixels - 1] = drawn
                if tile in layer_of:
                    mark = letters.get(tile, "K") + ("." if tile in voting else "")
                    middle = pixels / 2 - 1
                    axes.text(x + middle, y + middle, mark, ha="center", va="center", fontsize=4, in_layout=False)
            axes.imshow(picture, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            in_use = int(np.clip(placement.tiles - number * chip.package.tiles, 0, chip.package.tiles))
            axes.set_title(f"chip {number}: {in_use} of {chip.package.tiles} tiles")
        layers = len(placement.layer_tiles)
        handles = [
            mpl.patches.Patch(color=PALETTE[i], label="layer " + ", ".join(map(str, range(i, layers, len(PALETTE)))))
            for i in range(min(layers, len(PALETTE)))
        ]
        figure.legend(handles=handles, fontsize=7, loc="center left", bbox_to_anchor=(0.93, 0.5))
        shares = [share for found in copies.values() for share in found]
        figure.suptitle(
            f"{sum(share > 0 for share in shares)} of {len(shares)} crossbar blocks hold copies; darker: more of them\n"
            + _key({letters.get(tile, "K") for tile in layer_of}, bool(voting)),
            fontsize=8,
            y=0.04,
        )
        return _svg(figure)
