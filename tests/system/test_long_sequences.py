"""Sequences of thousands of tokens: places for K and V, what their refusal advises, and what grows with the length."""

from __future__ import annotations

import re

import pytest

from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.system.attention import kv_places
from crossvote.sim.system.dimensions import Dimensions, bert_workload
from crossvote.sim.system.model import simulate
from crossvote.sim.system.placement import place

#: One layer of BERT-base: what a long sequence asks of a tile does not depend on the number of layers.
LAYER = Dimensions(layers=1, hidden=768, intermediate=3072, heads=12)


def test_a_refused_length_says_the_buffer_that_holds_it():
    """The advice is enough, and a byte per token and tile less is not."""
    chip = load_chip("crossvote")
    with pytest.raises(UserError, match=r"hold Q, K and V of \d+ tokens, but a sequence has 4096") as caught:
        simulate(bert_workload(LAYER, chip, 4096), chip)
    advised = int(re.findall(r"tile.buffer_bytes = (\d+)", str(caught.value))[0])
    enough = load_chip("crossvote", {"tile": {"buffer_bytes": advised}})
    work = bert_workload(LAYER, enough, 4096)
    placed = place(work, enough)
    assert kv_places(placed.layer_tiles[0], work.layers[0], enough) == 4096
    short = load_chip("crossvote", {"tile": {"buffer_bytes": advised - 64}})
    with pytest.raises(UserError, match="4095 tokens"):
        simulate(bert_workload(LAYER, short, 4096), short, resolution="analytic")


def test_four_thousand_tokens_are_simulated():
    """Events grow with the length, attention's work with its square, and the estimate stays with the simulation."""
    chip = load_chip("crossvote", {"tile": {"buffer_bytes": 290_375}})
    runs = {}
    for tokens in (1024, 4096):
        work = bert_workload(LAYER, chip, tokens)
        runs[tokens] = simulate(work, chip, resolution="matrix")
        quick = simulate(work, chip, resolution="analytic")
        assert quick.latency_ps == pytest.approx(runs[tokens].latency_ps, rel=0.01)
        assert runs[tokens].statistics["layer0.qk.stage.queue"]["peak"].value == tokens
    short, long = runs[1024], runs[4096]
    assert long.events / short.events == pytest.approx(4, rel=0.05)
    macs = {t: runs[t].actions["layer0.qk"]["mac"] for t in runs}
    assert macs[4096] == 16 * macs[1024]
    busiest = max(long.usage, key=lambda unit: unit.utilisation)
    assert busiest.kind == "attention unit"
