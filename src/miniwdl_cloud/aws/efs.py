"""Amazon EFS: what is known of a file system that jobs will mount."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import NotFound
from .error_mapping import map_errors
from .session import AwsSession


@dataclass(frozen=True)
class AccessPoint:
    """An EFS access point.

    Parameters
    ----------
    id
        ``fsap-…``
    file_system_id
        ``fs-…``, the file system that it opens.
    state
        ``LifeCycleState`` of the API; only ``available`` ones can be mounted.
    root
        The directory of the file system that it opens.
    user
        ``uid:gid`` that it makes every user, if it does.
    """

    id: str
    file_system_id: str
    state: str
    root: str = "/"
    user: str | None = None


class Efs:
    """Amazon EFS in one Region."""

    def __init__(self, session: AwsSession) -> None:
        self._client = session.client("efs")

    def access_point(self, access_point_id: str) -> AccessPoint | None:
        """An access point by id, or ``None`` if there is none."""
        try:
            with map_errors(f"looking up the EFS access point {access_point_id}"):
                found = self._client.describe_access_points(AccessPointId=access_point_id)
        except NotFound:
            return None
        return next((_access_point(item) for item in found["AccessPoints"]), None)

    def access_points(self, file_system_id: str) -> list[AccessPoint]:
        """All access points of a file system."""
        with map_errors(f"looking up the access points of the EFS file system {file_system_id}"):
            pages = self._client.get_paginator("describe_access_points").paginate(
                FileSystemId=file_system_id
            )
            return [_access_point(item) for page in pages for item in page["AccessPoints"]]

    def file_system_exists(self, file_system_id: str) -> bool:
        """Whether this is the id of an EFS file system."""
        try:
            with map_errors(f"looking up the EFS file system {file_system_id}"):
                found = self._client.describe_file_systems(FileSystemId=file_system_id)
        except NotFound:
            return False
        return bool(found["FileSystems"])

    def delete_file_system(self, file_system_id: str) -> None:
        """Delete an EFS file system that nothing mounts; one that is gone is no error."""
        try:
            with map_errors(f"deleting the EFS file system {file_system_id}"):
                self._client.delete_file_system(FileSystemId=file_system_id)
        except NotFound:
            pass


def _access_point(item: Mapping[str, Any]) -> AccessPoint:
    user = item.get("PosixUser")
    return AccessPoint(
        item["AccessPointId"],
        item["FileSystemId"],
        item["LifeCycleState"],
        item.get("RootDirectory", {}).get("Path") or "/",
        f"{user['Uid']}:{user['Gid']}" if user else None,
    )
