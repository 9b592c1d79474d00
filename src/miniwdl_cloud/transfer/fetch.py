"""Fetching what a URI names, for miniwdl's downloads and for `miniwdl-cloud fetch`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..aws.s3 import S3, ObjectInfo, parse_s3_uri
from ..errors import ConfigurationError, NotFound, UsageError
from .http import Http, name_of
from .pool import download_all

OnBytes = Callable[[int], None]


@dataclass(frozen=True)
class Found:
    """Something that can be fetched.

    Parameters
    ----------
    name
        The name that it gets here.
    size
        In bytes; ``None`` if unknown.
    fetch
        Fetches it into a directory; returns where it is. After a failure it may be called again,
        for what is missing. The callback is called, from any thread,
        with the bytes received since the last call, and what it raises ends it.
    """

    name: str
    size: int | None
    fetch: Callable[[Path, OnBytes], Path]


def look(uri: str, directory: bool, s3: Callable[[], S3], http: Callable[[], Http]) -> Found:
    """Find out what a URI names.

    Parameters
    ----------
    uri
        ``s3://``, ``https://`` or ``http://``.
    directory
        Whether it names a Directory.
    s3, http
        Make the clients.

    Raises
    ------
    NotFound
        It names nothing.
    UsageError
        There is no way to fetch such a URI.
    MiniwdlCloudError
        The service does not answer, or refuses.
    """
    scheme = uri.partition(":")[0]
    if scheme == "s3":
        return _s3_directory(uri, s3()) if directory else _s3_file(uri, s3())
    if scheme in ("http", "https") and not directory:
        client = http()
        name = name_of(uri)

        def fetch(into: Path, on_bytes: OnBytes) -> Path:
            client.fetch(uri, into / name, on_bytes)
            return into / name

        return Found(name, client.look(uri).size, fetch)
    kind = "directory" if directory else "file"
    raise UsageError(f"{uri} cannot be fetched as a {kind}; name an s3:// location.")


def _s3_file(uri: str, s3: S3) -> Found:
    source = parse_s3_uri(uri)
    found = s3.head(source) if source.key and not source.key.endswith("/") else None
    if found is None:
        raise NotFound(f"There is no object {uri}; correct its name.")
    _check_parts(uri, [source.name])

    def fetch(into: Path, on_bytes: OnBytes) -> Path:
        s3.download_file(source, into / source.name, on_bytes)
        return into / source.name

    return Found(source.name, found.size, fetch)


def _s3_directory(uri: str, s3: S3) -> Found:
    folder = parse_s3_uri(uri).folder()
    objects = list(s3.list_objects(folder))
    if not objects:
        raise NotFound(f"There are no objects below {folder}; correct its name.")
    name = folder.name or folder.bucket
    places = _places(uri, folder.key, objects)
    _check_parts(uri, [name])

    def fetch(into: Path, on_bytes: OnBytes) -> Path:
        base = into / name
        base.mkdir(parents=True, exist_ok=True)
        for marker in (path for path, info in places.items() if info.uri.key.endswith("/")):
            (base / marker).mkdir(parents=True, exist_ok=True)
        files = [
            (base / path, info.uri)
            for path, info in places.items()
            # What has its name is complete.
            if not info.uri.key.endswith("/") and not (base / path).exists()
        ]
        download_all(s3, files, lambda more_bytes, more_files: on_bytes(more_bytes))
        return base

    return Found(name, sum(info.size for info in objects), fetch)


def _places(uri: str, prefix: str, objects: list[ObjectInfo]) -> dict[PurePosixPath, ObjectInfo]:
    """Relative paths of the objects below a prefix; keys that end in ``/`` stand for folders."""
    places: dict[PurePosixPath, ObjectInfo] = {}
    for info in objects:
        relative = info.uri.key[len(prefix) :]
        parts = [part for part in relative.split("/") if part]
        _check_parts(uri, parts)
        path = PurePosixPath(*parts)
        if path in places and not relative.endswith("/"):
            raise ConfigurationError(
                f"Two objects below {uri} would both be the local file '{path}'; rename one."
            )
        places.setdefault(path, info)
    files = {path for path, info in places.items() if not info.uri.key.endswith("/")}
    for path in places:
        for parent in path.parents:
            if parent in files:
                raise ConfigurationError(
                    f"Below {uri}, '{parent}' is an object as well as the folder of '{path}', which"
                    " cannot be at once on a filesystem; rename one."
                )
    return places


def _check_parts(uri: str, parts: list[str]) -> None:
    for part in parts:
        if part in (".", "..") or "\0" in part:
            raise ConfigurationError(
                f"{uri} has an object whose name contains '{part!s}', which no local file may have;"
                " rename it."
            )
