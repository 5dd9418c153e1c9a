"""What stands on a user's machine beside CrossVote does not matter to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", [["presets"], ["verilog", "--out", "verilog"]])
def test_own_packages_of_the_same_names_are_not_touched(tmp_path, command):
    """A chip team's folders sim/ and rtl/, their swstack.py and tb.py, first on the path and in the working folder."""
    for name in ("sim/__init__.py", "rtl/__init__.py", "swstack.py", "tb.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('a file of the user was imported')\n")
    done = subprocess.run(
        [sys.executable, "-m", "crossvote.swstack.cli.main", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.slow
def test_the_users_own_settings_of_pictures_are_for_others(tmp_path):
    """A back end that does not exist, and letters by a TeX that is not there: the command's pictures need neither."""
    (tmp_path / "mine").write_text("text.usetex: True\nfont.size: 40\n")
    script = (
        "import sys\nfrom crossvote.swstack.cli import main\nsys.argv = ['crossvote', '--version']\n"
        "try:\n    main.main()\nexcept SystemExit:\n    pass\n"
        "import matplotlib as m\nprint(m.get_backend(), m.rcParams['text.usetex'], m.rcParams['font.size'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "junk", "MATPLOTLIBRC": "mine"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == ["agg False 10.0"]
