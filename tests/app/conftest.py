"""A transformer small enough to run the whole pipeline in seconds, made without a network."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Path:
    """Directory of a two-layer BERT with random weights whose tokenizer knows the words of grammar-single."""
    from tiny_encoder import tiny_encoder
    from transformers import BertConfig, BertModel

    return tiny_encoder(tmp_path_factory.mktemp("models") / "tiny-bert", BertConfig, BertModel)


@pytest.fixture(scope="session")
def tiny_mpnet(tmp_path_factory) -> Path:
    """The same as an MPNet, whose scores have a relative position bias."""
    from tiny_encoder import tiny_encoder
    from transformers import MPNetConfig, MPNetModel

    return tiny_encoder(tmp_path_factory.mktemp("models") / "tiny-mpnet", MPNetConfig, MPNetModel)


@dataclass(frozen=True)
class Workplace:
    """A folder in which every command was called once: run/, other/ (its fork), c/ (a campaign), e/ (an exploration).

    answers: command -> what it wrote on standard output with ``--json``. Nothing in the folder may be changed.
    """

    folder: Path
    answers: dict[str, str]


@pytest.fixture(scope="session")
def workplace(tiny_bert, tmp_path_factory) -> Workplace:
    """All commands called in turn on one tiny run, once for all tests and for all workers of pytest-xdist."""
    pytest.importorskip("optuna")
    from all_commands import call_all

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, answers = shared / "commands", shared / "answers.json"
    with FileLock(shared / "commands.lock"):
        if not answers.is_file():
            folder.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                answers.write_text(json.dumps(call_all(folder, tiny_bert)), encoding="utf-8")
    return Workplace(folder, json.loads(answers.read_text(encoding="utf-8")))
