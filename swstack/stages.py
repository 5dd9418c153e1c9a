"""The stages of the main job, from a pretrained encoder to the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sim.errors import UserError
from sim.faults import FaultMap
from sim.image import Image
from sim.schema import to_mapping
from sim.seeds import seed_sequence
from swstack.config import RunConfig, describe_protection
from swstack.cosimulation import cosimulate_matrices
from swstack.evaluation import sweep
from swstack.finetune import evaluate, finetune
from swstack.groups import word_line_groups
from swstack.mapping import build_image, mapping_report
from swstack.metrics import compute_metrics
from swstack.models import ModelConfig, load_model, save_model
from swstack.pipeline import Context, Stage, versions
from swstack.prune import load_masks, prune, save_masks
from swstack.report import PAGE, has_replicas, telling_rate, write_report
from swstack.run_directory import CONFIG, RunDirectory, digest, file_digest
from swstack.tasks import Task, glue, load_task

DENSE = "model"
PRUNED = "pruned/model"
MASKS = "pruned/masks.safetensors"
FAULTS = "faults/chips.json"


def _settings(*sections: str) -> Any:
    """A stage's settings: the seed and the named sections of the configuration."""

    def settings(config: RunConfig) -> dict[str, Any]:
        values = to_mapping(config)
        return {"seed": values["seed"], **{name: values.get(name, {}) for name in sections}}

    return settings


def _finetune_settings(config: RunConfig) -> dict[str, Any]:
    """Model, task and fine-tuning, with the content of local files in the place of their paths."""
    settings: dict[str, Any] = _settings("model", "task", "finetune")(config)
    folder = Path(config.model.source).expanduser()
    if folder.is_dir():
        settings["model"]["content"] = _folder_digest(folder, "*.safetensors", "*.json")
    name = glue.canonical_name(config.task.name)
    if config.task.glue_dir is not None and name is not None:
        del settings["task"]["glue_dir"]
        settings["task"]["content"] = _folder_digest(
            Path(config.task.glue_dir).expanduser() / glue.GLUE_TASKS[name].folder, "*.tsv"
        )
    return settings


def _folder_digest(folder: Path, *patterns: str) -> str:
    files = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return digest({path.name: file_digest(path) for path in files})


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
        "majority": _majority(task),
        "history": list(result.history),
    }
    return [DENSE, context.run.write_json("results/finetune.json", summary)]


def _majority(task: Task) -> float | None:
    """Primary metric, in percent, of always answering the most frequent class of the train set; None for scores."""
    if task.regression:
        return None
    counts = np.bincount([int(example.label) for example in task.train], minlength=task.num_labels)
    logits = np.tile(np.eye(task.num_labels)[counts.argmax()], (len(task.dev), 1))
    labels = np.array([example.label for example in task.dev])
    return compute_metrics(task.metrics, logits, labels, regression=False)[task.primary_metric]


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
    model, _, _ = _load(context, PRUNED)
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
            name=name,
            progress=context.progress,
        )
        image.save(context.run.path / _image_path(name))
        report = mapping_report(image)
        schemes.append(
            {
                "name": name,
                "description": describe_protection(protection),
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
    return [
        *(_image_path(name) for name in config.map.schemes),
        context.run.write_json("results/mapping.json", summary),
    ]


def _do_faults(context: Context[RunConfig]) -> Sequence[str]:
    """Every scheme meets the same silicon: a chip is as large as the largest image needs."""
    config = context.config
    crossbars = max(scheme["chip_crossbars"] for scheme in context.run.read_json("results/mapping.json")["schemes"])
    chips = []
    total = len(config.faults.rates) * config.faults.chips
    for rate in config.faults.rates:
        for chip in range(config.faults.chips):
            context.progress("draw fault maps", len(chips), total)
            fault_map = FaultMap.sample(
                config.chip.crossbar.rows,
                config.chip.crossbar.columns,
                crossbars,
                rate,
                seed_sequence(config.seed, "faults", f"{rate:g}", chip),
                config.faults.sa0_sa1,
            )
            path = f"faults/rate-{rate:g}-chip-{chip}.safetensors"
            fault_map.save(context.run.path / path)
            chips.append(
                {
                    "file": path,
                    "rate": rate,
                    "chip": chip,
                    "faults": len(fault_map.cells),
                    "stuck_at_1": int(fault_map.stuck_at.sum()),
                    "content_hash": fault_map.content_hash,
                }
            )
    summary = {"crossbars": crossbars, "sa0_sa1": list(config.faults.sa0_sa1), "chips": chips}
    return [*(chip["file"] for chip in chips), context.run.write_json(FAULTS, summary)]
