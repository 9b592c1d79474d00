"""Where in S3 the files of an FSx for Lustre file system belong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import settings as s
from ..errors import AccessDenied, ConfigurationError, NotFound, UsageError
from ..settings import Settings

if TYPE_CHECKING:
    from ..aws.fsx import Fsx
    from ..aws.s3 import S3Uri

EXPORT_PATH_FILE = ".s3_export_path"
"""File at the mount point that holds the S3 location, for who may not ask the FSx API; existing
deployments have it."""
MOUNTS = Path("/proc/self/mountinfo")


class NotLinked(ConfigurationError):
    """The file system is linked to no S3 location, as far as is known."""


@dataclass(frozen=True)
class Mount:
    """A mounted filesystem (proc(5), ``/proc/[pid]/mountinfo``).

    Parameters
    ----------
    kind
        Filesystem type, such as ``lustre``.
    source
        What is mounted: ``10.0.0.1@tcp:/mountname`` of FSx for Lustre.
    root
        The directory in it that is mounted.
    """

    kind: str
    source: str
    root: str

    @property
    def is_lustre(self) -> bool:
        """Whether it is Lustre."""
        return self.kind == "lustre"

    @property
    def mount_name(self) -> str:
        """The mount name of an FSx for Lustre file system."""
        return self.source.partition(":/")[2].partition("/")[0]

    @property
    def base(self) -> str:
        """The mounted directory, relative to the root of the Lustre file system."""
        fileset = self.source.partition(":/")[2].partition("/")[2]
        return f"{fileset.strip('/')}/{self.root.strip('/')}".strip("/")


@dataclass(frozen=True)
class Link:
    """A directory, relative to the file system's root, and the S3 folder linked to it."""

    path: str
    location: S3Uri

    def uri(self, inside: str) -> S3Uri | None:
        """Where a path of the file system belongs, or ``None`` if it is elsewhere."""
        from ..aws.s3 import S3Uri

        if self.path and inside != self.path and not inside.startswith(self.path + "/"):
            return None
        below = inside[len(self.path) :].lstrip("/")
        return S3Uri(self.location.bucket, self.location.folder().key + below)


@dataclass(frozen=True)
class Place:
    """A mounted file system and its links.

    Parameters
    ----------
    mount
        Mount point.
    links
        Directories that are linked to S3.
    file_system
        ``fs-…``, if it is known.
    base
        The mounted directory, relative to the root of the file system.
    is_lustre
        Whether it is mounted as Lustre.
    """

    mount: Path
    links: tuple[Link, ...]
    file_system: str | None = None
    base: str = ""
    is_lustre: bool = False

    def inside(self, relative: str) -> str:
        """A path relative to the mount point, as one relative to the file system's root."""
        return f"{self.base}/{relative}".strip("/")

    def link(self, relative: str) -> Link | None:
        """The link that a path relative to the mount point belongs to."""
        inside = self.inside(relative)
        return next((link for link in self.links if link.uri(inside) is not None), None)

    def uri(self, relative: str) -> S3Uri | None:
        """Where a path relative to the mount point belongs, if it is linked."""
        link = self.link(relative)
        return link.uri(self.inside(relative)) if link else None


def find_place(
    mount: Path, settings: Settings, fsx: Callable[[], Fsx], mounts: Path = MOUNTS
) -> Place:
    """The links of the file system that is mounted at a directory.

    By the FSx API where the file system is known, by setting or by what is mounted; else by the
    file `EXPORT_PATH_FILE`.

    Parameters
    ----------
    mount
        Mount point.
    fsx
        Makes a client of the FSx API.
    mounts
        The kernel's list of mounts.

    Raises
    ------
    NotLinked
        It is linked to nothing.
    ConfigurationError
        The file holds something else.
    NotFound
        The file system that the settings name does not exist.
    """
    mounted = mount_of(mount, mounts)
    is_lustre = mounted is not None and mounted.is_lustre
    base = mounted.base if mounted is not None and is_lustre else ""
    given = settings.get(s.FSX_FILE_SYSTEM)
    name = mounted.mount_name if mounted is not None and is_lustre else ""
    if given or name:
        try:
            file_system, links = _by_api(given, name, fsx())
        except AccessDenied:
            # The file may know what the API does not tell these credentials.
            file_system, links = given, ()
        if links:
            return Place(mount, links, file_system, base, is_lustre)
    else:
        file_system = None
    link = _by_file(mount, base)
    if link is None:
        raise NotLinked(
            f"No S3 location is known for {mount}; set {s.FSX_FILE_SYSTEM.env} to the id of an FSx"
            f" for Lustre file system that is linked to S3, or write the location into"
            f" {mount / EXPORT_PATH_FILE}."
        )
    return Place(mount, (link,), file_system, base, is_lustre)


def is_said_to_be_fsx(mount: Path, settings: Settings) -> bool:
    """Whether a setting, or the file there, says that files of a directory belong in S3."""
    return bool(settings.get(s.FSX_FILE_SYSTEM)) or (mount / EXPORT_PATH_FILE).is_file()


def may_be_fsx(mount: Path, mounts: Path = MOUNTS) -> bool:
    """Whether Lustre is mounted at a directory; AWS knows whether it is FSx."""
    mounted = mount_of(mount, mounts)
    return mounted is not None and mounted.is_lustre


def mount_of(path: Path, mounts: Path = MOUNTS) -> Mount | None:
    """What is mounted where a path is."""
    wanted = path.resolve()
    found, depth = None, -1
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split(" ")
        if "-" not in fields or fields.index("-") + 2 >= len(fields):
            continue
        after = fields[fields.index("-") + 1 :]
        point = Path(_plain(fields[4]))
        # Of several at one place the last one is on top.
        if wanted.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = Mount(after[0], _plain(after[1]), _plain(fields[3])), len(point.parts)
    return found


def mount_point_of(path: Path) -> Path:
    """The mount point that a path is below."""
    current = path.resolve()
    while not os.path.ismount(current) and current != current.parent:
        current = current.parent
    return current


def _by_api(given: str | None, name: str, fsx: Fsx) -> tuple[str | None, tuple[Link, ...]]:
    from ..aws.s3 import parse_s3_uri

    found = fsx.file_system(given) if given else fsx.by_mount_name(name)
    if found is None:
        if given:
            raise NotFound(
                f"There is no FSx for Lustre file system {given} in this account and Region;"
                f" correct {s.FSX_FILE_SYSTEM.env}."
            )
        return None, ()
    if found.export_path:
        return found.id, (Link("", parse_s3_uri(found.export_path).folder()),)
    return found.id, tuple(Link(a.path, a.location) for a in fsx.associations(found.id))


def _by_file(mount: Path, base: str) -> Link | None:
    from ..aws.s3 import parse_s3_uri

    path = mount / EXPORT_PATH_FILE
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exn:
        raise ConfigurationError(f"{path} cannot be read: {exn}; correct it.") from None
    try:
        return Link(base, parse_s3_uri(text).folder())
    except UsageError:
        raise ConfigurationError(
            f"{path} does not hold an S3 location such as s3://bucket/folder/; correct it."
        ) from None


def _plain(field: str) -> str:
    """A field without the octal escapes of blanks, tabs, newlines and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), field)
