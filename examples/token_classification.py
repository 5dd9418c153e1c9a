"""A class for every word (dishes and times in orders), and what stuck cells do to whole entities.

    python examples/token_classification.py

Rows come from Python: a list of mappings here; a pandas frame, a `datasets.Dataset` or a data loader would do. The
model is a module of one's own, a small BERT that is trained here.
"""

from __future__ import annotations

import random

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    set_seed,
)

import crossvote as cv

# Only its neighbours say whether tea is a dish or a time: a table of words would not do.
DISHES = ["soup", "rye bread", "rice", "fish pie", "green tea", "tea", "bean curry"]
TIMES = ["at noon", "tonight", "at seven", "after tea", "before the soup", "after rice", "with the fish"]
ORDERS = ["please send {dish} {time}", "we would like {dish} {time}", "{dish} for two {time}", "{time} i want {dish}"]


def orders(number: int, seed: int) -> list[dict[str, list[str]]]:
    """Orders as words and tags: B- begins an entity, I- continues it, O is outside."""
    draw = random.Random(seed)
    rows = []
    for _ in range(number):
        words: list[str] = []
        tags: list[str] = []
        for part in draw.choice(ORDERS).split():
            name = {"{dish}": "DISH", "{time}": "TIME"}.get(part, "")
            own = draw.choice({"DISH": DISHES, "TIME": TIMES}.get(name, [part])).split()
            words += own
            tags += [f"{'I' if i else 'B'}-{name}" if name else "O" for i in range(len(own))]
        rows.append({"words": words, "tags": tags})
    return rows


def vocabulary(rows: list[dict[str, list[str]]]) -> PreTrainedTokenizerBase:
    """A tokenizer that knows the words of some rows."""
    words = sorted({word for row in rows for word in row["words"]})
    names = {token: number for number, token in enumerate(["<pad>", "<unknown>", *words])}
    tokenizer = Tokenizer(models.WordLevel(names, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unknown>")


def main() -> None:
    """Print entity F1 of two schemes on the same faulty chips."""
    rows = orders(160, seed=0)
    data = cv.task("orders", train=rows, dev=orders(40, seed=1), max_length=24)
    print(f"classes: {', '.join(data.labels)}; reported is {data.primary_metric}")
    tokenizer = vocabulary(rows)
    set_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_labels=len(data.labels),
        initializer_range=0.1,
    )
    module: PreTrainedModel = BertForTokenClassification(config)
    model = cv.finetune(cv.load(module, data, tokenizer), data, epochs=6, batch_size=16, learning_rate=3e-3)
    pruned = cv.prune(model, data, columns=0.3, gate_epochs=2, final_epochs=2, batch_size=16, learning_rate=1e-3)
    images = {scheme: cv.map(pruned, scheme) for scheme in ("none-column", "best")}
    # A model that is this small and this sure takes many stuck cells before it errs.
    scores = cv.evaluate(images, pruned, data, cv.chips(rate=0.2, number=3))
    for point in scores.of_metric(data.primary_metric):
        print(f"{point.scheme}, {100 * point.rate:g} % of the cells stuck: {point.metric} {point.mean:.1f} %")


if __name__ == "__main__":
    main()
