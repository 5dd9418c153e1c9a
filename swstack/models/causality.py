"""Whether a model that is asked for the next token really reads from left to right."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.accounting import tiny_inputs
from crossvote.swstack.models.layouts import family_name

#: Share of the largest output below which a difference is one of rounding.
_ROUNDING = 1e-4


def check_reads_left_to_right(model: PreTrainedModel) -> None:
    """Refuse a model whose answer at a token depends on later ones, for it would be told what it is asked for.

    Raises:
        UserError: the model looks ahead.
    """
    inputs = tiny_inputs(model)
    if inputs is None or "input_ids" not in inputs:
        return
    ids = inputs["input_ids"]
    changed = ids.clone()
    changed[:, -1] = ids[:, 0] if bool((ids[:, -1] != ids[:, 0]).all()) else (ids[:, 0] + 1) % model.config.vocab_size
    training = model.training
    model.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        usual, other = (model(**{**inputs, "input_ids": own}).logits[:, :-1] for own in (ids, changed))
    model.train(training)
    if float((usual - other).abs().max()) > _ROUNDING * float(usual.abs().max()):
        raise UserError(
            f"a model of the family '{family_name(model)}' reads later tokens too, so it would see the one it is asked "
            "for; take task.kind = 'masked-lm', or set is_decoder = true in its config.json and fine-tune it."
        )
