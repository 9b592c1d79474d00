"""Many files to or from S3 at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from ..aws.s3 import IN_MEMORY_BYTES, S3, S3Uri
from ..errors import MiniwdlCloudError, Unreachable
from ..patience import patiently

FILES_AT_ONCE = 8
"""Files under way at a time; each may be several requests at a time."""
SMALL_AT_ONCE = 32
"""Small files to upload under way at a time, beside the others: each is one request, most of whose
time is waiting for S3, and is held in memory."""
_LOOK_EVERY_S = 0.2

Item = tuple[Path, S3Uri]


Progress = Callable[[int, int], None]
"""Is told, from any thread, of so many more bytes and so many more complete files."""


class Stopped(Exception):
    """The transfer ended early because its ``stop`` event was set."""


def upload_all(
    s3: S3,
    items: Iterable[Item],
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    files_at_once: int = FILES_AT_ONCE,
    waiting: Callable[[Unreachable], None] | None = None,
) -> None:
    """Upload files; returns when all are there.

    Parameters
    ----------
    items
        Pairs of a local file and where it goes.
    progress
        Is told how it goes.
    stop
        Set it from another thread to end early.
    files_at_once
        Files under way at a time that are larger than `aws.s3.IN_MEMORY_BYTES`. They are read in
        parts, so memory does not grow with their size.
    waiting
        If given, an outage is waited for (`patience.patiently`), and this is told of its beginning,
        from any thread and for each file that meets it.

    Raises
    ------
    MiniwdlCloudError
        The first error that a file met, after the other transfers have stopped.
    Stopped
        ``stop`` was set before all were done.
    """
    small: list[Item] = []
    large: list[Item] = []
    for item in items:
        (small if _is_small(item[0]) else large).append(item)
    # The large ones first: they take longest.
    groups = [(large, files_at_once), (small, SMALL_AT_ONCE)]
    _run_all(s3.upload_file, groups, progress, stop, waiting)


def download_all(
    s3: S3,
    items: Iterable[Item],
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    files_at_once: int = FILES_AT_ONCE,
) -> None:
    """Download objects; like `upload_all` with the pairs read the other way."""

    def download(path: Path, uri: S3Uri, on_bytes: Callable[[int], None]) -> None:
        s3.download_file(uri, path, on_bytes)

    _run_all(download, [(list(items), files_at_once)], progress, stop)


def _is_small(path: Path) -> bool:
    try:
        return path.stat().st_size <= IN_MEMORY_BYTES
    except OSError:
        # Its upload tells what is wrong with it.
        return False


def _run_all(
    transfer: Callable[[Path, S3Uri, Callable[[int], None]], None],
    groups: Sequence[tuple[list[Item], int]],
    progress: Progress | None,
    stop: threading.Event | None,
    waiting: Callable[[Unreachable], None] | None = None,
) -> None:
    """Transfer files, of each group so many at a time as it says."""
    stopped_from_outside = stop or threading.Event()
    abandoned = threading.Event()

    def over() -> bool:
        return abandoned.is_set() or stopped_from_outside.is_set()

    def check() -> None:
        if over():
            raise Stopped

    def once(item: Item) -> None:
        # Appended to from several threads.
        sent: list[int] = []

        def on_bytes(count: int) -> None:
            check()
            sent.append(count)
            if progress:
                progress(count, 0)

        check()
        try:
            transfer(*item, on_bytes)
        except MiniwdlCloudError:
            # botocore takes what on_bytes raises while it sends for an error of the network.
            check()
            if progress:
                progress(-sum(sent), 0)
            raise

    def one(item: Item) -> None:
        if waiting is None:
            once(item)
        else:
            try:
                patiently(lambda: once(item), over, waiting)
            except MiniwdlCloudError:
                check()
                raise
        if progress:
            progress(0, 1)

    pools = []
    try:
        left = set()
        for items, at_once in groups:
            if items:
                pool = ThreadPoolExecutor(at_once, thread_name_prefix="transfer")
                pools.append(pool)
                left |= {pool.submit(one, item) for item in items}
        while left:
            # A bounded wait lets the main thread run its signal handlers.
            done, left = wait(left, timeout=_LOOK_EVERY_S, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
    finally:
        abandoned.set()
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown(wait=True)
