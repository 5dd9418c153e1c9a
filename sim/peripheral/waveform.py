"""Waveforms that a person can read: every signal once, by a name of its own, and a view of what matters for GTKWave.

Amaranth's simulator gives a port that is wired to a port of its parent a second signal in the parent's scope, called
``name$3``; the tidied file keeps what is known by a proper name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crossvote.sim.common.files import write_text_atomic

_SUFFIX = re.compile(r"\$\d+")
#: What Amaranth calls the ports of a memory, which have no name.
_NAMELESS = "$signature"
#: GTKWave's flags of a trace: one bit; several bits in hexadecimal; a comment, which heads a group.
_BIT, _HEX, _COMMENT = "@28", "@22", "@200"
#: Signals of the top scope that are shown, by group; a name stands for its fields, too.
_SHOWN = {
    "clock and reset": ("clk", "rst"),
    "codes in": ("i__valid", "i__ready", "i__payload"),
    "outputs": ("o__valid", "o__ready", "o__payload"),
    "registers": ("bus__address", "bus__write", "bus__write_data", "bus__read", "bus__read_data", "bus__error"),
    "banks": ("bank", "read_bank", "full", "pending", "commit"),
}


@dataclass(frozen=True)
class _Variable:
    """A declaration of the signal ``code`` in a scope."""

    scope: tuple[str, ...]
    kind: str
    width: int
    code: str
    name: str

    @property
    def proper(self) -> bool:
        return "$" not in self.name

    @property
    def base(self) -> str:
        """The name without what is not one."""
        return _SUFFIX.sub("", self.name).replace(_NAMELESS, "port")


@dataclass
class _Scope:
    """A scope with its declarations and the scopes inside, in order."""

    name: str
    variables: list[_Variable] = field(default_factory=list)
    inner: list[_Scope] = field(default_factory=list)

    def walk(self) -> Iterator[_Variable]:
        yield from self.variables
        for scope in self.inner:
            yield from scope.walk()


def _parse(text: str) -> tuple[list[str], _Scope, list[str]]:
    """(lines before the first scope, the scopes under a nameless one, lines after the declarations)."""
    head, root = [], _Scope("")
    lines, stack = iter(text.splitlines()), [root]
    for line in lines:
        words = line.split()
        if words[:1] == ["$scope"]:
            stack[-1].inner.append(_Scope(words[2]))
            stack.append(stack[-1].inner[-1])
        elif words[:1] == ["$upscope"]:
            stack.pop()
        elif words[:1] == ["$var"]:
            path = tuple(scope.name for scope in stack[1:])
            stack[-1].variables.append(_Variable(path, words[1], int(words[2]), words[3], " ".join(words[4:-1])))
        elif words[:1] == ["$enddefinitions"]:
            break
        else:
            head.append(line)
    return head, root, list(lines)


def _changed(line: str) -> str:
    """The signal whose value a line changes; empty for other lines."""
    if line[:1] in ("b", "r", "s"):
        return line.split()[-1]
    return line[1:] if line[:1] in ("0", "1", "x", "z") else ""


def _histories(changes: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Every (time, value) of every signal."""
    found: dict[str, list[tuple[str, str]]] = {}
    now = ""
    for line in changes:
        if line.startswith("#"):
            now = line
        elif code := _changed(line):
            found.setdefault(code, []).append((now, line[: len(line) - len(code)]))
    return found


def _names(root: _Scope, changes: Iterable[str]) -> dict[_Variable, str]:
    """What each declaration is called that stays."""
    every = list(root.walk())
    names = {variable: variable.name for variable in every if variable.proper}
    codes = {variable.code for variable in names}
    beside = {(variable.scope, variable.name): variable.code for variable in names}
    history = _histories(changes)
    for variable in every:
        if variable.code in codes:
            continue
        base = variable.base
        twin = beside.get((variable.scope, base))
        if twin is not None and history.get(twin) == history.get(variable.code):
            continue
        number, name = 2, base
        while (variable.scope, name) in beside:
            number, name = number + 1, f"{base}_{number}"
        beside[variable.scope, name] = variable.code
        names[variable] = name
        codes.add(variable.code)
    return names


def _declared(scope: _Scope, names: dict[_Variable, str]) -> Iterator[str]:
    for v in scope.variables:
        if v in names:
            yield f"$var {v.kind} {v.width} {v.code} {names[v]} $end"
    taken: set[str] = set()
    for inner in scope.inner:
        base = name = _SUFFIX.sub("", inner.name)
        number = 2
        while name in taken:
            number, name = number + 1, f"{base}_{number}"
        taken.add(name)
        yield f"$scope module {name} $end"
        yield from _declared(inner, names)
        yield "$upscope $end"


def tidied(text: str) -> str:
    """A VCD with every signal once.

    What another scope knows by a proper name is left out, and so is what always equals the signal of the same name
    beside it; what is left with a number for a name gets one that no other has.
    """
    head, root, changes = _parse(text)
    names = _names(root, changes)
    codes = {variable.code for variable in names}
    kept = [line for line in changes if not (code := _changed(line)) or code in codes]
    return "\n".join([*head, *_declared(root, names), "$enddefinitions $end", *kept]) + "\n"


def view(text: str, waveform: str) -> str:
    """A GTKWave save file for a tidied VCD called ``waveform``: clock, streams, registers and banks of the top part."""
    _, root, _ = _parse(text)
    top = root.inner[0].inner[0]
    lines = [f'[dumpfile] "{waveform}"', "[timestart] 0", f"[treeopen] {'.'.join(top.variables[0].scope)}."]
    for group, wanted in _SHOWN.items():
        lines += [_COMMENT, f"-{group}"]
        for variable in top.variables:
            plain = variable.name.removeprefix("\\")
            if plain in wanted or plain.split(".")[0] in wanted:
                span = f"[{variable.width - 1}:0]" if variable.width > 1 else ""
                path = ".".join((*variable.scope, variable.name))
                lines += [_HEX if variable.width > 1 else _BIT, f"{path}{span}"]
    return "\n".join(lines) + "\n"


def finish_waveform(raw: Path, waveform: Path) -> tuple[Path, Path]:
    """Make of a simulator's file a tidied one and a view beside it; ``raw`` is removed. Returns both."""
    text = tidied(raw.read_text(encoding="utf-8"))
    save = waveform.with_suffix(".gtkw")
    write_text_atomic(waveform, text)
    write_text_atomic(save, view(text, waveform.name))
    raw.unlink()
    return waveform, save
