"""Finding the configuration that a name means. Nothing heavy is loaded: a wrong name is answered at once."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import at_home, reading
from crossvote.swstack.experiment.run.paths import CONFIG


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with CrossVote, by name."""
    folder = resources.files("crossvote.swstack.experiment") / "presets"
    paths = [Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return {path.stem: path for path in sorted(paths)}


def whole_config(run: Path) -> Path:
    """A run's resolved configuration, in which every default is written out; an empty one would be read as defaults.

    Raises:
        UserError: nothing is in it.
    """
    path = run / CONFIG
    with reading(path, "configuration"):
        if not path.read_bytes().strip():
            raise UserError(f"{path}: is empty, so the run's configuration is lost; put it back, or name another run.")
    return path


def find_config(source: str) -> Path:
    """The TOML file meant by a shipped name, a path to a TOML file, or a run directory (its resolved one).

    Raises:
        UserError: it is none of them.
    """
    shipped = shipped_configs()
    if source in shipped:
        return shipped[source]
    path = at_home(source)
    if path.is_dir():
        if not (path / CONFIG).is_file():
            raise UserError(f"{source}: holds no {CONFIG}, so it is not a run directory.")
        return whole_config(path)
    if path.exists():  # a pipe will do as well as a file
        return path
    import difflib  # for a name that is wrong alone

    near = difflib.get_close_matches(source, shipped, n=1)
    raise UserError(
        f"{source}: neither a TOML file, a run directory nor one of the shipped configurations ({', '.join(shipped)})"
        f"{f'; did you mean {near[0]}?' if near else '.'}"
    )


def find_run_config(run: Path) -> Path:
    """``find_config`` of a run, also where its folder is named like a shipped configuration."""
    return find_config(str(run.absolute()))
