"""What stands for Lustre and S3 in tests: a command `lfs` that keeps state, and a directory."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from miniwdl_cloud.aws.s3 import ObjectInfo, S3Uri
from miniwdl_cloud.errors import NotFound, Unreachable

_LFS = '''#!{python} -SE
"""Lustre's HSM commands over a directory: states, actions that take some looks, failures."""
import fcntl, json, os, shutil, sys

EXISTS, DIRTY, RELEASED, ARCHIVED, LOST = 0x1, 0x2, 0x4, 0x8, 0x40
NAMES = ((RELEASED, "released"), (EXISTS, "exists"), (DIRTY, "dirty"), (ARCHIVED, "archived"),
         (LOST, "lost_from_hsm"))
base = {base!r}


def stamp(path):
    entry = os.stat(path)
    return [entry.st_mtime_ns, entry.st_size]


def main(what, paths):
    with open(base + "/config.json") as file:
        config = json.load(file)
    with open(base + "/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(base + "/state.json") as file:
            state = json.load(file)
        with open(base + "/calls", "a") as file:
            file.write(what + " " + str(len(paths)) + "\\n")
        code = 0
        for path in paths:
            code = one(what, path, state.setdefault(path, dict(flags=0, pending=0)), config) or code
        with open(base + "/state.json.new", "w") as file:
            json.dump(state, file)
        os.rename(base + "/state.json.new", base + "/state.json")
    return code


def one(what, path, entry, config):
    if not path.startswith(config["mount"] + "/"):
        return complain(path, "Inappropriate ioctl for device", 25)
    if config["denied"]:
        return complain(path, "Operation not permitted", 1)
    if not os.path.exists(path):
        return complain(path, "No such file or directory", 2)
    if what == "hsm_archive":
        if path in config["refused"]:
            return complain(path, "Input/output error", 5)
        entry["pending"] = config["looks"]
    elif what == "hsm_action":
        if entry["pending"] > 0:
            entry["pending"] -= 1
            if entry["pending"] == 0:
                finish(path, entry, config)
        print(path + ": " + ("ARCHIVE running " if entry["pending"] else "NOOP"))
    elif what == "hsm_state":
        flags = entry["flags"]
        if flags & EXISTS and entry.get("stamp") not in (None, stamp(path)):
            flags |= DIRTY
        names = " ".join(name for flag, name in NAMES if flags & flag)
        print(path + ": (0x%08x) " % flags + names + (", archive_id:1" if flags else ""))
    return 0


def complain(path, why, code):
    sys.stderr.write("Cannot use HSM on " + path + ": " + why + "\\n")
    return code


def finish(path, entry, config):
    left = config["failures"].get(path, 0) - entry.get("failed", 0)
    if left > 0:
        entry["failed"] = entry.get("failed", 0) + 1
        entry["flags"] = EXISTS if left % 2 else EXISTS | ARCHIVED | LOST
        return
    target = config["bucket"] + "/" + config["prefix"] + os.path.relpath(path, config["mount"])
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(path, target)
    entry["flags"], entry["stamp"] = EXISTS | ARCHIVED, stamp(path)


sys.exit(main(sys.argv[1], sys.argv[2:]))
'''


class FakeLfs:
    """A command `lfs` over a directory.

    Parameters
    ----------
    base
        Where it keeps its state.
    mount
        The directory that stands for a Lustre file system.
    bucket
        The directory that stands for the bucket.
    prefix
        Of the linked location in the bucket.
    looks
        How often an action is looked at before it is over.
    """

    def __init__(self, base: Path, mount: Path, bucket: Path, prefix: str, looks: int = 2) -> None:
        base.mkdir()
        self._base = base
        self.config: dict[str, Any] = {
            "mount": str(mount),
            "bucket": str(bucket),
            "prefix": prefix,
            "looks": looks,
            "failures": {},
            "refused": [],
            "denied": False,
        }
        (base / "state.json").write_text("{}")
        self.command = base / "lfs"
        self.command.write_text(_LFS.format(python=sys.executable, base=str(base)))
        self.command.chmod(0o755)
        self.configure()

    def configure(self, **changes: Any) -> None:
        """Change what it does."""
        self.config.update(changes)
        (self._base / "config.json").write_text(json.dumps(self.config))

    def calls(self, what: str) -> list[int]:
        """How many files each call of a subcommand had."""
        try:
            lines = (self._base / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [int(line.split()[1]) for line in lines if line.split()[0] == what]


class FolderS3:
    """A bucket that is a directory, with the methods that sending files needs."""

    def __init__(self, bucket: str, folder: Path) -> None:
        self.bucket = bucket
        self.folder = folder
        self.failures: dict[str, int] = {}
        self.uploads: list[str] = []

    def _info(self, key: str) -> ObjectInfo | None:
        path = self.folder / key
        if not path.is_file():
            return None
        entry = path.stat()
        etag = hashlib.md5(path.read_bytes()).hexdigest()
        return ObjectInfo(S3Uri(self.bucket, key), entry.st_size, etag, int(entry.st_mtime))

    def head(self, uri: S3Uri) -> ObjectInfo | None:
        """An object, if it is there."""
        return self._info(uri.key) if uri.bucket == self.bucket else None

    def list_objects(self, prefix: S3Uri) -> Iterator[ObjectInfo]:
        """All objects that begin so."""
        for path in sorted(self.folder.rglob("*")):
            key = path.relative_to(self.folder).as_posix()
            info = self._info(key) if key.startswith(prefix.key) else None
            if info is not None:
                yield info

    def upload_file(self, path: Path, uri: S3Uri) -> None:
        """Copy a file, unless it is to fail."""
        content = path.read_bytes()
        if self.failures.get(uri.key, 0) > 0:
            self.failures[uri.key] -= 1
            raise Unreachable(f"AWS failed while uploading {path} to {uri}: injected")
        self.uploads.append(uri.key)
        target = self.folder / uri.key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def get_bytes(self, uri: S3Uri) -> bytes:
        """The content of an object."""
        path = self.folder / uri.key
        if not path.is_file():
            raise NotFound(f"There is no {uri}.")
        return path.read_bytes()


def no_sleep(seconds: float) -> None:
    """Time that passes at once."""


def collector() -> tuple[list[str], Callable[[str], None]]:
    """Lines that were said, and what says them."""
    lines: list[str] = []
    return lines, lines.append
