"""What a method decides before training, kept on disk, so that an interrupted run need not decide again."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from crossvote.sim.common.progress import Progress
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.method import PruningMethod
from crossvote.swstack.tasks.encoded import Encoded
from crossvote.swstack.training.checkpoint import load_checkpoint, part_of, save_checkpoint
from crossvote.swstack.training.loop import fingerprint_of

_DECIDED = "decided.safetensors"

_MODEL, _METHOD = "model.", "method."


def decide_once(
    method: PruningMethod,
    model: PreTrainedModel,
    encoded: Encoded,
    cfg: PruneConfig,
    seed: int,
    work_dir: Path,
    progress: Progress,
) -> None:
    """``method.prepare``, or what it made of the same model, examples, settings and seed in ``work_dir`` before.

    Training finds its checkpoint by the model that it started from, so that model must come back bit for bit,
    with whatever number of threads it was solved.
    """
    path = Path(work_dir) / _DECIDED
    fingerprint = fingerprint_of(model, encoded, cfg, False, "decide", seed, 0)
    if path.is_file():
        tensors, state = load_checkpoint(path)
        if state["fingerprint"] == fingerprint:
            model.load_state_dict(part_of(tensors, _MODEL))
            method.restore(part_of(tensors, _METHOD))
            return
    method.prepare(model, encoded, seed, progress)
    tensors = {
        **{f"{_MODEL}{name}": tensor for name, tensor in model.state_dict().items()},
        **{f"{_METHOD}{name}": tensor for name, tensor in method.tensors().items()},
    }
    save_checkpoint(path, tensors, {"fingerprint": fingerprint})
