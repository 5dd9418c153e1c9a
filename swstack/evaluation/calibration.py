"""Static activation steps for a task: one calibration, whoever needs it."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.array.image import Image
from crossvote.swstack.inference.calibration import calibrate
from crossvote.swstack.tasks import Task
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.training.predict import predict

#: Train examples from which static activations take their steps, and how many of them are run at once. Neither is a
#: setting: evaluation, simulation and co-simulation must quantize alike, to the last bit.
_EXAMPLES, _BATCH = 256, 32


def static_steps(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, image: Image
) -> dict[str, float]:
    """Steps of "static" activations per word-line group, from the first train examples."""
    examples = encode(tokenizer, task.train[:_EXAMPLES], task.max_length)
    return calibrate(model, image.groups, image.input_bits, lambda: predict(model, examples, _BATCH))
