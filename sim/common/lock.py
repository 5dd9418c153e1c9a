"""A lock that one process holds, also on file systems that have none."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from crossvote.sim.common.errors import Notice, UserError
from crossvote.sim.common.files import writing
from crossvote.sim.common.later import Later

if TYPE_CHECKING:
    import filelock
else:
    filelock = Later("filelock")  # who only looks at a run holds no lock

_ABSENT = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


@contextmanager
def held(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock file ``path`` for this process; it is free again when the process ends, however it ends.

    Where the file system has no locks (Lustre without ``flock``), the existence of a file beside it is the lock, and a
    warning says so.

    Raises:
        UserError: another process holds it, with the sentence ``refusal``. StorageError: the file cannot be made.
    """
    with writing(path):
        try:
            lock = _acquired(filelock.FileLock(path, timeout=0), path)
        except filelock.Timeout:
            raise UserError(refusal) from None
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: filelock.BaseFileLock, path: Path) -> filelock.BaseFileLock:
    try:
        lock.acquire()
        return lock
    except NotImplementedError:
        pass
    except OSError as error:
        if isinstance(error, filelock.Timeout) or error.errno not in _ABSENT:
            raise
    warnings.warn(
        f"{path}: this file system has no locks; a marker file takes their place, so do not work on it from two hosts.",
        Notice,
        stacklevel=4,
    )
    soft = filelock.SoftFileLock(path.with_name(f"{path.name}.held"), timeout=0)
    soft.acquire()
    return soft
