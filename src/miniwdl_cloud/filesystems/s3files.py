"""Amazon S3 Files: a bucket as a filesystem, mounted by ECS on Fargate for each job."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .base import VOLUME_NAME, mount_point, path_below

_FILE_SYSTEM = re.compile(r"arn:aws[-a-z]*:s3files:[-0-9a-z]+:\d+:file-system/fs-[0-9a-f]{17,40}")
_ACCESS_POINT = re.compile(rf"({_FILE_SYSTEM.pattern})/access-point/fsap-[0-9a-f]{{17,40}}")


def is_arn(text: str | None) -> bool:
    """Whether a setting names something of S3 Files: EFS and FSx are named by ids, it by ARNs."""
    return text is not None and re.match(r"arn:aws[-a-z]*:s3files:", text) is not None


def is_file_system(arn: str) -> bool:
    """Whether an ARN is that of a file system (botocore's model, `FileSystemArn`)."""
    return _FILE_SYSTEM.fullmatch(arn) is not None


def file_system_of(access_point_arn: str) -> str | None:
    """ARN of an access point's file system, ``None`` if that is no ARN of an access point
    (botocore's model, `AccessPointArn`)."""
    found = _ACCESS_POINT.fullmatch(access_point_arn)
    return found[1] if found else None


@dataclass(frozen=True)
class S3Files:
    """An S3 Files file system. Only Fargate can mount one (ECS developer guide, "Use S3 Files
    volumes with Amazon ECS"), with the permissions of the job's role.

    Parameters
    ----------
    mount
        Mount point in every container.
    file_system_arn
        ``arn:aws:s3files:…:file-system/fs-…``
    access_point_arn
        ``arn:aws:s3files:…:file-system/fs-…/access-point/fsap-…``, or ``None`` to mount the root.
    root
        The access point's root directory in the file system; ``None`` if it is not known.
    owner
        ``uid:gid`` of the access point's user, if it has one.
    """

    mount: str
    file_system_arn: str
    access_point_arn: str | None = None
    root: str | None = "/"
    owner: str | None = None

    def volumes(self) -> list[dict[str, Any]]:
        """The S3 Files volume, the same for Batch and ECS."""
        volume = {"fileSystemArn": self.file_system_arn}
        if self.access_point_arn:
            volume["accessPointArn"] = self.access_point_arn
        return [{"name": VOLUME_NAME, "s3filesVolumeConfiguration": volume}]

    def mount_points(self) -> list[dict[str, Any]]:
        """The whole file system (or what the access point shows of it) at the mount point."""
        return [mount_point(self.mount)]

    def directory(self, name: str, path: str) -> dict[str, Any]:
        """A directory by its path in the file system: with an access point, `rootDirectory` has to
        be left out (API reference, S3FilesVolumeConfiguration), so it is not mounted through one.

        Raises
        ------
        ConfigurationError
            The access point could not be looked up.
        """
        below = path_below(
            self.mount, self.root, path, self.access_point_arn, "s3files:GetAccessPoint"
        )
        volume = {"fileSystemArn": self.file_system_arn, "rootDirectory": below}
        return {"name": name, "s3filesVolumeConfiguration": volume}
