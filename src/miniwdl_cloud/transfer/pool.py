"""Many files to or from S3 at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from ..aws.s3 import S3, S3Uri
from ..errors import MiniwdlCloudError, Unreachable
from ..patience import patiently

FILES_AT_ONCE = 8
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
        Files under way at a time; files are read in parts, so memory does not grow with their
        size.
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
    _run_all(s3.upload_file, list(items), progress, stop, files_at_once, waiting)


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

    _run_all(download, list(items), progress, stop, files_at_once)


def _run_all(
    transfer: Callable[[Path, S3Uri, Callable[[int], None]], None],
    items: list[Item],
    progress: Progress | None,
    stop: threading.Event | None,
    files_at_once: int,
    waiting: Callable[[Unreachable], None] | None = None,
) -> None:
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

    pool = ThreadPoolExecutor(files_at_once, thread_name_prefix="transfer")
    try:
        left = {pool.submit(one, item) for item in items}
        while left:
            # A bounded wait lets the main thread run its signal handlers.
            done, left = wait(left, timeout=_LOOK_EVERY_S, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
    finally:
        abandoned.set()
        pool.shutdown(wait=True, cancel_futures=True)
