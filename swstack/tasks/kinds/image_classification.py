"""Classes of pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.tokenizers import PictureInputs
from crossvote.swstack.tasks.base import Picture
from crossvote.swstack.tasks.encoded import Encoded
from crossvote.swstack.tasks.fields import Fields
from crossvote.swstack.tasks.kinds import KINDS
from crossvote.swstack.tasks.kinds._sentences import Sentences


@KINDS.register("image-classification")
class PictureClassification(Sentences):
    """A class for each picture; pictures are scaled to the size and the channels the model takes."""

    head = "image-classification"
    columns = ("pixels", "label")
    optional = ()
    told = True
    classes_in = "label"
    measured_by = ("classes",)

    def usual_metrics(self, classes: Sequence[str]) -> tuple[str, ...]:
        return ("accuracy", "f1") if len(classes) == 2 else ("accuracy", "f1_macro")

    def example(self, fields: Fields) -> Picture:
        return Picture(_pixels(fields.value("pixels"), fields.where), fields.class_of("label"))

    def form(self, example: Picture) -> str:  # type: ignore[override]
        """No batch holds pictures of two sizes."""
        sizes = (len(example.pixels), len(example.pixels[0]), len(example.pixels[0][0]))
        return f"a picture of {' x '.join(map(str, sizes))} pixels"

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


def _pixels(value: Any, where: str) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Channels of rows of values from 0 to 1; a plain list of rows is one channel."""
    try:
        array = np.asarray(json.loads(value) if isinstance(value, str) else value, dtype=float)
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: no array of pixels ({error}).") from None
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or not array.size or not ((array >= 0) & (array <= 1)).all():
        raise UserError(f"{where}: pixels must be rows, or channels of rows, of numbers from 0 to 1.")
    return tuple(tuple(tuple(map(float, line)) for line in channel) for channel in array)
