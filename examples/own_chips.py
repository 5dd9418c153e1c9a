"""Put new chips under a finished run, without the command line.

    python examples/own_chips.py runs/default best 0.002 3

draws three chips with 0.2 % of their cells stuck, and prints the task metrics of the scheme on each.
"""

from __future__ import annotations

import sys
from pathlib import Path

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.tasks import load_task
from crossvote.swstack.training.predict import evaluate


def main(run: Path, scheme: str, rate: float, chips: int) -> None:
    config = load_config(run / "config.toml")
    task = load_task(config.task, config.seed)
    source = ModelConfig(source=str(run / "pruned" / "model"))
    model, tokenizer = load_model(source, task.num_labels, task.regression, config.seed)
    image = Image.load(run / "images" / f"{scheme}.safetensors")

    on_chip = convert(model, image, config.quantization.activations)
    for chip in range(chips):
        seed = seed_sequence(config.seed, "own chips", chip)
        swap_faults(on_chip, FaultMap.sample(image.rows, image.columns, image.crossbars, rate, seed))
        metrics = evaluate(on_chip, tokenizer, task)
        print(f"chip {chip}: " + ", ".join(f"{name} {value:.2f} %" for name, value in metrics.items()))


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: python examples/own_chips.py RUN SCHEME RATE CHIPS")
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
