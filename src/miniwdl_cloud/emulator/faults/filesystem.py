"""Faults of the shared filesystem: what a job sees in place of its mounts.

The process executor mounts nothing, as its jobs see the directory itself. So such a job gets a
mount namespace of its own (mount_namespaces(7)), in which something else is mounted over it.
"""

from __future__ import annotations

import dataclasses
import os

from ..executors.base import ContainerSpec

MISSING, FULL = "missing", "full"
SPELLINGS = (MISSING, FULL)

# Both take the mount points and, after "--", the command.
_MISSING = """
for t; do
  [ "$t" != -- ] || break
  mount -t tmpfs -o size=4k,ro none "$t" || exit 99
done
"""
_UNTIL = """
{ sleep %s; for t; do [ "$t" != -- ] || break; umount -l "$t"; done; } >/dev/null 2>&1 &
"""
# The old content below, and no room for anything new above it (overlayfs, kernel documentation).
_FULL = """
for t; do
  [ "$t" != -- ] || break
  full=$(mktemp -d "$TMPDIR/full.XXXXXX") && mount -t tmpfs -o size=16k none "$full" || exit 99
  mkdir "$full/above" "$full/work" || exit 99
  cat /dev/zero > "$full/filler" 2>/dev/null
  mount -t overlay -o "lowerdir=$t,upperdir=$full/above,workdir=$full/work" none "$t" || exit 99
done
"""
_RUN = """
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


def disturbed(spec: ContainerSpec, spelling: str, seconds: float | None) -> ContainerSpec:
    """A process whose shared filesystem is not as it should be.

    Parameters
    ----------
    spec
        What is to run; it has mounts.
    spelling
        `MISSING`: an empty directory is in its place. `FULL`: nothing can be written to it.
    seconds
        For so long it is missing; ``None`` for ever.
    """
    script = _FULL if spelling == FULL else _MISSING
    if spelling == MISSING and seconds is not None:
        script += _UNTIL % seconds
    # Root may mount; anybody else may in a user namespace, where the kernel allows that.
    namespaces = ("--mount",) if os.geteuid() == 0 else ("--map-root-user", "--mount")
    targets = [mount.target for mount in spec.mounts]
    command = (
        "unshare",
        *namespaces,
        "sh",
        "-c",
        script + _RUN,
        "sh",
        *targets,
        "--",
        *spec.command,
    )
    return dataclasses.replace(spec, command=command)
