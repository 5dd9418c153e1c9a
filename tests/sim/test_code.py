"""The digest of code changes when something that is run does, and only then."""

from __future__ import annotations

import pytest

from crossvote.sim.common.code import Sources

FILES = {
    "__init__.py": "",
    "sim/__init__.py": "",
    "sim/common/__init__.py": "",
    "sim/common/files.py": "import crossvote.sim.plain\n",
    "sim/plain.py": "VALUE = 1\n",
    "sim/other.py": "VALUE = 1\n",
    "sim/typed.py": "VALUE = 1\n",
    "sim/kinds/__init__.py": "",
    "sim/kinds/one.py": "KIND = 1\n",
    "sim/tools/__init__.py": "import pkgutil\nNAMES = [m.name for m in pkgutil.iter_modules(__path__)]\n",
    "sim/tools/hammer.py": "KIND = 1\n",
    "sim/shim/__init__.py": "",
    "sim/shim/build.py": "TEXT = 'shim.cpp'\n",
    "sim/shim/shim.cpp": "int main() {}\n",
    "sim/root.py": (
        "from typing import TYPE_CHECKING\n"
        "from crossvote.sim import plain\n"
        "from crossvote.sim.common.files import x\n"
        "if TYPE_CHECKING:\n    from crossvote.sim import typed\n"
        "KINDS = Registry('kind', 'crossvote.sim.kinds')\n"
        "def late():\n    from .tools import NAMES\n    import crossvote.sim.shim.build\n"
    ),
    "sim/user.py": "from crossvote.sim import root\n",
}


@pytest.fixture
def digest(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSVOTE_CACHE_DIR", str(tmp_path / "cache"))
    for name, text in FILES.items():
        path = tmp_path / "crossvote" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def measure(**changes):
        for name, text in changes.items():
            (tmp_path / "crossvote" / "sim" / f"{name.replace('__', '/')}.py").write_text(text)
        return Sources(tmp_path / "crossvote").digest(["crossvote.sim.root"])

    return measure


def test_equal_code_is_equal_also_from_the_cache_or_without_one(digest, tmp_path):
    first = digest()
    assert (tmp_path / "cache" / "code.json").is_file()
    assert digest() == first
    (tmp_path / "cache" / "code.json").write_text("{ broken")
    assert digest() == first


@pytest.mark.parametrize("name", ["plain", "kinds__one", "tools__hammer", "shim__build", "root"])
def test_what_is_imported_in_any_way_counts(digest, name):
    before = digest()
    assert digest(**{name: (FILES["sim/root.py"] if name == "root" else "") + "VALUE = 2\n"}) != before


def test_files_beside_the_modules_count(digest, tmp_path):
    before = digest()
    (tmp_path / "crossvote" / "sim" / "shim" / "shim.cpp").write_text("int main() { return 1; }\n")
    assert digest() != before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("other", "VALUE = 2\n"),
        ("typed", "VALUE = 2\n"),
        ("user", "VALUE = 2\n"),
        ("common__files", "VALUE = 2\n"),
        ("plain", '"""A docstring."""\n\n# and a remark\nVALUE = 1\n'),
    ],
)
def test_what_decides_nothing_does_not_count(digest, name, text):
    before = digest()
    assert digest(**{name: text}) == before


def test_a_root_that_is_no_module_is_a_mistake_of_the_program(tmp_path):
    with pytest.raises(KeyError):
        Sources(tmp_path).digest(["crossvote.nothing"])
