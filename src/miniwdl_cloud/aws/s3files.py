"""Amazon S3 Files: what is known of a file system that jobs will mount."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import NotFound
from .efs import AccessPoint
from .error_mapping import map_errors
from .session import AwsSession


@dataclass(frozen=True)
class S3FilesFileSystem:
    """An S3 Files file system.

    Parameters
    ----------
    arn
        ``arn:aws:s3files:…:file-system/fs-…``
    state
        Its `status`; only ``available`` ones can be mounted.
    """

    arn: str
    state: str


class S3FilesClient:
    """Amazon S3 Files in one Region."""

    def __init__(self, session: AwsSession) -> None:
        self._client = session.client("s3files")

    def file_system(self, arn: str) -> S3FilesFileSystem | None:
        """A file system by ARN, or ``None`` if there is none."""
        try:
            with map_errors(f"looking up the S3 Files file system {arn}"):
                found = self._client.get_file_system(fileSystemId=arn)
        except NotFound:
            return None
        return S3FilesFileSystem(found["fileSystemArn"], found["status"])

    def access_point(self, arn: str) -> AccessPoint | None:
        """An access point by ARN, or ``None`` if there is none."""
        try:
            with map_errors(f"looking up the S3 Files access point {arn}"):
                found = self._client.get_access_point(accessPointId=arn)
        except NotFound:
            return None
        user = found.get("posixUser")
        return AccessPoint(
            found["accessPointArn"],
            found["fileSystemId"],
            found["status"],
            found.get("rootDirectory", {}).get("path", "/"),
            f"{user['uid']}:{user['gid']}" if user else None,
        )
