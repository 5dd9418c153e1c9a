"""Imports point down: swstack to sim to rtl, and inside each from the upper room to the lower, without a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Rooms from top to bottom; a module imports from its own room and from lower ones only.
ORDER = (
    "swstack.cli",
    "swstack.experiment",
    "swstack.report",
    "swstack.evaluation",
    "swstack.inference",
    "swstack.mapping",
    "swstack.pruning",
    "swstack.training",
    "swstack.tasks",
    "swstack.models",
    "sim.system",
    "sim.peripheral",
    "sim.array",
    "sim.chip",
    "sim.kernel",
    "sim.common",
    "rtl",
)
MODULES = {
    ".".join((*path.relative_to(ROOT).with_suffix("").parts,)): path
    for package in ("swstack", "sim", "rtl")
    for path in (ROOT / package).rglob("*.py")
}


def room(module: str) -> str:
    """The room of a module, named without ``crossvote``."""
    package, _, rest = module.partition(".")
    return package if package == "rtl" or not rest else f"{package}.{rest.split('.')[0]}"


def imported(path: Path) -> set[str]:
    """Modules of CrossVote that a file imports anywhere, those for type checkers included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            inner = name.removeprefix("crossvote.")
            if name != inner and inner.split(".")[0] in ("swstack", "sim", "rtl"):
                found.add(inner if inner in MODULES or f"{inner}.__init__" in MODULES else inner.rpartition(".")[0])
    return found


def test_every_file_has_a_room():
    homeless = {name for name in MODULES if room(name) not in ORDER} - {"swstack.__init__", "sim.__init__"}
    assert homeless == set()


@pytest.mark.parametrize("package", ["swstack", "sim", "rtl"])
def test_no_import_points_upwards(package):
    upwards = [
        f"{module} imports {target}"
        for module, path in MODULES.items()
        if module.split(".")[0] == package and room(module) in ORDER
        for target in sorted(imported(path))
        if ORDER.index(room(target)) < ORDER.index(room(module))
    ]
    assert upwards == []


def test_no_two_modules_import_each_other_in_a_circle():
    graph = {module.removesuffix(".__init__"): imported(path) for module, path in MODULES.items()}
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a circle: {' -> '.join((*path[path.index(module) :], module))}"
        if module in finished:
            return
        for target in graph.get(module, ()):
            if target != module:
                visit(target, (*path, module))
        finished.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    ("package", "foreign"), [("sim", ("torch", "transformers")), ("rtl", ("torch", "simpy", "numpy"))]
)
def test_lower_packages_know_nothing_of_the_upper_ones_libraries(package, foreign):
    offenders = []
    for module, path in MODULES.items():
        if module.split(".")[0] != package:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            offenders += [f"{module}: {name}" for name in names if name.split(".")[0] in foreign]
    assert offenders == []
