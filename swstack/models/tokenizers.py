"""The tokenizer of a model: whether it has words at all, and making it agree with what the model can take."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError

_log = logging.getLogger(__name__)

#: Attribute of a fitted tokenizer: rows of the model's table of token embeddings.
ROWS = "crossvote_embedding_rows"
_NO_LIMIT = 1 << 30
#: Tokenizers of no family.
_GENERAL = ("TokenizersBackend", "PreTrainedTokenizerFast")
#: No vocabulary holds it whole.
_ANY_WORD = "\u2603qzx\u00f8"


class PictureInputs:
    """Stands in the place of a tokenizer for a model that takes pixels; says which size they must have."""

    model_max_length = _NO_LIMIT

    def __init__(self, channels: int, height: int, width: int) -> None:
        self.channels, self.height, self.width = channels, height, width
        self.all_special_ids: list[int] = []

    @classmethod
    def of(cls, model: PreTrainedModel) -> PictureInputs:
        """What ``model`` takes."""
        size: Any = model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return cls(int(model.config.num_channels), int(height), int(width))

    def save_pretrained(self, directory: str) -> None:
        """Nothing to save: the model's configuration says it all."""


def check_words(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Refuse a tokenizer that knows its special tokens only, which transformers makes where files are missing."""
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        files = ", ".join(sorted(set(tokenizer.vocab_files_names.values())))
        where = f"{source}: " if Path(source).is_dir() else f"model {source!r}: "
        raise UserError(f"{where}has no tokenizer files ({files} or tokenizer.json), so every word would be unknown.")


def say_how_words_are_read(tokenizer: PreTrainedTokenizerBase, words: Path) -> None:
    """Say that nothing but general rules says how a file of SentencePiece is to be read, which cut some words in
    another way than the model's own tokenizer.
    """
    if type(tokenizer).__name__ in _GENERAL:
        _log.warning(
            "%s: no 'tokenizer_class' says how the words of %s are read (tokenizer_config.json of a tokenizer that was "
            "saved whole has it), so some may be cut in another way than in the model's training.",
            words.parent, words.name,
        )  # fmt: skip


def check_unknown(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Refuse a tokenizer that has no token for what it does not know, and fails at the first such word."""
    try:
        tokenizer(_ANY_WORD)
    except Exception as error:  # of the library in Rust, which has a kind of its own
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{source}: the tokenizer fails at a word it does not know ({reason}).") from None


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Make ``tokenizer`` give only what ``model`` takes, in place, and settle their padding token.

    Inputs that the model's forward pass does not know are left out, token types of a model that has one type only as
    well; inputs are no longer than the model has positions; the padding token lies within the embeddings (where the
    attention mask hides it, any token will do).

    Raises:
        UserError: inputs are so short that no word has room in them.
    """
    accepted = inspect.signature(model.forward).parameters
    types = int(getattr(model.config, "type_vocab_size", None) or 0)
    tokenizer.model_input_names = [
        name for name in tokenizer.model_input_names if name in accepted and (name != "token_type_ids" or types > 1)
    ]
    limit, own = longest_input(model), tokenizer.model_max_length
    # What some saved tokenizers say instead of nothing: no number, or none that a length could be.
    if not isinstance(own, int | float) or own is True or not 1 <= own < _NO_LIMIT:
        own = tokenizer.model_max_length = _NO_LIMIT
    if limit is not None:
        tokenizer.model_max_length = min(int(own), limit)
    marks = int(tokenizer.num_special_tokens_to_add())
    if tokenizer.model_max_length <= marks:
        raise UserError(
            f"{model.name_or_path}: inputs may be no longer than {tokenizer.model_max_length} tokens by the tokenizer "
            f"(model_max_length) or the model's positions, of which marks take {marks}, so there is no room for a word."
        )
    table = model.get_input_embeddings()
    if isinstance(table, nn.Embedding):
        setattr(tokenizer, ROWS, table.num_embeddings)
    padding = _padding_token(tokenizer, model)
    if tokenizer.pad_token_id != padding:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding)
    model.config.pad_token_id = padding


def longest_input(model: nn.Module) -> int | None:
    """Most tokens the model has positions for; None where positions are relative and unbounded.

    RoBERTa and its kin count positions from the padding index + 1 on, so that a table of 514 serves 512 tokens.
    """
    config: Any = model.config
    limit = getattr(config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            limit = module.num_embeddings - module.padding_idx - 1
    return int(limit) if isinstance(limit, int) and limit > 0 else None


def _padding_token(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
    table = model.get_input_embeddings()
    rows = table.num_embeddings if isinstance(table, nn.Embedding) else len(tokenizer)
    configured = getattr(model.config, "pad_token_id", None)
    for token in (tokenizer.pad_token_id, configured, tokenizer.eos_token_id, tokenizer.unk_token_id):
        if isinstance(token, int) and 0 <= token < min(rows, len(tokenizer)):
            return token
    return 0
