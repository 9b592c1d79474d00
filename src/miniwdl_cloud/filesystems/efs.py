"""Amazon EFS, mounted by ECS for each job through an access point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import VOLUME_NAME, mount_point, path_below


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
    root
        The access point's root directory in the file system; ``None`` if it is not known.
    owner
        ``uid:gid`` of the access point's user, if it has one.
    iam
        Whether ECS mounts with the job role's permissions.
    """

    mount: str
    file_system_id: str
    access_point_id: str | None = None
    root: str | None = "/"
    owner: str | None = None
    iam: bool = False

    def volumes(self) -> list[dict[str, Any]]:
        """The EFS volume. An access point needs encryption in transit (API reference,
        EFSVolumeConfiguration)."""
        efs = self._volume()
        if self.access_point_id:
            efs["authorizationConfig"] = {
                "accessPointId": self.access_point_id,
                **efs.get("authorizationConfig", {}),
            }
        return [{"name": VOLUME_NAME, "efsVolumeConfiguration": efs}]

    def mount_points(self) -> list[dict[str, Any]]:
        """The whole file system (or what the access point shows of it) at the mount point."""
        return [mount_point(self.mount)]

    def directory(self, name: str, path: str) -> dict[str, Any]:
        """A directory by its path in the file system: with an access point, `rootDirectory` has to
        be left out (API reference, EFSVolumeConfiguration), so it is not mounted through one.

        Raises
        ------
        ConfigurationError
            The access point could not be looked up.
        """
        below = path_below(
            self.mount,
            self.root,
            path,
            self.access_point_id,
            "elasticfilesystem:DescribeAccessPoints",
        )
        efs = {**self._volume(), "rootDirectory": below}
        return {"name": name, "efsVolumeConfiguration": efs}

    def _volume(self) -> dict[str, Any]:
        efs: dict[str, Any] = {
            "fileSystemId": self.file_system_id,
            "transitEncryption": "ENABLED",
        }
        if self.iam:
            efs["authorizationConfig"] = {"iam": "ENABLED"}
        return efs
