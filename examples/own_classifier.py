"""A classifier of one's own: sentences in a CSV file, fine-tuned, pruned, mapped, and measured on faulty chips.

python examples/own_classifier.py                 # makes a small CSV file of its own
python examples/own_classifier.py train.csv dev.csv TEXT_COLUMN LABEL_COLUMN
"""

from __future__ import annotations

import csv
import itertools
import random
import sys
import tempfile
from pathlib import Path

import crossvote as cv


def write_example(folder: Path) -> tuple[Path, Path]:
    """Two CSV files with the columns text and stars, in the place of your own."""
    dishes = ["soup", "bread", "rice", "fish", "salad", "pie", "tea", "curry"]
    praise = ["was warm and fresh", "tasted wonderful", "came quickly and was delicious"]
    blame = ["was cold and stale", "tasted awful", "came late and was burnt"]
    said = [(f"The {dish} {words}.", "good") for dish, words in itertools.product(dishes, praise)]
    said += [(f"The {dish} {words}.", "bad") for dish, words in itertools.product(dishes, blame)]
    random.Random(0).shuffle(said)
    files = folder / "train.csv", folder / "dev.csv"
    for path, rows in zip(files, (said[16:], said[:16]), strict=True):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "stars"), *rows])
    return files


def main(train: Path, dev: Path, text: str = "text", label: str = "stars") -> None:
    """Print what pruning costs, and the accuracy on chips with 1 % of their cells stuck."""
    data = cv.task("own", train=train, dev=dev, columns={"sentence1": text, "label": label}, max_length=32)
    print(data.provenance)
    model = cv.finetune(cv.load("minilm-l6", data), data, epochs=4, batch_size=16)
    pruned = cv.prune(model, data, columns=0.3, gate_epochs=2, final_epochs=2, batch_size=16, saliency_steps=2)
    images = {scheme: cv.map(pruned, scheme) for scheme in ("none-column", "best")}
    scores = cv.evaluate(images, pruned, data, cv.chips(rate=0.01, number=2))
    for point in scores.of_metric("accuracy"):
        print(f"{point.scheme}, {100 * point.rate:g} % of the cells stuck: accuracy {point.mean:.1f} %")
    cost = cv.simulate(images["best"], pruned, tokens=16)
    print(f"one sentence of 16 tokens takes {cost.latency_ps / 1e6:.1f} us on the chip")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.exit("usage: python examples/own_classifier.py [TRAIN.csv DEV.csv [TEXT_COLUMN LABEL_COLUMN]]")
    if len(sys.argv) > 2:
        main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(*write_example(Path(folder)))
