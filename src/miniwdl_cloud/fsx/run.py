"""All of `fsx_to_s3` in order: which files, where they belong, how they get there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .. import settings as s
from ..aws.fsx import Fsx
from ..aws.s3 import S3, S3Options
from ..aws.session import AwsSession
from ..errors import ConfigurationError
from ..settings import Settings
from .files import collect
from .method import Patience, Say
from .place import MOUNTS, find_place
from .write_back import Report, choose_methods, write_back


def check_linked(mount: Path, settings: Settings) -> None:
    """Ask AWS whether an FSx for Lustre file system that is linked to S3 is mounted.

    Raises
    ------
    MiniwdlCloudError
        It is not, or cannot be asked for.
    """
    session = AwsSession(settings.get(s.REGION), settings.get(s.BOTO3_RETRIES))
    find_place(mount, settings, lambda: Fsx(session))


def send(
    paths: Iterable[Path],
    mount: Path,
    settings: Settings,
    say: Say,
    growing: frozenset[Path] = frozenset(),
    sleep: Callable[[float], None] = time.sleep,
    mounts: Path = MOUNTS,
) -> Report:
    """Send files and directories of an FSx for Lustre file system to S3.

    Parameters
    ----------
    mount
        Where it is mounted.
    settings
        Region, file system, method.
    say
        Tells how it goes.
    growing
        Canonical paths of files that are still written to.
    sleep
        A way to let seconds pass; it may raise to end all.
    mounts
        The kernel's list of mounts.

    Raises
    ------
    MiniwdlCloudError
        Nothing could be sent.
    """
    if not mount.is_absolute() or mount.resolve() == Path("/"):
        raise ConfigurationError(
            f"{mount} cannot be where FSx for Lustre is mounted; name its mount point with --mount"
            f" or {s.FILE_IO_ROOT.env}."
        )
    # Before anything is asked of AWS: a wrong path is wrong without.
    collected = collect(paths, mount)
    session = AwsSession(settings.get(s.REGION), settings.get(s.BOTO3_RETRIES))

    def fsx() -> Fsx:
        return Fsx(session)

    s3 = S3(session, S3Options.of(settings))
    place = find_place(mount, settings, fsx, mounts)
    patience = Patience(settings.get(s.FSX_WAIT), sleep)
    methods = choose_methods(settings, place, fsx, s3, patience, say)
    return write_back(collected, place, methods, s3, patience, say, growing)
