"""Which files are meant by paths on the shared filesystem: canonical, and never one outside."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UsageError


@dataclass(frozen=True)
class SharedFile:
    """A regular file on the shared filesystem.

    Parameters
    ----------
    path
        Its canonical path: no part of it is a link.
    relative
        The same, relative to the mount point.
    size
        In bytes.
    changed
        When its content or metadata was last changed, in seconds since the epoch.
    """

    path: Path
    relative: str
    size: int
    changed: float


@dataclass
class Collected:
    """The files of some paths, in order, each once; and what was left out, a sentence each."""

    files: list[SharedFile] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def collect(paths: Iterable[Path], mount: Path) -> Collected:
    """The files that paths name, and those in directories that they name, whatever links lead to
    them.

    Parameters
    ----------
    paths
        Files and directories.
    mount
        Mount point of the shared filesystem.

    Raises
    ------
    UsageError
        A path does not exist, or it or something in it leads out of the filesystem.
    """
    return _Walk(mount).run(paths)


class _Walk:
    def __init__(self, mount: Path) -> None:
        self._root = mount.resolve()
        self._device = self._stat(self._root, mount).st_dev
        self._found: dict[Path, SharedFile] = {}
        self._directories: set[Path] = set()
        self._skipped: list[str] = []

    def run(self, paths: Iterable[Path]) -> Collected:
        for path in paths:
            real = Path(os.path.realpath(path))
            entry = self._stat(real, path)
            self._take(path, real, entry)
        return Collected(sorted(self._found.values(), key=lambda f: f.path), self._skipped)

    def _stat(self, real: Path, path: Path) -> os.stat_result:
        try:
            return real.lstat()
        except OSError as exn:
            raise UsageError(
                f"{shown(path)} cannot be read ({exn.strerror}); correct the path."
            ) from None

    def _take(self, path: Path, real: Path, entry: os.stat_result) -> None:
        if not self._is_ours(real, entry):
            where = "" if real == path else f" (which is {shown(real)})"
            raise UsageError(
                f"{shown(path)}{where} is not on the shared filesystem {shown(self._root)}; leave"
                " it out."
            )
        if stat.S_ISDIR(entry.st_mode):
            self._enter(real)
        elif stat.S_ISREG(entry.st_mode):
            self._found[real] = SharedFile(
                real,
                real.relative_to(self._root).as_posix(),
                entry.st_size,
                max(entry.st_mtime, entry.st_ctime),
            )
        else:
            self._skipped.append(f"{shown(path)} is no regular file")

    def _is_ours(self, real: Path, entry: os.stat_result) -> bool:
        # Another device is another filesystem, mounted below.
        return real.is_relative_to(self._root) and entry.st_dev == self._device

    def _enter(self, top: Path) -> None:
        waiting = [top]
        while waiting:
            directory = waiting.pop()
            if directory in self._directories:
                continue
            self._directories.add(directory)
            for path in self._children(directory):
                real = Path(os.path.realpath(path))
                try:
                    entry = real.lstat()
                except OSError:
                    self._skipped.append(f"{shown(path)} leads nowhere")
                    continue
                if self._is_ours(real, entry) and stat.S_ISDIR(entry.st_mode):
                    waiting.append(real)
                else:
                    self._take(path, real, entry)

    def _children(self, directory: Path) -> list[Path]:
        try:
            return sorted(directory.iterdir())
        except OSError as exn:
            raise UsageError(
                f"{shown(directory)} cannot be read ({exn.strerror}); correct its permissions."
            ) from None


def shown(path: Path | str) -> str:
    """A path as it is printed: one line without tabs, from which the path can be had back.

    Backslash, tab, newline and carriage return are written as in C; bytes that are not UTF-8 as
    ``\\xNN``.
    """
    text = str(path)
    for character, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(character, escaped)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
