"""How inputs reach a task: as links in its working directory."""

from __future__ import annotations

import errno
import functools
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..filesystems.weather import retried
from ..miniwdl_compat import log_message as _

_ENOTSUPP = 524
"""What Linux's NFS client answers for an operation that its server does not have (Linux,
include/linux/errno.h and fs/nfs_common); Python's `errno` has no name for it."""
CANNOT_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, _ENOTSUPP)
"""What a filesystem answers that cannot link these two: another filesystem, EFS's 177 links to a
file, hard links forbidden or unknown, as S3 Files has none."""


def provide(input_path_map: Mapping[str, str], work_dir: str, logger: logging.Logger) -> None:
    """Make every input appear where the command expects it.

    Parameters
    ----------
    input_path_map
        From host path to path in the container; directories end in a slash.
    work_dir
        The task's working directory; inputs mapped to somewhere else are used where they are.
    """
    inside = work_dir.rstrip("/") + "/"
    made: set[Path] = set()
    for host, container in input_path_map.items():
        if not container.startswith(inside):
            continue
        target = Path(container)
        if target.parent not in made:
            parent = target.parent
            retried(functools.partial(parent.mkdir, parents=True, exist_ok=True), parent)
            made.add(target.parent)
        if host.endswith("/"):
            logger.info(_("rebuilding a directory under its own name", input=host))
            shutil.copytree(host, target, copy_function=_link_or_copy_retried, dirs_exist_ok=True)
        else:
            retried(functools.partial(_link, target, host), target)


def _link(target: Path, host: str) -> None:
    target.unlink(missing_ok=True)
    target.symlink_to(host)


def _link_or_copy_retried(source: str, target: str) -> str:
    retried(functools.partial(link_or_copy, source, target), Path(target))
    return target


def link_or_copy(source: str, target: str) -> None:
    """Make a file a hard link of another, or a copy where that cannot be."""
    try:
        os.link(os.path.realpath(source), target)
    except FileExistsError:
        # An earlier try that failed for nothing but its answer, or an earlier attempt's.
        Path(target).unlink()
        link_or_copy(source, target)
    except OSError as exn:
        if exn.errno not in CANNOT_LINK:
            raise
        shutil.copy2(source, target)
