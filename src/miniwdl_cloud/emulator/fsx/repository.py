"""Files between a directory that stands for a Lustre file system and the embedded S3."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.s3.models import s3_backends

from ..batch.models import ACCOUNT_ID
from .store import FileSystem, Link

KEY_MAX = 1024
"""Bytes of an object key; FSx exports no file whose key would be longer (FSx for Lustre user guide,
"Exporting changes to the data repository")."""

FileFault = Callable[[str], "str | None"]
"""Asked of each file, by its path in the file system, before it is copied: the error code that it
fails with, or ``None``."""


@dataclass(frozen=True)
class Failure:
    """A file that could not be copied: its path, and the code that the report gives."""

    path: str
    code: str


class InvalidPath(Exception):
    """A path of a task is not in the file system, or in no link of it."""


def files_of(file_system: FileSystem, paths: list[str]) -> list[str]:
    """The files and links of these paths, relative to the file system, each once.

    Raises
    ------
    InvalidPath
        One does not exist, or leads out of the file system.
    """
    found: dict[str, None] = {}
    root = file_system.directory
    for path in paths or [""]:
        relative = os.path.normpath(path.lstrip("/") or ".")
        if relative.startswith("..") or not os.path.lexists(root / relative):
            raise InvalidPath(path)
        # The parents must be real: FSx resolves nothing.
        if (root / relative).parent.resolve() != (root.resolve() / relative).parent:
            raise InvalidPath(path)
        for name in _below(root, relative):
            found[name] = None
    return list(found)


def _below(root: Path, relative: str) -> Iterator[str]:
    path = root / relative
    if path.is_symlink() or not path.is_dir():
        yield relative
        return
    for entry in sorted(path.iterdir()):
        yield from _below(root, entry.name if relative == "." else f"{relative}/{entry.name}")


def export(file_system: FileSystem, links: list[Link], relative: str, fault: FileFault) -> str:
    """Copy one file to S3, unless it is there as it is.

    Returns
    -------
    str
        The error code that it failed with; empty if it is there now.
    """
    code = fault(relative)
    if code:
        return code
    target = next(((k, link) for link in links if (k := link.key(relative)) is not None), None)
    if target is None:
        return "InternalError"
    key, link = target
    try:
        if len(key.encode()) > KEY_MAX:
            return "PathSizeTooLong"
    except UnicodeEncodeError:
        return "S3Error"
    path = file_system.directory / relative
    try:
        entry = path.lstat()
        changed = (entry.st_mtime_ns, entry.st_size)
        if file_system.exported.get(relative) == changed:
            return ""
        if stat.S_ISLNK(entry.st_mode):
            content = os.fsencode(path.readlink())
        elif stat.S_ISREG(entry.st_mode):
            content = path.read_bytes()
        else:
            return "OperationNotPermitted"
    except OSError:
        return "InternalError"
    backend = _s3()
    if link.bucket not in backend.buckets:
        return "S3AccessDenied"
    made = backend.put_object(link.bucket, key, content)
    # FSx for Lustre user guide, "POSIX metadata support for data repositories".
    made.set_metadata(
        {
            "x-amz-meta-file-permissions": f"0{entry.st_mode:o}",
            "x-amz-meta-file-owner": str(entry.st_uid),
            "x-amz-meta-file-group": str(entry.st_gid),
            "x-amz-meta-file-atime": f"{entry.st_atime_ns}ns",
            "x-amz-meta-file-mtime": f"{entry.st_mtime_ns}ns",
        }
    )
    file_system.exported[relative] = changed
    return ""


def import_all(file_system: FileSystem, links: list[Link], locations: list[str]) -> list[Failure]:
    """Make the files of objects that the file system lacks. FSx makes their metadata only, and
    fetches content when it is read; here it is there at once.

    Parameters
    ----------
    locations
        ``s3://`` locations to import; none means all that is linked.
    """
    failures = []
    backend = _s3()
    for link in links:
        if link.bucket not in backend.buckets:
            continue
        for key, item in list(backend.buckets[link.bucket].keys.items()):
            location = f"s3://{link.bucket}/{key}"
            wanted = not locations or any(location.startswith(given) for given in locations)
            below = key[len(link.prefix) :]
            if not wanted or not key.startswith(link.prefix) or not below or below.endswith("/"):
                continue
            relative = f"{link.path}/{below}".lstrip("/")
            if os.path.normpath(relative) != relative or relative.startswith("../"):
                failures.append(Failure(key, "S3ObjectPathNotPosixCompliant"))
                continue
            path = file_system.directory / relative
            if not os.path.lexists(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(item.value)
                entry = path.lstat()
                file_system.exported[relative] = (entry.st_mtime_ns, entry.st_size)
    return failures


def write_report(location: str, task_id: str, name: str, failures: list[Failure]) -> None:
    """Put a completion report where it belongs (FSx for Lustre user guide, "Working with task
    completion reports")."""
    bucket, _, prefix = location[len("s3://") :].partition("/")
    backend = _s3()
    if bucket in backend.buckets:
        rows = "".join(f"{_field(item.path)},failed,{item.code}\n" for item in failures)
        key = "/".join(part for part in (prefix.strip("/"), task_id, name) if part)
        backend.put_object(bucket, key, rows.encode(errors="replace"))


def _field(path: str) -> str:
    if path[:1] in ("@", "+", "-", "="):
        path = f'"{path}"'
    if '"' in path or "," in path:
        escaped = path.replace('"', '""')
        return f'"{escaped}"'
    return path


def _s3() -> Any:
    return s3_backends[ACCOUNT_ID]["aws"]
