"""Classes of pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.tokenizers import PictureInputs
from crossvote.swstack.tasks.base import Picture
from crossvote.swstack.tasks.encoded import Encoded
from crossvote.swstack.tasks.kinds import register
from crossvote.swstack.tasks.kinds.classification import SentenceClassification


@register("image-classification")
class PictureClassification(SentenceClassification):
    """A class for each picture; pictures are scaled to the size and the channels the model takes."""

    def encode(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Picture], longest: int) -> Encoded:  # type: ignore[override]
        if not isinstance(tokenizer, PictureInputs):
            raise UserError("pictures need a model that takes pixels, for example a ViT.")
        pixels = torch.tensor([example.pixels for example in examples], dtype=torch.float32)
        if pixels.shape[1] != tokenizer.channels:
            if pixels.shape[1] != 1:
                raise UserError(f"pictures have {pixels.shape[1]} channels, the model takes {tokenizer.channels}.")
            pixels = pixels.expand(-1, tokenizer.channels, -1, -1)
        size = (tokenizer.height, tokenizer.width)
        if tuple(pixels.shape[2:]) != size:
            pixels = functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        return Encoded(
            features={"pixel_values": tuple(pixels)},
            padding={"pixel_values": 0},
            labels=torch.tensor([example.label for example in examples]),
            lengths=np.ones(len(examples), np.int64),
            asks="image-classification",
        )
