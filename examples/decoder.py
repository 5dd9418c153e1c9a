"""A language model on faulty crossbars: perplexity against the fault rate, and what it writes.

    python examples/decoder.py                                        # a tiny model, trained here
    python examples/decoder.py smollm2-135m "The capital of France is"  # a real one (make models); minutes

The sentences are those of an embedded task; each token is predicted from those before it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, set_seed

import crossvote as cv

if TYPE_CHECKING:
    from crossvote.swstack.tasks import Task

RATES = (0.001, 0.01, 0.05)
SCHEMES = ("none-column", "best")


def tiny(data: Task) -> cv.Model:
    """A Llama of two layers that knows the words of the task, trained on its sentences."""
    words = sorted({word for passage in data.train for word in passage.text.split()})  # type: ignore[union-attr]
    names = {token: number for number, token in enumerate(["<end>", "<unknown>", *words])}
    tokenizer = Tokenizer(models.WordLevel(names, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>", unk_token="<unknown>"
    )
    set_seed(0)
    config = LlamaConfig(
        vocab_size=len(names),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.1,
        tie_word_embeddings=True,  # what comes next is then for the layers to say, not for the tables around them
    )
    module: PreTrainedModel = LlamaForCausalLM(config)
    model = cv.load(module, data, tokenizer=fast)
    return cv.finetune(model, data, epochs=5, batch_size=16, learning_rate=5e-3)


def written(model: cv.Model, image: cv.Image, silicon: cv.Silicon | None, prompt: str, tokens: int = 12) -> str:
    """What the model writes after a prompt when it always takes the likeliest token."""
    on_chip = cv.on_chip(image, model, silicon)
    inputs = model.tokenizer([prompt], return_tensors="pt", add_special_tokens=False)
    out = on_chip.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=tokens,
        do_sample=False,
    )
    return str(model.tokenizer.decode(out[0], skip_special_tokens=True))


def main(source: str | None = None, prompt: str | None = None) -> None:
    """Print perplexities and texts of two schemes on the same faulty chips, and what a token costs."""
    data = cv.task("grammar-single", kind="causal-lm", train_limit=300, eval_limit=20, max_length=32)
    model = tiny(data) if source is None else cv.load(source, data)
    prompt = prompt or " ".join(data.dev[0].text.split()[:3])  # type: ignore[union-attr]
    images = {scheme: cv.map(model, scheme) for scheme in SCHEMES}
    chips = {rate: cv.chips(rate=rate)[0] for rate in RATES}
    if source is None:
        scores = cv.evaluate(images, model, data, list(chips.values()))
        for point in scores.of_metric("perplexity"):
            print(f"{point.scheme}, {100 * point.rate:g} % of the cells stuck: perplexity {point.mean:.2f}")
    for scheme, image in images.items():
        for rate, chip in {0.0: None, **chips}.items():
            print(f"{scheme}, {100 * rate:g} % stuck: {written(model, image, chip, prompt)!r}")
    prefill = cv.simulate(images["best"], model, tokens=32)
    step = cv.simulate(images["best"], model, tokens=1, context=31)
    print(
        f"reading 32 tokens takes {prefill.latency_ps / 1e6:.1f} us on the chip, writing the next "
        f"{step.latency_ps / 1e6:.1f} us"
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
