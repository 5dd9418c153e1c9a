"""Every command that reads a run, a campaign or an exploration, with each of the files it reads damaged in turn."""

from __future__ import annotations

import shutil
from itertools import cycle
from pathlib import Path

import pytest
from all_commands import call


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def other_kind(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3)


def unreadable(path: Path) -> None:
    """A link to itself: opening it is refused by the system, whoever asks."""
    path.unlink()
    path.symlink_to(path.name)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = (empty, cut, flip, other_kind, unreadable, folder)

_CONFIG = "run/config.toml"
_MODEL = tuple(f"run/pruned/model/{name}" for name in ("config.json", "tokenizer.json", "model.safetensors"))
_STAGES = ("finetune", "dense", "pruning", "pruned", "mapping", "calibration", "accuracy", "cosimulation", "system")
_RESULTS = tuple(f"run/results/{name}.json" for name in _STAGES)

#: Command -> the files that it reads and without which it can do nothing.
READS = {
    "status run": (_CONFIG,),
    "fork run new": (_CONFIG,),
    "report run other --out page": (_CONFIG, *_RESULTS, "run/faults/chips.json"),
    "tables run --out tables": (_CONFIG, *_RESULTS[:4], "run/model/config.json", "run/model/model.safetensors"),
    "simulate run --stream 1 --resolution analytic": (
        _CONFIG, *_MODEL, "run/images/best.safetensors", "run/results/mapping.json",
    ),
    "systemc run --export-only --out systemc": (
        _CONFIG, *_MODEL, "run/images/best.safetensors", "run/faults/chips.json", "run/results/calibration.json",
    ),
    "sensitivity run --engine serial": (_CONFIG, "run/images/none.safetensors", "run/sensitivity/campaign.db"),
    "run run": (_CONFIG,),
    "report run": (_CONFIG,),
    "cosim run": (_CONFIG,),
    "compare run": (_CONFIG,),
    "ladder run": (_CONFIG,),
}  # fmt: skip
#: Files that people write, in which another letter may be another wish, and part of which may be all that is wished.
#: Of SQLite's files a bit may lie in a page that is not in use.
_WRITTEN = (_CONFIG,)
#: Damages of each file under each command.
_EACH = 2


def cells() -> list[tuple[str, str, tuple]]:
    """Every command with every file that it reads; the damages go round, so that each meets every kind of file."""
    turn = cycle(DAMAGES)
    found = []
    for command, files in READS.items():
        for file in files:
            whole = file in _WRITTEN or file.endswith(".db")
            allowed = [damage for damage in DAMAGES if not (whole and damage in (cut, flip))]
            chosen: list = []
            while len(chosen) < _EACH:
                damage = next(turn)
                if damage in allowed and damage not in chosen:
                    chosen.append(damage)
            found.append((command, file, tuple(chosen)))
    return found


def files_of(place: Path) -> dict[str, bytes]:
    """Everything in a folder that a command may not change when it refuses; locks and SQLite's own files may."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and path.name != ".lock" and not path.name.endswith(("-shm", "-wal"))
    }


@pytest.fixture
def place(workplace, tmp_path, monkeypatch) -> Path:
    shutil.copytree(workplace.folder, tmp_path / "place", symlinks=True)
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


@pytest.mark.parametrize(
    ("command", "file", "damages"), cells(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_damaged_file_is_one_sentence_and_nothing_changes(place, command, file, damages):
    whole = (place / file).read_bytes()
    for damage in damages:
        damage(place / file)
        before = files_of(place)
        result = call(f"crossvote {command}")
        assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1), (damage, result.output)
        assert "Traceback" not in result.output
        assert files_of(place) == before, damage
        (place / file).rmdir() if (place / file).is_dir() else (place / file).unlink()
        (place / file).write_bytes(whole)
