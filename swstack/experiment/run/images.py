"""The images of a run, known by the hash that was recorded when they were made."""

from __future__ import annotations

from pathlib import Path

from crossvote.sim.array.image import Image
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.shell import command_line
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.records import Mapped, read_record


def recorded_image(run: Path, scheme: str) -> Image:
    """The image of a scheme in a run directory.

    Raises:
        UserError: absent, damaged, or not the one that the run made: another scheme's or another run's.
    """
    path = run / paths.image(scheme)
    if not path.is_file():
        raise UserError(f"{path}: no such image yet; make it with: {command_line('map', run)}")
    image = Image.load(path)
    record = RunDirectory(run).whole(paths.RESULTS["map"])
    entry = read_record(Mapped, record).scheme(scheme) if record.is_file() else None
    if entry is not None and entry.content_hash != image.content_hash:
        raise UserError(
            f"{path}: not the image that this run made of scheme '{scheme}' (it holds '{image.protection.get('name')}' "
            f"with hash {image.content_hash}, {record.name} records {entry.content_hash}); "
            f"make it again with: {command_line('map', run)}"
        )
    if entry is None and image.protection.get("name", scheme) != scheme:
        raise UserError(
            f"{path}: not the image of scheme '{scheme}' (it holds '{image.protection['name']}'); make it again with: "
            f"{command_line('map', run)}"
        )
    return image
