"""What a later stage would refuse, refused before the first one starts, on the real model and the real task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel

from crossvote.sim.common.errors import UserError
from crossvote.swstack.evaluation.cosimulation import find_matrices
from crossvote.swstack.experiment import paths
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import matrix_weight, word_line_groups
from crossvote.swstack.models.loading import load
from crossvote.swstack.pruning.axes import pruning_axes
from crossvote.swstack.tasks import load_task


def check_pending(config: RunConfig, directory: Path, pending: Sequence[str]) -> None:
    """Refuse what the ``pending`` stages would stumble over. A model or a task on the hub is fetched here.

    Raises:
        UserError: a model or task that is absent or broken, a family that cannot be mapped, a share that cannot be
            pruned, a protection that the weights or the crossbars have no room for, a matrix that does not exist.
    """
    needs_model = {"finetune", "prune", "map", "cosim"}.intersection(pending)
    needs_task = {"finetune", "score-dense", "prune", "score-pruned", "eval", "cosim"}.intersection(pending)
    if not needs_model | needs_task:
        return
    task = load_task(config.task, config.seed)
    if not needs_model:
        return
    dense = directory / paths.DENSE
    source = (
        config.model if "finetune" in pending else ModelConfig(source=str(dense.resolve()), layout=config.model.layout)
    )
    model, _ = load(source, task.head, config.seed)
    if "prune" in pending:
        pruning_axes(model, config.prune.column_sparsity, config.prune.row_sparsity)
    if "map" in pending:
        _check_mapping(model, config)
    if "cosim" in pending:
        find_matrices([name for group in word_line_groups(model) for name in group.matrices], config.cosim.matrices)


def _check_mapping(model: PreTrainedModel, config: RunConfig) -> None:
    """Map the smallest word-line group under every scheme: what fails there fails for all of them."""
    groups = word_line_groups(model)
    widest = max(matrix_weight(model, group.matrices[0]).shape[0] for group in groups)
    config.check_support(-(-widest // config.chip.crossbar.rows))
    smallest = min(groups, key=lambda group: sum(matrix_weight(model, name).numel() for name in group.matrices))
    for name, protection in config.protections().items():
        try:
            build_image(
                model,
                [smallest],
                None,
                protection,
                config.quantization,
                rows=config.chip.crossbar.rows,
                columns=config.chip.crossbar.columns,
                adc_bits=config.chip.adc.bits,
                input_bits=config.chip.opc.input_bits,
                cell_bits=config.chip.crossbar.cell_bits,
                name=name,
            )
        except UserError as error:
            raise UserError(f"scheme '{name}': {error}") from None
