"""Reading and writing files: all or nothing, and every failure one sentence that names the file.

No module opens a file for writing by itself; whoever has a library write it lets the library write to the path that
``replacing`` gives.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from crossvote.sim.common.errors import StorageError, UserError

#: How a Git LFS pointer begins, which stands for a file that was not fetched.
LFS_POINTER = b"version https://git-lfs.github.com/spec/"

_FULL = (errno.ENOSPC, errno.EDQUOT)


def at_home(path: str | Path) -> Path:
    """The path with ``~`` or ``~user`` at its front replaced by the home folder.

    Raises:
        UserError: there is no such user, or it is no path.
    """
    try:
        return Path(path).expanduser()
    except TypeError:
        raise UserError(f"{path!r} is no path.") from None
    except RuntimeError:
        raise UserError(f"{path}: there is no such user, so no home folder.") from None


def refused_by_machine(error: BaseException | None) -> bool:
    """Whether the machine did not take or give a file, so that nothing is wrong with what was asked for."""
    return isinstance(error, StorageError) or (
        isinstance(error, OSError) and error.errno in (*_FULL, errno.EFBIG, errno.EROFS, errno.EIO)
    )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in a sentence why ``path`` cannot be written, whatever in the block wanted to write it.

    Raises:
        StorageError: the system refused.
    """
    try:
        yield
    except OSError as error:
        advice = "make room and run the same command again." if error.errno in _FULL else "name a place that can be."
        raise StorageError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from None
    except Exception as error:  # what libraries in Rust make of the system's refusal
        if type(error).__name__ != "SafetensorError" and "os error" not in str(error):
            raise
        raise StorageError(f"{path}: cannot be written ({error}); is there room left on the disk?") from None


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made or written to, before the work whose result is to lie there.

    Raises:
        StorageError: it, or what it is to lie in, is a file or may not be written to.
    """
    whole = path.absolute()
    there = next(place for place in (whole, *whole.parents) if os.path.lexists(place))
    with writing(path):
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Say in a sentence that ``path`` is no proper ``kind`` file, whatever the block stumbled over in it.

    A sentence of the block itself stays and gets the file's name. Errors of a parser are bad input here, because the
    block does nothing but read one file.

    Raises:
        UserError: the file is absent, damaged or something else. StorageError: the system cannot read it.
    """
    try:
        yield
    except UserError as error:
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; a {kind} file is needed.") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except MemoryError:
        raise StorageError(f"{path}: too large for the memory that is free, or a damaged {kind} file.") from None
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: damaged {kind} file ({reason[:200]}).") from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and vanishes otherwise.

    Raises:
        StorageError: the system refused.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` holds either its old content or all of the new one.

    Raises:
        StorageError: the system refused, for example because the disk is full; the old content stands.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_together(documents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: they take their places only once each of them lies beside its own.

    Raises:
        StorageError: the system refused, for example because the disk is full; every old content stands.
    """
    with contextlib.ExitStack() as stack:
        for path, data in documents.items():
            stack.enter_context(replacing(path)).write_bytes(data)


def write_text_atomic(path: Path, text: str) -> None:
    """``write_bytes_atomic`` for UTF-8 text."""
    write_bytes_atomic(path, text.encode())
