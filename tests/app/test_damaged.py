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
    "sweep plan campaign.toml": ("campaign.toml", _CONFIG),
    "sweep run campaign.toml --dir c --engine serial": ("campaign.toml", "c/campaign.db"),
    "sweep status c": ("c/campaign.db",),
    "sweep export c --out tables": ("c/campaign.db",),
    "sweep resume c --engine serial": ("c/campaign.db",),
    "sweep retry c --engine serial": ("c/campaign.db",),
    "explore explore.toml --dir e": ("explore.toml", "e/study.db"),
}  # fmt: skip
#: Files that people write, in which another letter may be another wish, and part of which may be all that is wished.
#: Of SQLite's files a bit may lie in a page that is not in use.
_WRITTEN = (_CONFIG, "campaign.toml", "explore.toml")
#: What says nothing is a campaign of one trial with every key at its default.
_MAY_BE_EMPTY = ("campaign.toml",)
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
            if file in _MAY_BE_EMPTY:
                allowed.remove(empty)
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


RECORDS = (
    "stages/faults.json",
    "stages/map.json",
    "stages/faults.about.json",
    "results/mapping.json",
    "faults/chips.json",
)


@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage is not folder])  # which is not taken away
def test_what_can_be_made_again_is_said_to_be_outdated_and_is_made_again(place, damage):
    """Damaged records and results of a run end no command that can do without them, and the run mends itself."""
    for file in RECORDS:
        damage(place / "run" / file)
    shown = call("crossvote status run")
    assert shown.exit_code == 0, shown.output
    assert not any(
        line.split()[:2] == [stage, "finished"] for line in shown.stdout.splitlines() for stage in ("map", "faults")
    )
    listed = call("crossvote list .")
    assert (listed.exit_code, listed.stderr) == (0, "")
    branched = call("crossvote fork run new")
    assert branched.exit_code == 0, branched.output
    assert "prune" in branched.stdout
    assert "map" not in branched.stdout.split(";")[0]
    made = call("crossvote faults run")
    assert made.exit_code == 0, made.output
    assert (place / "run" / "faults" / "chips.json").read_bytes() == (
        place / "other" / "faults" / "chips.json"
    ).read_bytes()


def test_a_run_that_cannot_be_read_does_not_hide_the_others(place):
    other_kind(place / "run" / "config.toml")
    listed = call("crossvote list .")
    assert listed.exit_code == 0
    assert "other" in listed.stdout
    assert len(listed.stderr.splitlines()) == 1
    assert "run/config.toml" in listed.stderr


def test_one_flipped_bit_is_no_other_result(place):
    """A digit of a score, of a kept trial, or in a campaign's file."""
    score = place / "run" / "results" / "pruned.json"
    text = score.read_text()
    digit = text.index('"accuracy": ') + len('"accuracy": ')
    score.write_text(text[:digit] + ("8" if text[digit] != "8" else "9") + text[digit + 1 :])
    result = call("crossvote tables run --out tables")
    assert result.exit_code == 2
    assert "pruned.json: changed or damaged since the stage score-pruned left it" in result.stderr
    content = (place / "c" / "campaign.db").read_bytes()
    at = content.index(b'{"accuracy": ') + len(b'{"accuracy": ')
    (place / "c" / "campaign.db").write_bytes(content[:at] + b"1" + content[at + 1 :])
    result = call("crossvote sweep status c")
    assert result.exit_code == 2
    assert "a damaged campaign file (the trial" in result.stderr
