"""Steps on a shared filesystem, which now and then refuses for a moment what it does the next.

Network filesystems are seen through caches, and their servers are replaced under way. What one
client has just written or renamed may be missing for another (ENOENT; miniwdl-aws#21: EFS with 500
tasks and more), a handle may be stale (ESTALE; Linux NFS FAQ, A10), a soft mount that waited in
vain answers EIO or ETIMEDOUT (nfs(5), `soft`), and a Lustre client that its server has evicted EIO
or ESHUTDOWN (Lustre operations manual, "Client eviction"). So a step is tried again for about three
seconds, and no longer: whatever else is wrong should be known soon.
"""

from __future__ import annotations

import contextlib
import errno
import time
import uuid
from collections.abc import Callable, Container
from pathlib import Path
from typing import TypeVar

from ..errors import FilesystemFull

PASSING = frozenset(
    {
        errno.ENOENT,
        errno.ESTALE,
        errno.EAGAIN,
        errno.EIO,
        errno.ETIMEDOUT,
        errno.ESHUTDOWN,
    }
)
"""What may pass by itself."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What says that there is no room left."""
PAUSES = (0.1, 0.3, 0.8, 1.8)
"""Seconds between the tries of a step."""

_T = TypeVar("_T")


def retried(
    step: Callable[[], _T],
    where: Path,
    passing: Container[int | None] = PASSING,
    sleep: Callable[[float], None] | None = None,
) -> _T:
    """What a file step returns, once the filesystem does it.

    Parameters
    ----------
    step
        Must be safe to repeat, also after it took effect.
    where
        A path on the filesystem, for the message.
    passing
        Error numbers after which it is tried again.
    sleep
        Lets seconds pass.

    Raises
    ------
    FilesystemFull
        The filesystem, or a quota on it, is full.
    OSError
        The step failed otherwise, or five times.
    """
    for pause in (*PAUSES, None):
        try:
            return step()
        except OSError as exn:
            if exn.errno in FULL:
                raise full(where) from exn
            if pause is None or exn.errno not in passing:
                raise
        (sleep or time.sleep)(pause)
    raise AssertionError("unreachable")


def write_file_atomically(
    text: str, path: Path, sleep: Callable[[float], None] | None = None
) -> None:
    """Write a text and a line end under a temporary name, and rename the file.

    Raises
    ------
    FilesystemFull, OSError
        As of `retried`; the temporary file is gone then, if the filesystem lets it go.
    """
    temporary = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex}")

    def write() -> None:
        temporary.write_text(text + "\n")
        temporary.replace(path)

    try:
        retried(write, path, sleep=sleep)
    except (OSError, FilesystemFull):
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def awaited(
    look: Callable[[], _T | None], where: Path, sleep: Callable[[float], None] | None = None
) -> _T | None:
    """What a look at a file finds that has been written elsewhere, or `None` if it stays missing.

    Parameters
    ----------
    look
        Returns `None`, or raises a passing error, while the file is not there or not complete.
    where
        The file's directory, which is listed between two looks: that makes an NFS client ask its
        server what is in it.
    sleep
        Lets seconds pass.
    """
    for pause in (*PAUSES, None):
        try:
            found = look()
        except OSError as exn:
            if exn.errno not in PASSING:
                raise
            found = None
        if found is not None or pause is None:
            return found
        (sleep or time.sleep)(pause)
        try:
            list(where.iterdir())
        except OSError as exn:
            if exn.errno not in PASSING:
                raise
    return None


def full(where: Path) -> FilesystemFull:
    """The error that says that a filesystem has no room left.

    Parameters
    ----------
    where
        A path on it.
    """
    return FilesystemFull(
        f"The shared filesystem at {_mount_point(where)} is full, or a quota on it is used up;"
        " delete what is not needed there, or enlarge it, and run the workflow again.",
        {"path": str(where)},
    )


def _mount_point(path: Path) -> Path:
    """Where the filesystem of a path is mounted; the nearest directory that exists counts."""
    for place in (path, *path.parents):
        try:
            if place.is_mount():
                return place
        except OSError:
            continue
    return path
