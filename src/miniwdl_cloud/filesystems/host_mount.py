"""A filesystem that the instances mount themselves, such as FSx for Lustre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import VOLUME_NAME, mount_point


@dataclass(frozen=True)
class HostMount:
    """A filesystem at the same path on every instance and in every container.

    Parameters
    ----------
    mount
        That path.
    """

    mount: str

    def volumes(self) -> list[dict[str, Any]]:
        """The host's directory; EC2 only, as Fargate has no host volumes."""
        return [{"name": VOLUME_NAME, "host": {"sourcePath": self.mount}}]

    def mount_points(self) -> list[dict[str, Any]]:
        """The directory at its own path."""
        return [mount_point(self.mount)]

    @property
    def owner(self) -> str | None:
        """Nobody: users are what they are."""
        return None

    def directory(self, name: str, path: str) -> dict[str, Any]:
        """The directory, which is at the same path on the instance."""
        return {"name": name, "host": {"sourcePath": path}}
