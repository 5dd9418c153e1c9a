"""The stages of the main job, from a pretrained encoder to the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.array.patterns import parse_pattern, pattern_words
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.evaluation.calibration import static_steps
from crossvote.swstack.evaluation.chips import chips_for, draw_silicon, silicon_of, silicon_record
from crossvote.swstack.evaluation.cosimulation import CosimRecord, cosimulate_matrices
from crossvote.swstack.evaluation.evaluation import rows as trial_rows
from crossvote.swstack.evaluation.evaluation import sweep
from crossvote.swstack.experiment.calibration import CALIBRATION, read_steps
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.config_changes import changed_keys
from crossvote.swstack.experiment.cost import costs
from crossvote.swstack.experiment.pipeline import Context, Stage, versions
from crossvote.swstack.experiment.run_directory import CONFIG, RunDirectory, digest, file_digest
from crossvote.swstack.experiment.support import cosim_engines
from crossvote.swstack.inference.embedding_faults import embedding_crossbars
from crossvote.swstack.mapping.mapping import build_image, mapping_report
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import load_model, locate, save_model
from crossvote.swstack.models.masks import load_masks, save_masks
from crossvote.swstack.pruning.pruning import prune
from crossvote.swstack.report.claims import (
    cosimulation_line,
    cost_claims,
    equal,
    left_out_line,
    telling_rate,
    verdict,
)
from crossvote.swstack.report.page import PAGE, has_replicas, write_report
from crossvote.swstack.tasks import Task, glue, load_task
from crossvote.swstack.tasks.chance import chance_level
from crossvote.swstack.training.finetune import finetune
from crossvote.swstack.training.loop import best_device
from crossvote.swstack.training.predict import evaluate

DENSE = "model"
PRUNED = "pruned/model"
MASKS = "pruned/masks.safetensors"
FAULTS = "faults/chips.json"
#: Finished trials, which carry their own keys: they outlive a kill, and a sweep with more rates or chips takes them up.
TRIALS = "work/trials"


def _settings(*sections: str) -> Callable[[RunConfig], dict[str, Any]]:
    """A stage's settings: the seed and the named sections, local files by their content instead of their path."""

    def settings(config: RunConfig) -> dict[str, Any]:
        values = to_mapping(config)
        chosen: dict[str, Any] = {"seed": values["seed"], **{name: values.get(name, {}) for name in sections}}
        source = Path(config.model.source).expanduser()
        if "model" in chosen and source.is_dir():
            chosen["model"]["content"] = _folder_digest(source, "*.safetensors", "*.json")
        glue_name = glue.canonical_name(config.task.name)
        if "task" in chosen and config.task.glue_dir is not None and glue_name is not None:
            folder = Path(config.task.glue_dir).expanduser() / glue.GLUE_TASKS[glue_name].folder
            chosen["task"] = {**chosen["task"], "glue_dir": "local", "content": _folder_digest(folder, "*.tsv")}
        return chosen

    return settings


def _folder_digest(folder: Path, *patterns: str) -> str:
    files = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return digest({path.name: file_digest(path) for path in files})


def check_inputs(config: RunConfig) -> None:
    """Refuse a model or a task that is not there, before anything is written; data on the hub is not fetched here.

    Raises:
        UserError: an unknown task, or local data or a local model that is absent or broken.
    """
    location = locate(config.model.source)
    config.check_support(-(-_widest(Path(location)) // config.chip.crossbar.rows))
    if config.task.glue_dir is None and glue.canonical_name(config.task.name) is not None:
        return
    load_task(config.task, config.seed)


def _widest(model: Path) -> int:
    """Inputs of the widest matrix of a model in a directory, as its configuration tells; 1 where it does not."""
    try:
        values = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 1
    keys = ("hidden_size", "intermediate_size", "dim", "hidden_dim", "n_embd", "n_inner")
    widths = [values.get(key) for key in keys] if isinstance(values, dict) else []
    return max((width for width in widths if isinstance(width, int)), default=1)


def _load(context: Context[RunConfig], folder: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Task]:
    """A model that an earlier stage left, its tokenizer and the task."""
    task = load_task(context.config.task, context.config.seed)
    source = ModelConfig(source=str((context.run.path / folder).resolve()))
    model, tokenizer = load_model(source, task.num_labels, task.regression, context.config.seed)
    return model, tokenizer, task


def _do_finetune(context: Context[RunConfig]) -> Sequence[str]:
    config = context.config
    task = load_task(config.task, config.seed)
    model, tokenizer = load_model(config.model, task.num_labels, task.regression, config.seed)
    result = finetune(model, tokenizer, task, config.finetune, config.seed, context.work, context.progress)
    save_model(model, tokenizer, context.run.path / DENSE)
    summary = {
        "model": Path(config.model.source).name,
        "task": task.name,
        "metric": task.primary_metric,
        "provenance": task.provenance,
        "train_examples": len(task.train),
        "dev_examples": len(task.dev),
        "metrics": result.dev_metrics,
        "chance": _chance(task),
        "history": list(result.history),
    }
    return [DENSE, context.run.write_json("results/finetune.json", summary)]


def _chance(task: Task, limit: int | None = None) -> dict[str, Any]:
    """Chance level of the primary metric on the dev examples that are measured."""
    labels = [example.label for example in task.dev[:limit]]
    found = chance_level(task.metrics, labels, task.num_labels, task.regression)
    return dataclasses.asdict(found[task.primary_metric])


def _do_prune(context: Context[RunConfig]) -> Sequence[str]:
    config = context.config
    model, tokenizer, task = _load(context, DENSE)
    result = prune(model, tokenizer, task, config.prune, config.seed, context.work, context.progress)
    save_model(model, tokenizer, context.run.path / PRUNED)
    save_masks(result.masks, context.run.path / MASKS)
    summary = {
        "metrics": result.dev_metrics,
        "history": list(result.history),
        "completed_at_freeze": result.completed,
        "reopened": result.reopened,
        **{
            f"{'matrices' if kind == 'matrix' else 'groups'}": [
                _sparsity_row(entry) for entry in result.sparsity if entry.kind == kind
            ]
            for kind in ("matrix", "group")
        },
    }
    return [PRUNED, MASKS, context.run.write_json("results/pruning.json", summary)]


def _sparsity_row(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.name,
        "inputs": entry.inputs,
        "outputs": entry.outputs,
        "column_sparsity": entry.column,
        "row_sparsity": entry.row,
        "element_sparsity": entry.element,
    }


def _image_path(scheme: str) -> str:
    return f"images/{scheme}.safetensors"


def _do_map(context: Context[RunConfig]) -> Sequence[str]:
    config = context.config
    model, tokenizer, task = _load(context, PRUNED)
    masks = load_masks(context.run.path / MASKS)
    schemes = []
    for name, protection in config.protections().items():
        image = build_image(
            model,
            word_line_groups(model),
            masks,
            protection,
            config.quantization,
            rows=config.chip.crossbar.rows,
            columns=config.chip.crossbar.columns,
            adc_bits=config.chip.adc.bits,
            input_bits=config.chip.opc.input_bits,
            cell_bits=config.chip.crossbar.cell_bits,
            name=name,
            progress=context.progress,
        )
        image.save(context.run.path / _image_path(name))
        report = mapping_report(image)
        schemes.append(
            {
                "name": name,
                "description": protection.describe(),
                "replicas": has_replicas(image),
                "content_hash": image.content_hash,
                "crossbars": sum(group.crossbars for group in report),
                "dense_crossbars": sum(group.dense_crossbars for group in report),
                "chip_crossbars": image.crossbars,
                "zero_space": all(group.zero_space for group in report),
                "groups": [dataclasses.asdict(group) for group in report],
            }
        )
    summary = {"dense_crossbars": schemes[0]["dense_crossbars"], "schemes": schemes}
    calibration = []
    if config.quantization.activations == "static":
        steps = static_steps(model, tokenizer, task, Image.load(context.run.path / _image_path(schemes[0]["name"])))
        calibration.append(context.run.write_json(CALIBRATION, {"steps": steps}))
    return [
        *calibration,
        *(_image_path(name) for name in config.map.schemes),
        context.run.write_json("results/mapping.json", summary),
    ]


def _do_faults(context: Context[RunConfig]) -> Sequence[str]:
    """Chips are laws from which any part of a fault map is drawn, so nothing of the model is needed to draw them."""
    config, crossbar = context.config, context.config.chip.crossbar
    config.faults.pattern.check(crossbar.rows, crossbar.columns)
    silicon = draw_silicon(config.faults, config.seed, crossbar.rows, crossbar.columns)
    return [context.run.write_json(FAULTS, {"chips": [silicon_record(chip) for chip in silicon]})]


def _do_eval(context: Context[RunConfig]) -> Sequence[str]:
    run, config = context.run, context.config
    dense, tokenizer, task = _load(context, DENSE)
    pruned, _, _ = _load(context, PRUNED)
    images, crossbar = _images(context), config.chip.crossbar
    table = embedding_crossbars(pruned, crossbar.rows, crossbar.columns) if config.faults.embeddings else 0
    chips = chips_for(list(map(silicon_of, run.read_json(FAULTS)["chips"])), list(images.values()), table)
    fault_free = {}
    for name, model in {"dense": dense, "pruned": pruned}.items():
        model.to(best_device())  # type: ignore[arg-type]
        metrics = evaluate(model, tokenizer, task, config.eval.batch_size, config.eval.limit, context.progress)
        fault_free[name] = metrics[task.primary_metric]
    result = sweep(
        pruned,
        tokenizer,
        task,
        images,
        chips,
        config.eval,
        config.quantization.activations,
        run.path / TRIALS,
        context.progress,
        config.faults.embeddings,
        ReadModel.of_chip(config.chip, config.seed),
        read_steps(run.path),
    )
    trials = trial_rows(result.trials)
    write_csv(run.path / "results/trials.csv", trials)
    summary = {
        **result.conditions,
        "metric": task.primary_metric,
        "input_bits": config.chip.opc.input_bits,
        "chips": config.faults.chips,
        "sa0_sa1": list(config.faults.sa0_sa1),
        "pattern": pattern_words(config.faults.pattern),
        "chance": _chance(task, config.eval.limit),
        "fault_free": fault_free,
        "points": [dataclasses.asdict(point) for point in result.of_metric(task.primary_metric)],
        "all_points": [dataclasses.asdict(point) for point in result.points],
        "trials": trials,
    }
    return ["results/trials.csv", run.write_json("results/accuracy.json", summary)]


def _images(context: Context[RunConfig]) -> dict[str, Image]:
    """The images by scheme, in the order of the configuration."""
    return {name: Image.load(context.run.path / _image_path(name)) for name in context.config.map.schemes}


def _telling_chip(context: Context[RunConfig], rate: float, images: Mapping[str, Image]) -> FaultMap:
    """The first chip of a fault rate, as large as the largest image."""
    record = next(chip for chip in context.run.read_json(FAULTS)["chips"] if chip["rate"] == rate)
    return silicon_of(record).faults(max(image.crossbars for image in images.values()))


def _do_cosim(context: Context[RunConfig]) -> Sequence[str]:
    """Co-simulate on the first chip of the highest fault rate."""
    config = context.config
    rate = max(config.faults.rates)
    model, tokenizer, task = _load(context, PRUNED)
    images = _images(context)
    row_blocks = max(group.row_blocks for image in images.values() for group in image.groups)
    engines, left_out = cosim_engines(
        config.chip, config.protections(), config.quantization.planes, config.cosim.backend, row_blocks
    )
    matrices: list[CosimRecord] = []
    for backend in dict.fromkeys(engines.values()):
        matrices += cosimulate_matrices(
            model,
            tokenizer,
            task,
            {name: images[name] for name in engines if engines[name] == backend},
            _telling_chip(context, rate, images),
            config.chip,
            dataclasses.replace(config.cosim, backend=backend),
            config.quantization.activations,
            read_steps(context.run.path),
            context.progress,
        )
    order = list(images)
    matrices.sort(key=lambda record: order.index(record.scheme))
    summary = {
        "rate": rate,
        "matrices": [dataclasses.asdict(matrix) for matrix in matrices],
        "left_out": [{"scheme": name, "reason": reason} for name, reason in left_out.items()],
    }
    return [context.run.write_json(RESULTS["cosim"], summary)]


def _do_simulate(context: Context[RunConfig]) -> Sequence[str]:
    """The whole chip under every scheme."""
    result = costs(context.run.path, context.config.simulate, context.progress)
    return [context.run.write_json(RESULTS["simulate"], result)]


def _do_report(context: Context[RunConfig]) -> Sequence[str]:
    run, config = context.run, context.config
    results = {name: run.read_json(file) for name, file in RESULTS.items()}
    rate = telling_rate(results["eval"]["points"]) or config.faults.rates[0]
    images = _images(context)
    return write_report(
        run.path,
        {
            **results,
            "seed": config.seed,
            "changes": changed_keys(config),
            "config": (run.path / CONFIG).read_text(encoding="utf-8"),
            "stages": [dataclasses.asdict(record) for name in RESULTS if (record := run.record(name))],
            "versions": versions(),
            "occupancy": {"rate": rate, "chip": 0},
        },
        images,
        _telling_chip(context, rate, images),
    )


RESULTS = {
    "finetune": "results/finetune.json",
    "prune": "results/pruning.json",
    "map": "results/mapping.json",
    "faults": FAULTS,
    "eval": "results/accuracy.json",
    "cosim": "results/cosimulation.json",
    "simulate": "results/system.json",
}


def _map_settings(config: RunConfig) -> dict[str, Any]:
    """Formats and schemes, and of the chip only what an image depends on; the data where activations are calibrated."""
    static = config.quantization.activations == "static"
    return {
        **(_settings("task")(config) if static else {}),
        "quantization": to_mapping(config.quantization),
        "schemes": {name: to_mapping(protection) for name, protection in config.protections().items()},
        "rows": config.chip.crossbar.rows,
        "columns": config.chip.crossbar.columns,
        "adc_bits": config.chip.adc.bits,
        "input_bits": config.chip.opc.input_bits,
        "cell_bits": config.chip.crossbar.cell_bits,
    }


def _faults_settings(config: RunConfig) -> dict[str, Any]:
    """The law of the chips, and the size of their crossbars."""
    crossbar = config.chip.crossbar
    return {**_settings("faults")(config), "rows": crossbar.rows, "columns": crossbar.columns}


def _eval_settings(config: RunConfig) -> dict[str, Any]:
    """Data and formats, and of the chip only what a read depends on."""
    reads = to_mapping(ReadModel.of_chip(config.chip, config.seed))
    return {**_settings("task", "quantization", "eval")(config), "reads": reads}


STAGES: tuple[Stage[RunConfig], ...] = (
    Stage("finetune", (), _settings("model", "task", "finetune"), _do_finetune),
    Stage("prune", ("finetune",), _settings("task", "prune"), _do_prune),
    Stage("map", ("finetune", "prune"), _map_settings, _do_map),
    Stage("faults", (), _faults_settings, _do_faults),
    Stage("eval", ("finetune", "prune", "map", "faults"), _eval_settings, _do_eval),
    Stage(
        "cosim", ("finetune", "prune", "map", "faults"), _settings("task", "quantization", "chip", "cosim"), _do_cosim
    ),
    Stage("simulate", ("prune", "map"), _settings("task", "chip", "simulate"), _do_simulate),
    Stage("report", ("finetune", "prune", "map", "faults", "eval", "cosim", "simulate"), to_mapping, _do_report),
)


def cosimulation_is_exact(run: RunDirectory) -> bool:
    """Whether every co-simulated output equalled the reference."""
    result = run.read_json(RESULTS["cosim"])
    return equal(result["matrices"]) if result["matrices"] else bool(result["left_out"])


def summarize(run: RunDirectory, target: str) -> list[str]:
    """What to print when the stage ``target`` is done."""
    results = {name: run.read_json(file) for name, file in RESULTS.items() if (run.path / file).is_file()}
    if target == "report":
        return [*verdict(results), f"report: {run.path / PAGE}"]
    result = results[target]
    if target in ("finetune", "prune"):
        lines = [", ".join(f"{name} {value:.2f} %" for name, value in result["metrics"].items())]
        for group in result.get("groups", ()):
            shares = ", ".join(
                f"{kind} {100 * group[f'{kind}_sparsity']:.1f} %" for kind in ("column", "row", "element")
            )
            lines.append(f"{group['name']}: pruned {shares}")
        return lines
    if target == "map":
        return [
            f"{scheme['name']}: {scheme['crossbars']} crossbars against {scheme['dense_crossbars']} dense, zero space "
            f"cost in {sum(group['zero_space'] for group in scheme['groups'])} of {len(scheme['groups'])} groups"
            for scheme in result["schemes"]
        ]
    if target == "faults":
        chips: dict[float, int] = {}
        for chip in result["chips"]:
            chips[chip["rate"]] = chips.get(chip["rate"], 0) + 1
        pattern = pattern_words(parse_pattern(result["chips"][0]["pattern"]))
        return [f"{100 * rate:g} % of all cells stuck, {pattern}: {count} chips" for rate, count in chips.items()]
    if target == "eval":
        return [
            f"{point['scheme']}, {100 * point['rate']:g} % stuck: {result['metric']} {point['mean']:.2f} % "
            f"(standard deviation {point['sd']:.2f}, {point['chips']} chips)"
            for point in result["points"]
        ]
    if target == "simulate":
        return cost_claims(result)
    return [*map(cosimulation_line, result["matrices"]), *map(left_out_line, result["left_out"])]
