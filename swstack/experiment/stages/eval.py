"""Measure every scheme on the same faulty chips."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from crossvote.sim.array.patterns import pattern_words
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.pipeline import Context, Stage
from crossvote.swstack.experiment.run.records import Accuracy, Calibration, Chips
from crossvote.swstack.experiment.run.sources import dev_source
from crossvote.swstack.experiment.stages.common import load_part, settings


def perform(context: Context[RunConfig]) -> Sequence[str]:
    from crossvote.sim.array.silicon import Silicon
    from crossvote.swstack.evaluation.chips import chips_for
    from crossvote.swstack.evaluation.evaluation import rows, sweep
    from crossvote.swstack.experiment.run.images import recorded_image
    from crossvote.swstack.experiment.stages.score import chance
    from crossvote.swstack.inference.embedding_faults import embedding_crossbars
    from crossvote.swstack.training.loop import best_device
    from crossvote.swstack.training.predict import evaluate

    run, config, crossbar = context.run, context.config, context.config.chip.crossbar
    dense, tokenizer, task = load_part(run.path, paths.DENSE, config)
    pruned, _, _ = load_part(run.path, paths.PRUNED, config)
    trained = config.fault_training.epochs > 0
    mapped = load_part(run.path, paths.TRAINED, config)[0] if trained else pruned
    images = {name: recorded_image(run.path, name) for name in config.map.schemes}
    table = embedding_crossbars(mapped, crossbar.rows, crossbar.columns) if config.faults.embeddings else 0
    silicon = [Silicon.of_record(chip) for chip in run.read(paths.CHIPS, Chips).chips]
    chips = chips_for(silicon, list(images.values()), table)
    fault_free = {}
    for name, model in {"dense": dense, "pruned": pruned, **({"trained": mapped} if trained else {})}.items():
        model.to(best_device())  # type: ignore[arg-type]
        metrics = evaluate(model, tokenizer, task, config.eval.batch_size, config.eval.limit, context.progress)
        fault_free[name] = metrics[task.primary_metric]
    result = sweep(
        mapped,
        tokenizer,
        task,
        images,
        chips,
        config.eval,
        config.quantization.activations,
        run.path / paths.TRIALS,
        context.progress,
        config.faults.embeddings,
        ReadModel.of_chip(config.chip, config.seed),
        run.read(paths.RESULTS["calibrate"], Calibration).steps,
    )
    trials = tuple(rows(result.trials))
    write_csv(context.out / paths.TRIAL_TABLE, trials)
    record = Accuracy(
        **result.conditions,
        metric=task.primary_metric,
        input_bits=config.chip.opc.input_bits,
        chips=config.faults.chips,
        sa0_sa1=config.faults.sa0_sa1,
        pattern=pattern_words(config.faults.pattern),
        chance=chance(task, tokenizer, config.eval.limit),
        fault_free=fault_free,
        points=tuple(dataclasses.asdict(point) for point in result.of_metric(task.primary_metric)),
        all_points=tuple(dataclasses.asdict(point) for point in result.points),
        trials=trials,
    )
    return [paths.TRIAL_TABLE, context.write(paths.RESULTS["eval"], record)]


STAGE = Stage[RunConfig](
    "eval",
    ("finetune", "prune", "fault-training", "map", "calibrate", "faults"),
    lambda config: {
        **settings(config, ("task", "quantization", "eval")),
        "embeddings": config.faults.embeddings,
        "schemes": list(config.map.schemes),
        "reads": to_mapping(ReadModel.of_chip(config.chip, config.seed)),
    },
    perform,
    lambda config: (dev_source(config),),
    (
        __name__,
        "crossvote.sim.array.image",
        "crossvote.swstack.experiment.stages.score",
        "crossvote.swstack.models.loading",
    ),
)
