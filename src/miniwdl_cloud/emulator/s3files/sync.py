"""A directory and a part of a bucket that are kept the same."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from pathlib import Path
from typing import Any

from moto.s3.models import FakeDeleteMarker, s3_backends

from ..batch.models import ACCOUNT_ID

logger = logging.getLogger(__name__)

KEY_MAX = 1024
"""Bytes of a path that is exported (S3 user guide, S3 Files, "Unsupported features, limits, and
quotas")."""

_Signature = tuple[int, int, int]


class Synchronized:
    """A file system's directory and its part of the bucket.

    Parameters
    ----------
    directory
        The directory.
    bucket, prefix
        Objects whose keys begin with the prefix, which is empty or ends in ``/``.
    """

    def __init__(self, directory: Path, bucket: str, prefix: str) -> None:
        self._directory = directory
        self._bucket = bucket
        self._prefix = prefix
        # What both sides were when they were last the same.
        self._known: dict[str, tuple[_Signature, str]] = {}

    def synchronize(self) -> None:
        """Bring changes since the last call to the other side."""
        backend = s3_backends[ACCOUNT_ID]["aws"]
        if self._bucket not in backend.buckets:
            return
        objects = self._objects(backend)
        for path, item in objects.items():
            known = self._known.get(path)
            if known is None or known[1] != item.etag:
                self._import(path, item)
        files = self._files()
        for path, signature in files.items():
            known = self._known.get(path)
            if known is None or known[0] != signature:
                self._export(backend, path, signature)
            elif path not in objects:
                self._remove(path)
        for path in set(self._known).difference(files):
            if path in objects:
                backend.delete_object(self._bucket, self._prefix + path)
            del self._known[path]

    def _objects(self, backend: Any) -> dict[str, Any]:
        found = {}
        for key, item in list(backend.buckets[self._bucket].keys.items()):
            path = key[len(self._prefix) :]
            plain = path and not path.endswith("/") and os.path.normpath(path) == path
            if key.startswith(self._prefix) and plain and not path.startswith(("/", "../")):
                found[path] = item
        return {path: o for path, o in found.items() if not isinstance(o, FakeDeleteMarker)}

    def _files(self) -> dict[str, _Signature]:
        found = {}
        for parent, _directories, names in os.walk(self._directory):
            for name in names + [d for d in _directories if (Path(parent) / d).is_symlink()]:
                path = Path(parent) / name
                with contextlib.suppress(FileNotFoundError):
                    found[str(path.relative_to(self._directory))] = _signature(path)
        return found

    def _import(self, path: str, item: Any) -> None:
        target = self._directory / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if item.metadata.get("x-amz-meta-file-permissions", "").startswith("012"):
                target.symlink_to(os.fsdecode(item.value))
            else:
                target.write_bytes(item.value)
        except OSError as exn:  # an object under another, which is no directory
            logger.warning("S3 Files cannot make %s: %s", target, exn)
            return
        self._known[path] = (_signature(target), item.etag)

    def _export(self, backend: Any, path: str, signature: _Signature) -> None:
        source = self._directory / path
        key = self._prefix + path
        try:
            if len(key.encode()) > KEY_MAX:
                return
            mode = source.lstat().st_mode
            if stat.S_ISLNK(mode):
                content = os.fsencode(source.readlink())
            elif stat.S_ISREG(mode):
                content = source.read_bytes()
            else:
                return
        except (OSError, UnicodeEncodeError):  # gone meanwhile, or no name for a key
            return
        made = backend.put_object(self._bucket, key, content)
        made.set_metadata({"x-amz-meta-file-permissions": f"0{mode:o}"})
        self._known[path] = (signature, made.etag)

    def _remove(self, path: str) -> None:
        with contextlib.suppress(OSError):
            (self._directory / path).unlink()
        self._known.pop(path, None)


def _signature(path: Path) -> _Signature:
    entry = path.lstat()
    return entry.st_mtime_ns, entry.st_size, entry.st_ino
