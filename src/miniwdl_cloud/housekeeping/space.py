"""Whether the shared filesystem has room for a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .. import settings as s
from ..errors import ConfigurationError
from ..settings import Settings


class Room(Protocol):
    """The part of `os.statvfs_result` that counts here."""

    @property
    def f_bavail(self) -> int:
        """Blocks that are free."""

    @property
    def f_frsize(self) -> int:
        """Bytes of a block."""

    @property
    def f_files(self) -> int:
        """Inodes in all; 0 where the filesystem has no limit."""

    @property
    def f_favail(self) -> int:
        """Inodes that are free."""


def check_space(
    directory: Path, settings: Settings, look: Callable[[Path], Room] = os.statvfs
) -> None:
    """Refuse a run that would begin on a filesystem that is nearly full.

    EFS says that 8 EiB are free and has no limit of inodes, so it never refuses.

    Parameters
    ----------
    directory
        On the filesystem.
    settings
        With the margins ``[aws] min_free_space_gib`` and ``min_free_inodes``.
    look
        Asks the filesystem.

    Raises
    ------
    ConfigurationError
        Less than a margin is free.
    """
    least_gib = settings.get(s.MIN_FREE_SPACE)
    least_inodes = settings.get(s.MIN_FREE_INODES)
    if least_gib <= 0 and least_inodes <= 0:
        return
    try:
        room = look(directory)
    except OSError:
        return  # what does not exist or answer is reported by whoever needs it
    free_gib = room.f_bavail * room.f_frsize / 2**30
    if free_gib < least_gib:
        raise ConfigurationError(
            f"Only {free_gib:,.1f} GiB are free on the filesystem of {directory}, less than the"
            f" margin of {least_gib:g} GiB ({s.MIN_FREE_SPACE.env}); make room with `miniwdl-cloud"
            " clean`, or enlarge it.",
            {"freeGiB": round(free_gib, 3)},
        )
    if room.f_files and room.f_favail < least_inodes:
        raise ConfigurationError(
            f"Only {room.f_favail:,} more files fit on the filesystem of {directory}, less than the"
            f" margin of {least_inodes:,} ({s.MIN_FREE_INODES.env}); make room with `miniwdl-cloud"
            " clean`.",
            {"freeInodes": room.f_favail},
        )
