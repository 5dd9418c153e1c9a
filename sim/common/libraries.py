"""Shared libraries that are compiled on the machine: the C++ compiler, and the cache of what it made.

A library appears in the cache atomically, so several processes may compile at the same time. One whose content is not
what was written (a full disk, a crash, a copy cut short) does not count: loading it would kill the process.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from crossvote.sim.common.cache import cache_folder
from crossvote.sim.common.errors import Notice, UserError
from crossvote.sim.common.files import write_text_atomic, writing

#: What the functions of a library return, and their arguments.
Signatures = Mapping[str, tuple[Any, Sequence[Any]]]


def find_compiler() -> list[str] | None:
    """Command of a C++ compiler: $CXX (with its arguments), a usual one on the PATH, the ``ziglang`` wheel, or None.

    Raises:
        UserError: CXX is set but names no program.
    """
    chosen = os.environ.get("CXX", "")
    try:
        command = shlex.split(chosen)
    except ValueError as error:
        raise UserError(f"CXX={chosen!r} cannot be split into a command and its arguments ({error}).") from None
    if command:
        if shutil.which(command[0]) is None:
            raise UserError(f"CXX={chosen!r}: there is no program '{command[0]}'; name a C++ compiler or unset CXX.")
        return command
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++", "-fno-sanitize=undefined"]
    return None


def library_folder() -> Path:
    """Where compiled libraries are kept between runs."""
    return cache_folder() / "libraries"


def compiled_library(source: Path, flags: Sequence[str]) -> Path:
    """Path of the shared library of one C++ source, compiled if it is not in the cache.

    Raises:
        UserError: there is no C++ compiler, it fails, or there is no room to compile.
    """
    compiler = find_compiler()
    if compiler is None:
        raise UserError("there is no C++ compiler: apt-get install g++, or pip install ziglang.")
    parts = [without_comments(source.read_text(encoding="utf-8")), *compiler, *flags, version_of(tuple(compiler))]

    def build(library: Path) -> None:
        with tempfile.TemporaryDirectory(dir=library.parent) as work:
            built = Path(work) / library.name
            command = [*compiler, *flags, "-shared", "-fPIC", "-pthread", str(source), "-o", str(built)]
            run_tool(command, source.name)
            keep(built, library)

    return kept(library_folder() / f"{source.stem}-{digest_of(parts)}.so", build)


def kept(library: Path, build: Callable[[Path], None]) -> Path:
    """``library`` if it is intact, or else where ``build`` put it: there, or where that cannot be written, with a
    warning, in a folder that lasts as long as the process.

    Raises:
        UserError: there is no room to compile; what ``build`` raises.
    """
    if not intact(library):
        library = writable_folder(library.parent) / library.name
        if not intact(library):
            with writing(library):
                build(library)
    return library


def without_comments(text: str) -> str:
    """C++ without comments and empty lines; strings keep what looks like one."""
    pattern = r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/'
    bare = re.sub(pattern, lambda found: found[0] if found[0][0] == '"' else " ", text, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in bare.splitlines() if line.strip())


def load_library(path: Path, signatures: Signatures) -> ctypes.CDLL:
    """A compiled library with its functions typed."""
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def optional_library(source: Path, flags: Sequence[str], signatures: Signatures, otherwise: str) -> ctypes.CDLL | None:
    """The functions of a C++ source, compiled if need be; None where there is no compiler, or where it fails, with a
    warning that begins with what is done ``otherwise``."""
    try:
        if find_compiler() is None:
            return None
        return load_library(compiled_library(source, flags), signatures)
    except (UserError, OSError) as error:
        warnings.warn(f"{otherwise}: {error}", Notice, stacklevel=3)
        return None


def intact(path: Path) -> bool:
    """Whether a file of the cache is there with the content that ``keep`` wrote."""
    try:
        state = path.stat()
        expected = _hash_file(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return False
    return _content(path, state.st_mtime_ns, state.st_size) == expected


@cache
def _content(path: Path, _changed_ns: int, _size: int) -> str:
    """SHA-256 of a file; read once per process as long as it does not change, because an encoder has many OPCs."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "unreadable"


def _hash_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def keep(built: Path, path: Path) -> None:
    """Move a file into the cache, its hash first: a process killed in between leaves a file that is not intact."""
    content = hashlib.sha256(built.read_bytes()).hexdigest()
    write_text_atomic(_hash_file(path), f"{content}\n")
    os.replace(built, path)


def writable_folder(folder: Path) -> Path:
    """``folder``, or where it cannot be written a folder of this process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        own = _folder_of_process()
        warnings.warn(
            f"A compiled library is not kept: {folder} cannot be written ({error.strerror or error}). Set "
            "CROSSVOTE_CACHE_DIR to a folder that can.",
            Notice,
            stacklevel=4,
        )
        return own


@cache
def _folder_of_process() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="crossvote-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def digest_of(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


@cache
def version_of(compiler: tuple[str, ...]) -> str:
    """What a compiler says of itself; asked once per process."""
    return run_tool([*compiler, "--version"], "anything")


def run_tool(command: list[str], what: str, environment: dict[str, str] | None = None) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except OSError as error:
        raise UserError(f"'{command[0]}' cannot be started to compile {what} ({error.strerror}).") from None
    if result.returncode:
        raise UserError(f"'{command[0]}' failed while compiling {what}: {result.stderr.strip()[-2000:]}")
    return result.stdout
