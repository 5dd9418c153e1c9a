"""The base (rtl and sim, without PyTorch) under the other Pythons that the package admits, where they are installed."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Folders whose tests run there, of those files that need nothing but the base.
SUITES = ("tests/sim", "tests/rtl", "tests/system")
CLASSIFIER = "Programming Language :: Python :: "


def admitted() -> list[str]:
    """The Pythons that pyproject.toml names, but for the one that runs this."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [line.removeprefix(CLASSIFIER) for line in project["classifiers"] if line.startswith(CLASSIFIER)]
    return [version for version in named if version != f"{sys.version_info.major}.{sys.version_info.minor}"]


def interpreter(version: str) -> str | None:
    """A Python of this version: on the path, or one that pyenv holds; one that really starts."""
    held = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    for found in (*map(str, held), shutil.which(f"python{version}")):
        if (
            found
            and subprocess.run([found, "-c", "import ssl, venv"], capture_output=True, check=False).returncode == 0
        ):
            return found
    return None


def of_the_base(path: Path, base: set[str]) -> bool:
    """Whether a file of tests imports nothing but the base, its libraries and the standard library."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            parts = name.split(".")
            if parts[0] == "crossvote" and parts[1:2] not in ([], ["sim"], ["rtl"]):
                return False
            if parts[0] not in {"crossvote", *base, *sys.stdlib_module_names}:
                return False
    return True


def run(command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("version", admitted())
def test_the_base_passes_its_tests_beside_folders_of_the_same_names(version, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} is installed here")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("crossvote", "rtl", "sim", "swstack", "pyproject.toml", "README.md", "LICENSE"):
        run(["cp", "-a", ROOT / name, source / name])
    build = f"import setuptools.build_meta as b; print(b.build_wheel({str(tmp_path)!r}))"
    run([sys.executable, "-c", build], cwd=source)
    (wheel,) = tmp_path.glob("*.whl")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    run([python, "-m", "venv", tmp_path / "venv"], env=environment)
    own = tmp_path / "venv/bin/python"
    pip = [own, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
    run([*pip, wheel, "pytest", "hypothesis"], env=environment)
    work = tmp_path / "work"
    for name in ("sim", "rtl"):
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise RuntimeError('a folder of the user was imported')\n")
    (work / "swstack.py").write_text("raise RuntimeError('a file of the user was imported')\n")
    base = {"amaranth", "filelock", "matplotlib", "numpy", "platformdirs", "pydantic", "pydantic_core", "rich"}
    base |= {"safetensors", "simpy", "tomli_w", "typer", "pytest", "hypothesis"}
    files = []
    for suite in SUITES:
        shutil.copytree(ROOT / suite, work / suite, ignore=shutil.ignore_patterns("__pycache__"))
        files += [
            path.relative_to(work) for path in sorted((work / suite).glob("test_*.py")) if of_the_base(path, base)
        ]
    run(["cp", "-a", ROOT / "docs", work / "docs"])
    assert len(files) > 15
    code = "import crossvote, sys; print(crossvote.__file__, sys.version_info[:2])"
    where = run([own, "-c", code], cwd=work, env=environment)
    assert str(tmp_path / "venv") in where
    assert str(tuple(map(int, version.split(".")))) in where
    said = run([own, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files], cwd=work, env=environment)
    assert " passed" in said
    main = [own, "-m", "crossvote.swstack.cli.main"]
    assert "opc.v" in run([*main, "verilog", "--out", tmp_path / "verilog"], cwd=work, env=environment)
    assert "latency" in run(
        [*main, "simulate", "bert-base", "--tokens", "16", "--resolution", "matrix"], cwd=work, env=environment
    )
