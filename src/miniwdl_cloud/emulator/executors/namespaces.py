"""Directories of the shared filesystem, and no others of it, for a command of the process executor.

A mount namespace of the command's own hides the filesystem and shows these directories at their
places. This makes paths come out as in a container. It is no barrier: the command is a process of
this machine and may be root.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .base import Mount

_SETUP = """
set -e
stage=$1 hidden=$2 n=$3
shift 3
mount -t tmpfs none "$stage"
for ((i = 0; i < n; i++)); do
  mkdir "$stage/$i"
  mount --bind "${@:3*i+1:1}" "$stage/$i"
done
mount -t tmpfs -o mode=755 none "$hidden"
for ((i = 0; i < n; i++)); do
  target=${@:3*i+2:1}
  mkdir -p "$target"
  mount --bind "$stage/$i" "$target"
  if [ "${@:3*i+3:1}" = ro ]; then mount -o remount,bind,ro "$target"; fi
done
umount --lazy --recursive "$stage"
shift $((3 * n))
exec "$@"
"""


def are_parts(mounts: Sequence[Mount], filesystem: Path) -> bool:
    """Whether what a container mounts is parts of the shared filesystem, not the whole."""
    return bool(mounts) and all(filesystem in Path(mount.target).parents for mount in mounts)


def why_not(mounts: Sequence[Mount]) -> str | None:
    """Why these directories cannot be shown, if they cannot."""
    for mount in mounts:
        if not mount.source.is_dir():
            return f"there is no directory {mount.source}."
    if not _available():
        return (
            "the process executor can show a task parts of the filesystem only where it is root and"
            " may make mount namespaces; start the embedded AWS so, or with --executor docker."
        )
    return None


def entering(mounts: Sequence[Mount], filesystem: Path, stage: Path) -> list[str]:
    """Arguments to put before a command.

    Parameters
    ----------
    mounts
        What it sees.
    filesystem
        The shared filesystem, of which it sees nothing else.
    stage
        An empty directory outside it.
    """
    arguments = []
    # One within another comes after it.
    for mount in sorted(mounts, key=lambda m: (m.target.count("/"), m.target)):
        arguments += [str(mount.source), mount.target, "ro" if mount.read_only else "rw"]
    unshare = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _SETUP, "setup"]
    return [*unshare, str(stage), str(filesystem), str(len(mounts)), *arguments]


@functools.cache
def _available() -> bool:
    if not (shutil.which("unshare") and shutil.which("mount")):
        return False
    trial = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "mount",
        "-t",
        "tmpfs",
        "none",
        "/mnt",
    ]
    try:
        done = subprocess.run(trial, capture_output=True, stdin=subprocess.DEVNULL, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
