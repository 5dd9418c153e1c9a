"""What a piece of work computes, as a digest of the source of the modules it uses.

The modules are found by following the import statements, without running anything: those of the module itself and, in
turn, of every CrossVote module it imports. Comments and docstrings do not count. A module that imports others by name
(``import_module``, ``pkgutil``, a ``Registry`` of its own package) counts with all modules of its package, and so does
a package whose name it holds as text. Files beside the modules that are no Python (C++, templates, style sheets) count
where a module of their folder does.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from crossvote.sim.common.cache import add_to_table, read_table
from crossvote.sim.common.content import digest

PACKAGE = "crossvote"

#: Modules that carry results about without deciding any: storing, saying, configuring.
PLUMBING = tuple(
    f"{PACKAGE}.{name}"
    for name in (
        "swstack.cli",
        "swstack.experiment",
        "sim.common.cache",
        "sim.common.code",
        "sim.common.content",
        "sim.common.errors",
        "sim.common.files",
        "sim.common.keyed",
        "sim.common.later",
        "sim.common.lock",
        "sim.common.progress",
        "sim.common.records",
        "sim.common.registry",
        "sim.common.schema",
    )
)

_INSIDE_PLUMBING = tuple(f"{name}." for name in PLUMBING)

#: The table of modules that were read, in the cache folder.
_TABLE = "code"

_DATA = (".cpp", ".h", ".css", ".j2", ".json", ".v")
_BY_NAME = {"import_module", "iter_modules", "walk_packages", "__import__"}


@dataclass
class Sources:
    """The source files of the package at ``root``, each looked for and read once."""

    root: Path
    _names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _found: dict[str, str | None] = field(default_factory=dict)
    _data: dict[str, dict[str, str]] = field(default_factory=dict)
    _read: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    _cache: dict[str, list[Any]] | None = None
    _new: dict[str, list[Any]] = field(default_factory=dict)

    def digest(self, roots: Iterable[str]) -> str:
        """Digest of the modules named and of all they import, apart from the plumbing.

        Raises:
            KeyError: a root that is no module.
        """
        modules: dict[str, str] = {}
        waiting = list(roots)
        for name in waiting:
            if self._file(name) is None:
                raise KeyError(f"no module {name}")
        while waiting:
            name = waiting.pop()
            if name in modules:
                continue
            modules[name], used = self._module(name)
            waiting += used
        if self._new:
            add_to_table(_TABLE, self._new)
            self._new = {}
        folders = {file.rpartition("/")[0] for name in modules if (file := self._file(name))}
        data = {name: content for folder in folders for name, content in self._beside(folder).items()}
        return digest({"modules": modules, "data": data})

    def _beside(self, folder: str) -> dict[str, str]:
        """Digests of the files of a folder that are no Python."""
        if folder not in self._data:
            self._data[folder] = {
                inside: hashlib.sha256(self._text(inside)).hexdigest()
                for name in self._inside(folder)
                if name.endswith(_DATA)
                for inside in (f"{folder}/{name}".strip("/"),)
            }
        return self._data[folder]

    def _text(self, file: str) -> bytes:
        with open(f"{self.root}/{file}", "rb") as stream:
            return stream.read()

    @staticmethod
    def _is_plumbing(name: str) -> bool:
        return name in PLUMBING or name.startswith(_INSIDE_PLUMBING)

    def _file(self, name: str) -> str | None:
        """A module's file, relative to the root; plain text, for thousands of names are looked for, most of them no
        module.
        """
        if name not in self._found:
            self._found[name] = self._look(name)
        return self._found[name]

    def _look(self, name: str) -> str | None:
        package, _, inner = name.partition(".")
        if package != PACKAGE:
            return None
        folder, _, last = inner.replace(".", "/").rpartition("/")
        if last and f"{last}.py" in self._inside(folder):
            return f"{folder}/{last}.py".strip("/")
        if last and last not in self._inside(folder):  # a function or a class, as most names are
            return None
        own = f"{folder}/{last}".strip("/")
        return f"{own}/__init__.py".strip("/") if "__init__.py" in self._inside(own) else None

    def _inside(self, folder: str) -> tuple[str, ...]:
        """The names in a folder, sorted."""
        if folder not in self._names:
            try:
                self._names[folder] = tuple(sorted(os.listdir(f"{self.root}/{folder}")))
            except OSError:  # a file, or a folder that is not there
                self._names[folder] = ()
        return self._names[folder]

    def _siblings(self, name: str) -> list[str]:
        file = self._file(name)
        assert file is not None
        folder, _, last = file.rpartition("/")
        package = name if last == "__init__.py" else name.rpartition(".")[0]
        modules = (other[:-3] for other in self._inside(folder) if other.endswith(".py") and other != "__init__.py")
        return [f"{package}.{module}" for module in modules]

    def _module(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Digest of a module's code, and the CrossVote modules it uses, apart from the plumbing."""
        if name in self._read:
            return self._read[name]
        file = self._file(name)
        assert file is not None
        source = self._text(file)
        key = hashlib.sha256(source + f"{sys.version_info[:2]} {name} {_rules()}".encode()).hexdigest()
        cache = self._stored()
        entry = cache.get(key)
        if entry is None:
            tree = ast.parse(source)
            names = sorted(set(_imported(tree, name, file.endswith("__init__.py"))))
            by_name = any(_imports_by_name(node) for node in ast.walk(tree))
            entry = [hashlib.sha256(without_text(tree).encode()).hexdigest(), names, by_name]
            cache[key] = self._new[key] = entry
        content, names, by_name = entry
        existing: list[str] = []
        for other in names:
            if other.endswith(".*") and (found := self._file(other[:-2])) and found.endswith("__init__.py"):
                existing += self._siblings(other[:-2])
            elif self._file(other) is not None:
                existing.append(other)
        if by_name:
            existing += self._siblings(name)
        used = dict.fromkeys(other for other in existing if not self._is_plumbing(other))
        self._read[name] = (str(content), tuple(used))
        return self._read[name]

    def _stored(self) -> dict[str, list[Any]]:
        if self._cache is None:
            self._cache = read_table(_TABLE)
        return self._cache


@cache
def _rules() -> str:
    """What was read by other rules than those of this file is read again."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _imports_by_name(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Registry":
        return any(getattr(argument, "id", None) == "__name__" for argument in node.args)
    return getattr(node, "attr", getattr(node, "id", None)) in _BY_NAME


def _imported(tree: ast.AST, module: str, is_package: bool) -> list[str]:
    """Names that may be modules, of ``from a import b`` both ``a.b`` and ``a``; not those of annotations alone."""
    names: list[str] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(rf"{PACKAGE}(\.\w+)+", node.value)
        ):
            names += [node.value, f"{node.value}.*"]
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = parts[: len(parts) - node.level + is_package]
                base = ".".join([*kept, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == PACKAGE and name != PACKAGE]


def without_text(tree: ast.AST) -> str:
    """The code without comments and docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


@cache
def _installed() -> Sources:
    import crossvote

    assert crossvote.__file__ is not None
    return Sources(Path(crossvote.__file__).parent)


@cache
def code_digest(*modules: str) -> str:
    """``Sources.digest`` of the CrossVote that is running; read once per process."""
    return _installed().digest(modules)
