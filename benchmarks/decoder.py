"""Perplexity of a language model against the fault rate, scheme by scheme, and what it writes on faulty chips.

    python -m benchmarks.decoder --glue-dir ~/glue --output results/decoder

The model is taken as it is (nothing pruned or trained), the text is QNLI's dev sentences, each once, and all schemes
meet the same chips. Every finished measurement is kept in OUTPUT/measured.jsonl at once: stopped and started again, it
goes on. The table is printed at the end, or of what is there with --table.

    python -m benchmarks.decoder --costs

prints what reading a prompt and writing a token cost on the default chip, as docs/decoders.md has it, and

    python -m benchmarks.decoder --images --output results/decoder --schemes none none-column paper best

the same of the images that were measured, scheme by scheme (kept in OUTPUT/costs.jsonl).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossvote.swstack.mapping.cost import mapping_report

PROMPT = "The capital of France is"
#: Tokens that are read where costs are simulated.
PROMPT_TOKENS = 128


def key(scheme: str, rate: float, chip: int) -> str:
    """Name of a measurement."""
    return f"{scheme} {rate:g} {chip}"


def read(path: Path) -> dict[str, dict[str, Any]]:
    """What was measured before, by name."""
    if not path.is_file():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["name"]: row for row in rows}


def measure(options: argparse.Namespace) -> None:
    """Measure what is missing, appending to the file."""
    import crossvote as cv
    from crossvote.swstack.inference.convert import convert, swap_faults
    from crossvote.swstack.training.predict import evaluate

    path = options.output / "measured.jsonl"
    options.output.mkdir(parents=True, exist_ok=True)
    done = read(path)
    points = [(0.0, 0), *((rate, chip) for rate in options.rates for chip in range(options.chips))]
    wanted = [scheme for scheme in options.schemes if any(key(scheme, *point) not in done for point in points)]
    if not wanted and "dense" in done:
        return
    data = cv.task(
        "qnli",
        kind="causal-lm",
        glue_dir=options.glue_dir,
        train_limit=8,
        eval_limit=options.sentences,
        max_length=options.length,
    )
    model = cv.load(options.source, data)

    def keep(name: str, **values: Any) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "data": data.provenance, **values}) + "\n")
        print(name, values, flush=True)

    def written(module: Any) -> str:
        tokens = model.tokenizer([PROMPT], return_tensors="pt", add_special_tokens=False)
        out = module.generate(**tokens, max_new_tokens=options.words, do_sample=False)
        return str(model.tokenizer.decode(out[0][tokens["input_ids"].shape[1] :], skip_special_tokens=True))

    if "dense" not in done:
        keep("dense", **evaluate(model.module, model.tokenizer, data, 1), text=written(model.module))
    chips = {(rate, chip): cv.chips(rate, chip + 1)[chip] for rate, chip in points if rate}
    for scheme in wanted:
        image_path = options.output / f"{scheme}.safetensors"
        if image_path.is_file():
            image = cv.Image.load(image_path)
        else:
            image = cv.map(model, scheme)
            image.save(image_path)
        report = mapping_report(image)
        crossbars = {"crossbars": image.crossbars, "dense": sum(group.dense_crossbars for group in report)}
        on_chip = convert(model.module, image)
        for point in points:
            if key(scheme, *point) in done:
                continue
            started = time.perf_counter()
            silicon = chips.get(point)
            swap_faults(on_chip, None if silicon is None else silicon.faults(image.crossbars))
            values: dict[str, Any] = evaluate(on_chip, model.tokenizer, data, 1)
            if point[1] == 0:
                values["text"] = written(on_chip)
            keep(key(scheme, *point), **values, **crossbars, seconds=round(time.perf_counter() - started, 1))


def table(options: argparse.Namespace) -> list[str]:
    """Lines of a Markdown table of perplexities: a scheme a row, a fault rate a column (geometric means of chips, with
    the least and the largest).
    """
    import math

    def cell(values: list[float]) -> str:
        if not values:
            return ""
        mean = math.exp(sum(map(math.log, values)) / len(values))
        return f"{mean:.4g}" if len(values) == 1 else f"{mean:.4g} ({min(values):.3g} to {max(values):.3g})"

    found = read(options.output / "measured.jsonl")
    cells: dict[tuple[str, float], list[float]] = defaultdict(list)
    for name, row in found.items():
        if name != "dense":
            scheme, rate, _ = name.split()
            cells[scheme, float(rate)].append(row["perplexity"])
    rates = sorted({rate for _, rate in cells})
    lines = ["| scheme | " + " | ".join(f"{100 * rate:g} %" for rate in rates) + " |", "|---" * (len(rates) + 1) + "|"]
    for scheme in options.schemes:
        own = [cells.get((scheme, rate), []) for rate in rates]
        lines.append(f"| `{scheme}` | " + " | ".join(map(cell, own)) + " |")
    if "dense" in found:
        lines.append(f"\nDense, in floating point: {found['dense']['perplexity']:.4g}.")
    return lines


def texts(options: argparse.Namespace, rates: Sequence[float] = (0.0, 0.001, 0.01)) -> list[str]:
    """Lines of a Markdown table: what the first chip of each rate wrote after ``PROMPT``."""
    found = read(options.output / "measured.jsonl")
    lines = ["| scheme | " + " | ".join(f"{100 * rate:g} %" for rate in rates) + " |", "|---" * (len(rates) + 1) + "|"]
    for scheme in options.schemes:
        own = [found.get(key(scheme, rate, 0), {}).get("text", "") for rate in rates]
        plain = [" ".join(text.replace("|", " ").replace("`", " ").split()) for text in own]
        lines.append(f"| `{scheme}` | " + " | ".join(f"`{text}`" if text else "" for text in plain) + " |")
    return lines


def costs(tokens: int = PROMPT_TOKENS) -> list[str]:
    """Lines of a Markdown table: reading ``tokens`` tokens, and writing the one after them, without and with copies.

    Nothing is pruned, so three copies of the top plane lie beside their outputs. The chip has a ninth package, which
    those copies need.
    """
    from crossvote.sim.chip.config import load_chip
    from crossvote.sim.system.model import simulate
    from crossvote.swstack.experiment.simulation.encoders import ENCODERS
    from crossvote.swstack.experiment.simulation.workloads import DENSE, encoder_workloads, with_context

    chip, sizes = load_chip("crossvote", {"package": {"chips": 9}}), ENCODERS["smollm2-135m"]
    lines = ["| | crossbars | latency, us | us a token | dynamic energy, uJ a token |", "|---|---|---|---|---|"]
    for what, length, context in ((f"reading {tokens} tokens", tokens, 0), ("writing the next", 1, tokens)):
        workloads = with_context(encoder_workloads(sizes, chip, length), sizes.causal, context)
        for name in (DENSE, "MSB x3 beside"):
            run = simulate(workloads[name], chip, resolution="matrix")
            crossbars = chip.signs * sum(layer.blocks for layer in run.workload.layers)
            latency = run.latency_ps / 1e6
            energy = run.dynamic_energy_pj / 1e6 / length
            lines.append(f"| {what}, {name} | {crossbars:,} | {latency:.1f} | {latency / length:.2f} | {energy:.1f} |")
    return lines


def measure_images(options: argparse.Namespace) -> None:
    """Simulate the mapped images that ``measure`` left, reading a prompt and writing a token; all rows anew."""
    import crossvote as cv
    from crossvote.sim.chip.config import load_chip
    from crossvote.sim.system.model import simulate
    from crossvote.sim.system.workload import Workload
    from crossvote.swstack.experiment.simulation.encoders import ENCODERS
    from crossvote.swstack.experiment.simulation.workloads import with_context

    chip, sizes = load_chip("crossvote", {"package": {"chips": 9}}), ENCODERS[options.source]
    rows = []
    for scheme in options.schemes:
        image = cv.Image.load(options.output / f"{scheme}.safetensors")
        for length, context in ((PROMPT_TOKENS, 0), (1, PROMPT_TOKENS)):
            plain = Workload.from_image(image, chip, sizes.heads, length, scheme)
            run = simulate(with_context({scheme: plain}, sizes.causal, context)[scheme], chip, resolution="matrix")
            rows.append(
                {
                    "scheme": scheme,
                    "tokens": length,
                    "context": context,
                    "crossbars": image.crossbars,
                    "latency_ps": run.latency_ps,
                    "dynamic_energy_pj": run.dynamic_energy_pj,
                    "total_energy_pj": run.total_energy_pj,
                    "area_mm2": run.area_mm2,
                }
            )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (options.output / "costs.jsonl").write_text(text, encoding="utf-8")


def image_costs(options: argparse.Namespace) -> list[str]:
    """Lines of a Markdown table: what each mapped image costs on the chip, as ``measure_images`` recorded it."""
    text = (options.output / "costs.jsonl").read_text(encoding="utf-8")
    lines = [
        "| scheme | | latency, us | us a token | dynamic energy, uJ a token | total energy, uJ a token | tiles, mm2 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in map(json.loads, text.splitlines()):
        tokens, latency = row["tokens"], row["latency_ps"] / 1e6
        dynamic, total = (row[f"{part}_energy_pj"] / 1e6 / tokens for part in ("dynamic", "total"))
        what = "writing the next" if row["context"] else f"reading {tokens} tokens"
        lines.append(
            f"| `{row['scheme']}` | {what} | {latency:.1f} | {latency / tokens:.2f} | {dynamic:.1f} | {total:,.0f} | "
            f"{row['area_mm2']:.0f} |"
        )
    return lines


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue-dir", type=Path)
    parser.add_argument("--output", type=Path, default=Path("results/decoder"))
    parser.add_argument("--costs", action="store_true", help="print the costs on the chip, measure nothing")
    parser.add_argument("--images", action="store_true", help="simulate the images in OUTPUT, measure nothing else")
    parser.add_argument("--source", default="smollm2-135m")
    parser.add_argument("--schemes", nargs="+", default=["none", "none-column", "paper", "best", "code"])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.0001, 0.0003, 0.001])
    parser.add_argument("--chips", type=int, default=2)
    parser.add_argument("--sentences", type=int, default=16)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--words", type=int, default=12, help="tokens to write after a prompt")
    parser.add_argument("--table", action="store_true", help="print what there is, measure nothing")
    options = parser.parse_args()
    if options.costs:
        print("\n".join(costs()))
        return
    if options.images:
        measure_images(options)
        print("\n".join(image_costs(options)))
        return
    if not options.table:
        measure(options)
    print("\n".join([*table(options), "", *texts(options)]))


if __name__ == "__main__":
    main()
