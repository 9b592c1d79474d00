"""Local input files: found in the inputs, uploaded to the staging location, replaced by URIs.

An object's key holds the hash of its content, so that what is there already is not sent again, and
two files of one name do not meet. A directory is a prefix, named by the hash of its listing.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AccessDenied, UsageError
from .filesystem import is_under

if TYPE_CHECKING:
    from ..aws.s3 import S3, S3Uri

HASHING_THREADS = 4
LOOKUP_THREADS = 16
PROGRESS_PERIOD_S = 5.0


@dataclass(frozen=True)
class LocalInput:
    """An input that is a file or directory of this machine.

    Parameters
    ----------
    name
        Of the input, for messages.
    path
        Absolute.
    directory
        Whether it is a directory.
    """

    name: str
    path: Path
    directory: bool


@dataclass(frozen=True)
class Upload:
    """A file that the staging location must hold, and where."""

    path: Path
    uri: S3Uri
    size: int


class LocalInputs:
    """The local files and directories among the inputs of one run.

    Parameters
    ----------
    mount
        Mount point of the shared filesystem: paths below it are the workflow job's too.
    """

    def __init__(self, mount: str) -> None:
        self._mount = mount
        self._found: dict[str, LocalInput] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def absolute(self, text: str) -> str | None:
        """The absolute path, if a text is a path of this machine only: no URL, not on the mount."""
        if "://" in text or not text:
            return None
        path = os.path.abspath(text)  # noqa: PTH100 (Path.absolute keeps "..")
        return None if is_under(path, self._mount) else path

    def note(self, name: str, text: str, directory: bool) -> None:
        """Note the value of a File or Directory input.

        Raises
        ------
        UsageError
            It is a local path where there is no such file or directory.
        """
        path = self.absolute(text)
        if path is None:
            return
        kind = "directory" if directory else "file"
        there = Path(path).is_dir() if directory else Path(path).is_file()
        if not there:
            raise UsageError(
                f"Input {name} names the {kind} {text}, which does not exist on this machine and is"
                f" not under {self._mount}; correct the path."
            )
        self._found.setdefault(path, LocalInput(name, Path(path), directory))

    def stage_to(self, stage_uri: str | None) -> tuple[dict[str, str], list[Upload]]:
        """Work out where everything goes; reads all files, uploads nothing.

        Parameters
        ----------
        stage_uri
            The staging location, if there is one.

        Returns
        -------
        tuple
            The URI of each absolute path, and the files that must be at theirs.

        Raises
        ------
        UsageError
            There are local inputs and no staging location, or something cannot be read.
        """
        if not self._found:
            return {}, []
        if not stage_uri:
            first = next(iter(self._found.values()))
            raise UsageError(
                f"Input {first.name} is on this machine ({first.path}), where the workflow job"
                " cannot see it; name a staging location with --stage s3://bucket/prefix (or a"
                " DefaultStageUri tag on the workflow queue), or put it under"
                f" {self._mount} or in S3 and name it there."
            )
        from ..aws.s3 import parse_s3_uri

        base = parse_s3_uri(stage_uri) / "inputs/sha256/"
        uris: dict[str, str] = {}
        uploads: dict[S3Uri, Upload] = {}
        files = [local for local in self._found.values() if not local.directory]
        directories = [local for local in self._found.values() if local.directory]
        with ThreadPoolExecutor(HASHING_THREADS) as pool:
            staged = list(
                zip(files, pool.map(lambda each: _stage_file(each, base), files), strict=True)
            )
            staged += [(each, _stage_directory(each, base, pool)) for each in directories]
        for local, (uri, needed) in staged:
            uris[str(local.path)] = str(uri)
            uploads.update((upload.uri, upload) for upload in needed)
        return uris, list(uploads.values())

    def size(self) -> int:
        """Bytes of the files among them, without those in directories."""
        return sum(each.path.stat().st_size for each in self._found.values() if each.path.is_file())


def send(s3: S3, uploads: list[Upload], say: Callable[[str], None]) -> None:
    """Upload what the staging location does not hold yet.

    Parameters
    ----------
    s3
        S3.
    uploads
        From `LocalInputs.stage_to`.
    say
        Shows a line of progress.
    """
    from ..transfer.pool import upload_all

    with ThreadPoolExecutor(LOOKUP_THREADS) as pool:
        held = list(pool.map(lambda upload: is_there(s3, upload.uri, upload.size), uploads))
    missing = [upload for upload, there in zip(uploads, held, strict=True) if not there]
    if len(missing) < len(uploads):
        say(f"{len(uploads) - len(missing)} local input files are in the staging location already")
    if missing:
        size = sum(upload.size for upload in missing)
        say(f"uploading {len(missing)} local input files ({size / 1e6:,.1f} MB)")
        upload_all(s3, [(each.path, each.uri) for each in missing], _progress(size, say))
        say("local input files uploaded")


def is_there(s3: S3, uri: S3Uri, size: int) -> bool:
    """Whether an object of this size is there; no, where the credentials may write but not look."""
    try:
        found = s3.head(uri)
    except AccessDenied:
        return False
    return found is not None and found.size == size


def _progress(total: int, say: Callable[[str], None]) -> Callable[[int, int], None]:
    lock = threading.Lock()
    sent = 0
    next_line = time.monotonic() + PROGRESS_PERIOD_S

    def told(more_bytes: int, more_files: int) -> None:
        nonlocal sent, next_line
        with lock:
            sent += more_bytes
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + PROGRESS_PERIOD_S
                say(f"uploaded {sent / 1e6:,.1f} of {total / 1e6:,.1f} MB")

    return told


def _stage_file(local: LocalInput, base: S3Uri) -> tuple[S3Uri, list[Upload]]:
    digest, size = _hash(local, local.path)
    uri = base / f"{digest[:2]}/{digest}/{local.path.name}"
    return uri, [Upload(local.path, uri, size)]


def _stage_directory(
    local: LocalInput, base: S3Uri, pool: ThreadPoolExecutor
) -> tuple[S3Uri, list[Upload]]:
    files = sorted(_files_below(local))
    if not files:
        raise UsageError(
            f"Input {local.name} names the empty directory {local.path}, which S3 cannot hold; put"
            " a file into it, or name a directory on the shared filesystem."
        )
    hashes = list(pool.map(lambda name: _hash(local, local.path / name), files))
    listing = json.dumps([[name, *entry] for name, entry in zip(files, hashes, strict=True)])
    digest = hashlib.sha256(listing.encode()).hexdigest()
    folder = base / f"{digest[:2]}/{digest}/{local.path.name}/"
    return folder, [
        Upload(local.path / name, folder / name, size)
        for name, (_, size) in zip(files, hashes, strict=True)
    ]


def _files_below(local: LocalInput) -> list[str]:
    found: list[str] = []
    # Links are followed, to the end of a circle only once.
    seen: set[str] = set()
    for directory, subdirectories, names in os.walk(local.path, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            subdirectories.clear()
            continue
        seen.add(real)
        found.extend(str((Path(directory) / name).relative_to(local.path)) for name in names)
    return found


def _hash(local: LocalInput, path: Path) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                size += len(block)
    except OSError as exn:
        raise UsageError(
            f"Input {local.name} needs {path}, which cannot be read ({exn.strerror}); correct it."
        ) from exn
    return digest.hexdigest(), size
