"""What an isolated task's container sees of the shared filesystem: some directories, no more."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .base import DivisibleFilesystem, mount_point

PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9._=@+-]+)+")
"""Paths that can be a volume or a mount point: ECS passes them to Docker as ``source:target:ro``,
and to the mount helper of EFS, where blanks, colons and commas mean something."""

VOLUMES_MOST = 12 * 1024
"""Characters of JSON that a task's volumes may take up in its job definition, which is limited to
24 KiB as a whole (Batch user guide, "AWS Batch service quotas")."""


@dataclass(frozen=True)
class View:
    """A directory of the filesystem as a container sees it.

    Parameters
    ----------
    source
        Its path on the filesystem, below the mount point.
    target
        Its path in the container.
    read_only
        Whether the container may not change it.
    """

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True)
class IsolatedFilesystem:
    """The part of a shared filesystem that one task's container sees.

    Parameters
    ----------
    whole
        The filesystem.
    views
        What is seen of it.
    """

    whole: DivisibleFilesystem
    views: tuple[View, ...]

    @property
    def mount(self) -> str:
        """Where the filesystem is mounted."""
        return self.whole.mount

    @property
    def owner(self) -> str | None:
        """``uid:gid`` that the job has to run as, if it has to."""
        return self.whole.owner

    def volumes(self) -> list[dict[str, Any]]:
        """A volume for each directory."""
        return [
            self.whole.directory(f"view{i}", view.source) for i, view in enumerate(self._ordered())
        ]

    def mount_points(self) -> list[dict[str, Any]]:
        """A mount point for each; one within another comes after it."""
        return [
            mount_point(view.target, f"view{i}", view.read_only)
            for i, view in enumerate(self._ordered())
        ]

    @property
    def size(self) -> int:
        """Characters of JSON that volumes and mount points take up."""
        return len(json.dumps([self.volumes(), self.mount_points()]))

    def _ordered(self) -> list[View]:
        return sorted(self.views, key=lambda view: (view.target.count("/"), view.target))
