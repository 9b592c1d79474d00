"""What an engine needs to know of a shared filesystem."""

from __future__ import annotations

from typing import Any, Protocol


class SharedFilesystem(Protocol):
    """A filesystem that workflow job and task jobs share."""

    @property
    def mount(self) -> str:
        """Where it is mounted, in every container."""

    def volumes(self) -> list[dict[str, Any]]:
        """Members of `volumes` in Batch's containerProperties."""

    def mount_points(self) -> list[dict[str, Any]]:
        """Members of `mountPoints` in Batch's containerProperties."""


VOLUME_NAME = "file_io_root"


def mount_point(path: str) -> dict[str, Any]:
    """The mount point of the shared volume at a path."""
    return {"containerPath": path, "sourceVolume": VOLUME_NAME, "readOnly": False}
