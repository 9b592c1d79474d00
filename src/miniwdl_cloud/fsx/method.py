"""What the ways from FSx for Lustre to S3 have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..aws.s3 import S3Uri
from .files import SharedFile

Say = Callable[[str], None]
"""Tells a person how it goes, in a line."""


@dataclass(frozen=True)
class Item:
    """A file and where it goes."""

    file: SharedFile
    uri: S3Uri


class Unavailable(Exception):
    """This way is not to be had here; the text says why. Nothing was sent."""


class Method(Protocol):
    """A way from FSx for Lustre to S3."""

    @property
    def name(self) -> str:
        """As the setting ``[fsx_to_s3] method`` has it."""

    def refusal(self, item: Item) -> str | None:
        """Why a file cannot go this way at all, if so."""

    def archived(self, items: Sequence[Item]) -> set[Item] | None:
        """Which files the file system itself knows to be in S3 as they are; ``None`` if it cannot
        tell.

        Raises
        ------
        Unavailable
            This way is not to be had here.
        """

    def send(self, items: Sequence[Item]) -> dict[Item, str]:
        """Send files and wait until they are there.

        Returns
        -------
        dict[Item, str]
            Those that failed, and why.

        Raises
        ------
        Unavailable
            This way is not to be had here.
        """


@dataclass(frozen=True)
class Patience:
    """How long to wait, and by which clock.

    Parameters
    ----------
    limit_s
        Seconds without progress after which a wait ends.
    sleep, clock
        A way to let seconds pass, and monotonic seconds.
    """

    limit_s: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
