"""Directories that stand for EFS file systems and access points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moto.efs.models import efs_backends

from .batch.models import ACCOUNT_ID


class EfsDirectories:
    """Finds the directory of a file system that exists in moto's EFS.

    The first file system made after the start is the deployment's: it and its first access point
    are the shared filesystem's directory. Every other one gets a directory of its own.

    Parameters
    ----------
    filesystem
        The shared filesystem's directory.
    others
        Where the directories of other file systems are made.
    region
        Region of the file systems.
    """

    def __init__(self, filesystem: Path, others: Path, region: str) -> None:
        self._filesystem = filesystem
        self._others = others
        self._backend: Any = efs_backends[ACCOUNT_ID][region]
        self._before = frozenset(self._backend.file_systems_by_id)

    def resolve(
        self, file_system_id: str, access_point_id: str | None, root_directory: str = "/"
    ) -> Path:
        """The directory of a file system, or of one of its access points.

        Parameters
        ----------
        root_directory
            A directory below it that is meant; it may not exist.

        Raises
        ------
        LookupError
            There is no such file system, or it has no such access point.
        """
        backend = self._backend
        if file_system_id not in backend.file_systems_by_id:
            raise LookupError(f"Failed to resolve file system {file_system_id}")
        ours = [known for known in list(backend.file_systems_by_id) if known not in self._before]
        is_first = ours[:1] == [file_system_id]
        root = self._filesystem if is_first else self._others / file_system_id
        points = [
            point
            for point in list(backend.access_points.values())
            if point.file_system_id == file_system_id
        ]
        below = root_directory.strip("/")
        if access_point_id is None:
            directory = root
            if is_first and points:
                # The shared filesystem's directory stands for what its access point shows.
                below = _below(_path_of(points[0]), below)
        else:
            point = next((p for p in points if p.access_point_id == access_point_id), None)
            if point is None:
                raise LookupError(f"Failed to resolve access point {access_point_id}")
            path = _path_of(point)
            is_default = is_first and path == _path_of(points[0])
            directory = root if is_default else self._others / file_system_id / path
        directory.mkdir(parents=True, exist_ok=True)
        return directory / below


def _below(root: str, path: str) -> str:
    """A path relative to a directory, where it is in there."""
    return path[len(root) :].strip("/") if f"{path}/".startswith(f"{root}/") else path


def _path_of(point: Any) -> str:
    return str((point.root_directory or {}).get("Path") or "/").strip("/")
