"""By direct upload, where neither Lustre's archiving nor FSx's tasks can be had."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..aws.s3 import S3
from ..errors import MiniwdlCloudError
from .method import Item, Patience, Say

FILES_AT_ONCE = 8


class Upload:
    """Parallel upload.

    Parameters
    ----------
    s3
        Where to.
    patience
        Asked before each file, as its sleep may raise to end all.
    say
        Tells how it goes.
    """

    name = "upload"

    def __init__(self, s3: S3, patience: Patience, say: Say) -> None:
        self._s3 = s3
        self._patience = patience
        self._say = say

    def refusal(self, item: Item) -> str | None:
        """S3 takes any name that is UTF-8."""
        return None

    def archived(self, items: Sequence[Item]) -> None:
        """The file system does not know."""
        return

    def send(self, items: Sequence[Item]) -> dict[Item, str]:
        """Upload files, several at a time."""
        failures: dict[Item, str] = {}
        pool = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="fsx-upload")
        try:
            for done, (item, problem) in enumerate(
                zip(items, pool.map(self._one, items), strict=True), 1
            ):
                if problem:
                    failures[item] = problem
                if done % 500 == 0:
                    self._say(f"uploaded {done} of {len(items)} files")
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return failures

    def _one(self, item: Item) -> str | None:
        self._patience.sleep(0)
        path = item.file.path
        try:
            # A task may have put a link in its place, or in place of a directory above it, since
            # the path was found to be canonical. What is open now is what is sent.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as exn:
            return f"it cannot be read ({exn.strerror})"
        try:
            opened = Path(f"/proc/self/fd/{descriptor}")
            if opened.readlink() != path:
                return "it was moved or replaced by a link meanwhile"
            self._s3.upload_file(opened, item.uri)
        except MiniwdlCloudError as exn:
            return exn.message.replace(f"/proc/self/fd/{descriptor}", str(path))
        except OSError as exn:
            return f"it cannot be read ({exn.strerror})"
        finally:
            os.close(descriptor)
        return None
