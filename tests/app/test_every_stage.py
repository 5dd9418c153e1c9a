"""What every stage of a run has to bear: a run that was moved, a folder that is read-only, a disk that fills."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from all_commands import call

from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.work import chosen_stages

STAGES = [stage.name for stage in chosen_stages("report")]


def contents(run: Path) -> dict[str, bytes]:
    """Every file that is a result, by its name."""
    folders = ("results", "report", "images", "faults", "model", "pruned")
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for folder in folders
        for path in sorted((run / folder).rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_of_a_moved_run_bears_a_full_and_a_read_only_disk(
    workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Each is a sentence; nothing is lost by it, and in the end the results are the same bytes."""
    run = tmp_path / "elsewhere" / "moved"
    shutil.copytree(workplace.folder / "run", run)
    monkeypatch.chdir(tmp_path)
    before = contents(run)
    (run / paths.record(stage)).unlink()
    records = {path: path.read_bytes() for path in (run / paths.RECORDS).iterdir()}
    own = {path.name for path in (run / paths.RECORDS).glob(f"{stage}.*")}
    replace = os.replace

    for number in (errno.EROFS, errno.ENOSPC):
        # A read-only folder takes no file at all, a disk that fills takes none of the stage's own.
        barred = run if number == errno.EROFS else run / paths.WORK / stage

        def refusing(source: str | Path, target: str | Path, number: int = number, barred: Path = barred) -> None:
            if Path(target).absolute().is_relative_to(barred):
                raise OSError(number, os.strerror(number))
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", refusing)
            result = call(f"crossvote run {run}")
        assert result.exit_code == 2, result.output
        assert f"cannot be written ({os.strerror(number)})" in result.stderr
        assert len(result.stderr.splitlines()[-1:]) == 1
        assert "Traceback" not in result.output
        kept = {path: path.read_bytes() for path in (run / paths.RECORDS).iterdir() if path.name not in own}
        assert kept == {path: text for path, text in records.items() if path.name not in own}
        assert not (run / paths.record(stage)).exists()
        assert contents(run) == before

    done = call(f"crossvote run {run}")
    assert done.exit_code == 0, done.output
    assert contents(run) == before
