"""How far a transfer is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from .pool import Progress

LINE_EVERY_S = 10.0


@contextmanager
def shown(
    doing: str,
    files: int,
    size: int,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Show progress while the context lasts.

    Parameters
    ----------
    doing
        What is done, for the label: "uploading outputs".
    files, size
        How many there are, and their bytes.
    stream
        Where to; standard error by default. On a terminal a bar, else lines of text.
    clock
        Seconds, for the pace of the lines.
    """
    stream = stream or sys.stderr
    if stream.isatty():
        with _bar(doing, files, size, stream) as progress:
            yield progress
    else:
        yield _Lines(doing, files, size, stream, clock)


@contextmanager
def _bar(doing: str, files: int, size: int, stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    lock = threading.Lock()
    done = 0
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
        transient=True,
    ) as bars:
        task = bars.add_task(f"{doing} 0/{files}", total=size)

        def advance(more_bytes: int, more_files: int) -> None:
            nonlocal done
            with lock:
                done += more_files
            bars.update(task, advance=more_bytes, description=f"{doing} {done}/{files}")

        yield advance


class _Lines:
    def __init__(
        self, doing: str, files: int, size: int, stream: TextIO, clock: Callable[[], float]
    ) -> None:
        self._doing, self._files, self._size = doing, files, size
        self._stream, self._clock = stream, clock
        self._lock = threading.Lock()
        self._done_bytes = self._done_files = 0
        self._last = clock()

    def __call__(self, more_bytes: int, more_files: int) -> None:
        with self._lock:
            self._done_bytes += more_bytes
            self._done_files += more_files
            now = self._clock()
            if now - self._last >= LINE_EVERY_S:
                self._last = now
                print(
                    f"{self._doing}: {self._done_files} of {self._files} files,"
                    f" {self._done_bytes / 1e6:.1f} of {self._size / 1e6:.1f} MB",
                    file=self._stream,
                    flush=True,
                )
