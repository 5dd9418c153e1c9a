"""How fast faulty models are evaluated, against plain inference in the same run.

    python -m benchmarks.fault_evaluation [--quick] [--only layers,encoder,...] [--output DIR]
    python -m benchmarks.fault_evaluation --only rates [--kept DIR]
    python -m benchmarks.fault_evaluation --only chips [--kept DIR]

Every row is printed as soon as it is measured. With ``--kept`` it is also kept there, and measured once only: a command
that was stopped goes on where it was, on the same machine and code.

Times are CPU times of one thread (``--threads``), measured in turns with the baseline. Matrices hold Gaussian weights
of standard deviation 0.04 with one outlier per matrix at 1.68, 30 % of the columns pruned, as in BERT-base.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, BertModel

from benchmarks.measure import Result, compare, environment, table, table_row, write
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image, MatrixImage
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.common.code import code_digest
from crossvote.sim.common.content import file_digest
from crossvote.sim.common.keyed import KeyedResults
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.inference.convert import ProgrammedGroup, convert, swap_faults
from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
from crossvote.swstack.inference.explicit_linear import ExplicitLinear
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.mapping.quantization import quantize_weights
from crossvote.swstack.mapping.scheme import Scheme
from crossvote.swstack.mapping.schemes.replicas import Replicas
from crossvote.swstack.models.layouts import matrix_weight, word_line_groups
from crossvote.swstack.models.masks import MatrixMask, dense_masks

PRUNED = 0.3
SHAPES = ((768, 768), (768, 3072), (3072, 768))
SCHEMES = ("paper", "best")
#: Rates from where nothing happens to where most lines have wrong cells, and a code whose copies are summed.
RATES = (0.0001, 0.001, 0.01, 0.03, 0.05, 0.1, 0.2)
SUMMED = "code"
#: What is measured.
_CODE = ("crossvote.swstack.inference.convert", "crossvote.swstack.mapping.mapping", "crossvote.sim.array.faults")
#: What is measured in one go: a name, and how.
Case = tuple[str, Callable[[], list[Result]]]
#: Goals in fp32 layers: for codes that are summed, and for those that vote.
GOALS = {True: 0.6, False: 0.9}


def weights(inputs: int, outputs: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    matrix = rng.normal(0, 0.04, (inputs, outputs)).astype(np.float32)
    matrix[0, 0] = 1.68
    return matrix


def image_of(inputs: int, outputs: int, protection: Scheme, rows: int = 128, columns: int = 128) -> Image:
    """One matrix with pruned columns on crossbars."""
    kept = np.random.default_rng(1).random(outputs) >= PRUNED
    q, scale = quantize_weights(weights(inputs, outputs) * kept, 8, protection.scale)
    matrix = MatrixImage("matrix", 0, outputs, scale, np.zeros(outputs, np.float32))
    quantized = QuantizedGroup("group", q, (matrix,), np.ones(inputs, np.bool_), kept)
    adc_bits = rows.bit_length()  # counts up to rows
    return Image((place_group(quantized, protection, 7, rows, columns),), {}, input_bits=8, adc_bits=adc_bits)


def chip(image: Image, rate: float, number: int = 0) -> FaultMap:
    return FaultMap.sample(image.rows, image.columns, image.crossbars, rate, seed_sequence(0, "bench", number))


def exact_layer(image: Image, rate: float) -> CrossbarLinear:
    group = image.groups[0]
    placed = PlacedGroup(group)
    layer = CrossbarLinear(placed, group.matrices[0], image.input_bits)
    ProgrammedGroup(placed, (layer,)).program(chip(image, rate))
    return layer


def linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    layer.weight.data = torch.from_numpy(weights(inputs, outputs).T.copy())
    return layer


def tokens(count: int, inputs: int, device: str = "cpu") -> torch.Tensor:
    return torch.randn(count, inputs, generator=torch.Generator().manual_seed(0)).to(device)


def layers(quick: bool) -> list[Result]:
    """Faulty, voted, exact 8-bit layers against fp32 ``nn.Linear``."""
    count, repeats = (512, 3) if quick else (4096, 9)
    results = []
    for inputs, outputs in SHAPES:
        x, plain = tokens(count, inputs), linear(inputs, outputs)
        for scheme in (*SCHEMES, SUMMED):
            image, goal = image_of(inputs, outputs, PRESETS[scheme]), GOALS[scheme == SUMMED]
            for rate in RATES[::3] if quick else RATES:
                layer = exact_layer(image, rate)
                name = f"layer {inputs}x{outputs}, {scheme}, p = {100 * rate:g} %, {count} vectors"
                results.append(compare(name, partial(layer, x), "fp32 nn.Linear", partial(plain, x), repeats, goal))
    return results


def rates(quick: bool) -> Iterator[Case]:
    """At rates of percents: layers against fp32, and drawing and applying their chip against 32 x 128 tokens through
    them. As little as tells: half of these tokens, few repeats."""
    for inputs, outputs in SHAPES[:2]:
        for scheme in ("best", SUMMED):
            for rate in RATES[2:]:
                what = f"{inputs}x{outputs}, {scheme}, p = {100 * rate:g} %"
                yield what, partial(_at_rate, inputs, outputs, scheme, rate, what, quick)


def _at_rate(inputs: int, outputs: int, scheme: str, rate: float, what: str, quick: bool) -> list[Result]:
    count, repeats = (256, 1) if quick else (2048, 3)
    number = iter(range(10_000))
    x, plain, image = tokens(count, inputs), linear(inputs, outputs), image_of(inputs, outputs, PRESETS[scheme])
    group = image.groups[0]
    placed = PlacedGroup(group)
    layer = CrossbarLinear(placed, group.matrices[0], image.input_bits)
    programmed = ProgrammedGroup(placed, (layer,))

    def swap() -> None:
        programmed.program(chip(image, rate, next(number)))

    def twice() -> None:
        layer(x)
        layer(x)

    swap()
    goal, vectors = GOALS[scheme == SUMMED], f"faulty layer, {2 * count} vectors"
    return [
        compare(
            f"layer {what}, {count} vectors", partial(layer, x), "fp32 nn.Linear", partial(plain, x), repeats, goal
        ),
        compare(f"draw and apply a chip, {what}", swap, vectors, twice, repeats, 0.1),
    ]


def explicit(quick: bool) -> list[Result]:
    """Every ADC code against fp32 ``nn.Linear``."""
    count, repeats = (128, 2) if quick else (1024, 5)
    results = []
    for scheme in SCHEMES:
        image = image_of(768, 768, PRESETS[scheme])
        group = image.groups[0]
        x, plain = tokens(count, 768), linear(768, 768)
        layer = ExplicitLinear(group, group.matrices[0], 8, 8, ReadModel(adc_bits=7))
        layer.program(chip(image, 0.0005))
        name = f"explicit path 768x768, {scheme}, 7-bit ADC, p = 0.05 %, {count} vectors"
        results.append(compare(name, partial(layer, x), "fp32 nn.Linear", partial(plain, x), repeats, 30))
    return results


@functools.cache
def bert(quick: bool) -> tuple[BertModel, dict[str, MatrixMask]]:
    """A BERT-base-sized encoder (2 of its 12 layers if quick) with random weights, and masks that prune its columns."""
    torch.manual_seed(0)
    model = BertModel(BertConfig(num_hidden_layers=2 if quick else 12), add_pooling_layer=False).eval()
    rng = np.random.default_rng(0)
    masks = {}
    for name, mask in dense_masks(model).items():
        weight = matrix_weight(model, name)
        weight.copy_(torch.from_numpy(weights(*weight.shape)))
        masks[name] = MatrixMask(mask.rows, rng.random(len(mask.columns)) >= PRUNED)
    return model, masks


@functools.cache
def bert_image(quick: bool, scheme: str) -> Image:
    model, masks = bert(quick)
    return build_image(model, word_line_groups(model), masks, PRESETS[scheme], name=scheme)


@functools.cache
def _converted(quick: bool, scheme: str) -> BertModel:
    return convert(bert(quick)[0], bert_image(quick, scheme))


def batch(sequences: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(1000, 30000, (sequences, 128), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _size(quick: bool) -> str:
    return "BERT-base, 2 layers" if quick else "BERT-base"


def encoder(quick: bool) -> list[Result]:
    """Whole forward passes against the fp32 encoder."""
    inputs, repeats = batch(1 if quick else 8), 3 if quick else 5
    model, _ = bert(quick)
    results = []
    for scheme in SCHEMES:
        image = bert_image(quick, scheme)
        converted = convert(model, image)
        for rate in (0.0005, 0.002):
            swap_faults(converted, chip(image, rate))
            name = f"{_size(quick)} forward, {scheme}, p = {100 * rate:g} %, {len(inputs['input_ids'])} x 128 tokens"
            results.append(
                compare(name, partial(converted, **inputs), "fp32 forward", partial(model, **inputs), repeats, 0.8)
            )
    return results


def chips(quick: bool) -> Iterator[Case]:
    """Draw a chip and put it under the model, against one forward pass of 32 x 128 tokens of the fp32 model."""
    for scheme in ("best", SUMMED):
        for rate in (0.0005, 0.002, *RATES[2::2]):
            yield f"{scheme}, p = {100 * rate:g} %", partial(_chip_at_rate, scheme, rate, quick)


def _chip_at_rate(scheme: str, rate: float, quick: bool) -> list[Result]:
    (model, _), image, converted = bert(quick), bert_image(quick, scheme), _converted(quick, scheme)
    inputs = batch(4 if quick else 32)
    number = iter(range(1000))
    cells = image.crossbars * image.rows * image.columns

    def swap() -> None:
        swap_faults(converted, chip(image, rate, next(number)))

    swap()
    what = f"draw a {_size(quick)} chip ({cells / 1e9:.2f} billion cells) and apply it"
    forward = f"fp32 forward, {len(inputs['input_ids'])} x 128 tokens"
    name = f"{what}, {scheme}, p = {100 * rate:g} %"
    return [compare(name, swap, forward, partial(model, **inputs), 2 if quick else 3, 0.05)]


def memory(quick: bool) -> list[Result]:
    """Bytes of the arrays of a converted model against the fp32 model."""
    model, _ = bert(quick)
    plain = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    results = []
    for scheme in SCHEMES:
        image = bert_image(quick, scheme)
        converted = convert(model, image)
        swap_faults(converted, chip(image, 0.0005))
        with torch.no_grad():
            converted(torch.zeros((2, 128), dtype=torch.int64))  # what is kept between passes is there after one
        size = array_bytes(converted)
        name = f"memory of a converted {_size(quick)}, {scheme}, p = 0.05 %"
        results.append(Result(name, "fp32 parameters", size / 1e6, plain / 1e6, size / plain, "MB", goal=0.6))
    return results


def array_bytes(root: object) -> int:
    """Bytes of all distinct arrays and tensor storages reachable from an object."""
    seen: set[int] = set()
    storages: dict[int, int] = {}
    stack = [root]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, str | bytes | int | float | type | torch.dtype | torch.device):
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            storages[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
        elif isinstance(item, np.ndarray):
            whole = item
            while isinstance(whole.base, np.ndarray):
                whole = whole.base
            storages[whole.ctypes.data] = max(whole.nbytes, storages.get(whole.ctypes.data, 0))
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            stack.extend(item)
        elif hasattr(item, "__dict__"):
            stack.extend(vars(item).values())
    return sum(storages.values())


def cuda(quick: bool) -> list[Result]:
    """The exact path on a GPU against fp16 ``nn.Linear``; nothing without one. Wall time, synchronised."""
    if not torch.cuda.is_available():
        return []

    def now() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    repeats = 20 if quick else 200
    results = []
    for inputs, outputs in SHAPES:
        x, plain = tokens(4096, inputs, "cuda"), linear(inputs, outputs).half().cuda()
        half = x.half()
        for scheme in SCHEMES:
            for rate in (0.0005, 0.002):
                layer = exact_layer(image_of(inputs, outputs, PRESETS[scheme]), rate).cuda()
                name = f"CUDA layer {inputs}x{outputs}, {scheme}, p = {100 * rate:g} %, 4096 vectors"
                results.append(
                    compare(name, partial(layer, x), "fp16 nn.Linear", partial(plain, half), repeats, 1.5, now)
                )
    return results


def growth(quick: bool) -> list[dict[str, Any]]:
    """How the ratio to fp32 grows with the fault rate, rows of a crossbar, replicas and the size of the matrix."""
    count, repeats = (256, 2) if quick else (1024, 5)
    rates = (0.0005, 0.05) if quick else (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
    rows = []

    def point(axis: str, at: float, series: str, image: Image, rate: float) -> None:
        group = image.groups[0]
        x, plain = tokens(count, group.inputs), linear(group.inputs, group.outputs)
        layer = exact_layer(image, rate)
        result = compare("", partial(layer, x), "", partial(plain, x), repeats)
        rows.append({"axis": axis, "at": at, "series": series, "ratio": result.ratio})

    for scheme in SCHEMES:
        for rate in rates:
            point("fault rate", rate, scheme, image_of(768, 768, PRESETS[scheme]), rate)
        for height in (64, 128, 256):
            point("rows of a crossbar", height, scheme, image_of(768, 768, PRESETS[scheme], rows=height), 0.002)
        for size in (256, 512) if quick else (256, 512, 768, 1024, 1536):
            point("inputs = outputs", size, scheme, image_of(size, size, PRESETS[scheme]), 0.002)
        for replicas in (1, 3, 5, 7):
            preset = PRESETS[scheme]
            assert isinstance(preset, Replicas)
            protection = Replicas(
                flip=preset.flip,
                replicas={"msb": replicas} if replicas > 1 else {},
                vote=preset.vote if replicas > 1 else "none",
                scale=preset.scale,
            )
            point("replicas of the MSB", replicas, scheme, image_of(768, 768, protection), 0.002)
    return rows


def plot_growth(rows: Sequence[dict[str, Any]], path: Path) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    axes_names = list(dict.fromkeys(row["axis"] for row in rows))
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    for index, name in enumerate(axes_names):
        axes = figure.add_subplot(1, len(axes_names), index + 1)
        for scheme in SCHEMES:
            own = [row for row in rows if row["axis"] == name and row["series"] == scheme]
            axes.plot([row["at"] for row in own], [row["ratio"] for row in own], "o-", label=scheme)
        if name == "fault rate":
            axes.set_xscale("log")
        axes.axhline(1.0, color="grey", linewidth=0.8)
        axes.set_xlabel(name)
        axes.set_ylim(bottom=0)
        if index == 0:
            axes.set_ylabel("time over fp32 nn.Linear")
            axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


PARTS: dict[str, Callable[[bool], list[Result]]] = {
    "layers": layers,
    "encoder": encoder,
    "explicit": explicit,
    "memory": memory,
    "cuda": cuda,
}


#: Names of the results of parts that are measured alone.
ALONE = {"rates": "fault_rates", "chips": "fault_chips"}

#: Parts that are measured case by case.
BY_CASE: dict[str, Callable[[bool], Iterator[Case]]] = {"rates": rates, "chips": chips}


def cases(name: str, quick: bool) -> Iterator[Case]:
    """What a part consists of."""
    if name in BY_CASE:
        yield from BY_CASE[name](quick)
    elif name in PARTS:
        yield name, partial(PARTS[name], quick)


def measured(part: str, case: Case, quick: bool, kept: KeyedResults | None) -> list[Result]:
    """The rows of a case: those that are kept of this code, machine and size, or measured now and kept."""
    name, run = case
    where = {key: value for key, value in environment().items() if key not in ("load_average", "date")}
    code = [code_digest(*_CODE), file_digest(Path(__file__))]
    identity = {"part": part, "case": name, "quick": quick, "where": where, "code": code}
    found = None if kept is None else kept.get(f"{part}-{name}", identity)
    if found is not None:
        return [Result(**row) for row in found]
    results = run()
    if kept is not None:
        kept.put(f"{part}-{name}", identity, [asdict(result) for result in results])
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats, to try it out")
    usual = [*PARTS, "chips", "growth"]
    parser.add_argument("--only", default=",".join(usual), help="parts to run, separated by commas")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--kept", type=Path, help="folder in which finished rows are kept for the next start")
    options = parser.parse_args()
    names = options.only.split(",")
    known = (*PARTS, *BY_CASE, "growth")
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"unknown part '{unknown[0]}'; there are {', '.join(known)}.")
    torch.set_num_threads(options.threads)
    kept = None if options.kept is None else KeyedResults(options.kept)
    results: list[Result] = []
    print(table([]), flush=True)
    for name in names:
        for case in cases(name, options.quick):
            for result in measured(name, case, options.quick, kept):
                results.append(result)
                print(table_row(result), flush=True)
    extra: dict[str, Any] = {}
    if "growth" in names:
        extra["growth"] = growth(options.quick)
        plot_growth(extra["growth"], options.output / "fault_evaluation_growth.svg")
    remark = ""
    if "cuda" in names and not torch.cuda.is_available():
        remark = "Not measured, for want of a GPU: exact path on CUDA over fp16 nn.Linear (goal <= 1.5x).\n\n"
    name = ALONE.get(options.only, "fault_evaluation")
    write(options.output, name, results, extra, remark)


if __name__ == "__main__":
    main()
