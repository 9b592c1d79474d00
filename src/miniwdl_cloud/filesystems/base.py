"""What an engine needs to know of a shared filesystem."""

from __future__ import annotations

from typing import Any, Protocol

from ..errors import ConfigurationError


class SharedFilesystem(Protocol):
    """A filesystem that workflow job and task jobs share."""

    @property
    def mount(self) -> str:
        """Where it is mounted, in every container."""

    def volumes(self) -> list[dict[str, Any]]:
        """Members of `volumes` in Batch's containerProperties."""

    def mount_points(self) -> list[dict[str, Any]]:
        """Members of `mountPoints` in Batch's containerProperties."""


class DivisibleFilesystem(SharedFilesystem, Protocol):
    """A shared filesystem of which a job can also be given single directories."""

    @property
    def owner(self) -> str | None:
        """``uid:gid`` that a job runs as which is given single directories, where the filesystem as
        a whole makes every user that one; else ``None``."""

    def directory(self, name: str, path: str) -> dict[str, Any]:
        """A member of `volumes` that is one directory alone.

        Parameters
        ----------
        name
            The volume's name.
        path
            The directory, by its absolute path below the mount point.

        Raises
        ------
        ConfigurationError
            It cannot be told where the directory is.
        """


def path_below(
    mount: str, root: str | None, path: str, access_point: str | None, permission: str
) -> str:
    """Where a directory is in a file system, of which an access point shows a part.

    Parameters
    ----------
    mount
        Where the access point is mounted.
    root
        Its root directory in the file system, ``None`` if it is not known.
    path
        The directory, by its path below the mount point.
    access_point
        The access point's name for messages.
    permission
        The IAM action that tells the root.

    Raises
    ------
    ConfigurationError
        The root is not known.
    """
    if root is None:
        raise ConfigurationError(
            "Isolated tasks need to know the root directory of the access point"
            f" {access_point}; allow {permission}."
        )
    return f"{root.rstrip('/')}/{path.removeprefix(mount).strip('/')}"


VOLUME_NAME = "file_io_root"


def mount_point(path: str, name: str = VOLUME_NAME, read_only: bool = False) -> dict[str, Any]:
    """The mount point of a volume, by default the shared one, at a path."""
    return {"containerPath": path, "sourceVolume": name, "readOnly": read_only}
