"""Amazon EFS, mounted by ECS for each job through an access point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import VOLUME_NAME, mount_point


@dataclass(frozen=True)
class Efs:
    """An EFS file system.

    Parameters
    ----------
    mount
        Mount point in every container.
    file_system_id
        ``fs-…``
    access_point_id
        ``fsap-…``; without one the file system's root is mounted, and file permissions are between
        the containers' users.
    """

    mount: str
    file_system_id: str
    access_point_id: str | None = None

    def volumes(self) -> list[dict[str, Any]]:
        """The EFS volume. An access point needs encryption in transit (API reference,
        EFSVolumeConfiguration)."""
        efs: dict[str, Any] = {
            "fileSystemId": self.file_system_id,
            "transitEncryption": "ENABLED",
        }
        if self.access_point_id:
            efs["authorizationConfig"] = {"accessPointId": self.access_point_id}
        return [{"name": VOLUME_NAME, "efsVolumeConfiguration": efs}]

    def mount_points(self) -> list[dict[str, Any]]:
        """The whole file system (or what the access point shows of it) at the mount point."""
        return [mount_point(self.mount)]
