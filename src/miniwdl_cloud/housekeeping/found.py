"""Finding run directories and cache entries, and what they take.

miniwdl's layout: a run directory holds ``workflow.log`` or ``task.log`` and ``inputs.json``, and at
its end ``outputs.json`` or ``error.json``. Its download cache holds
``files/SCHEME/HOST/FOLDER/NAME``, and ``dirs/…`` alike; the access time of an entry says when it
was last used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LOGS = ("workflow.log", "task.log")
SUCCESS, FAILED, UNFINISHED = "success", "failed", "unfinished"
STATES = (SUCCESS, FAILED, UNFINISHED)
DOOMED = ".deleting-"
"""How the names of directories begin whose deletion was interrupted."""
_OWN_NAMES = ("_CACHE", "_ACCOUNTS")
_ENDS = ("outputs.json", "error.json", "outputs.s3.json")


@dataclass(frozen=True)
class Found:
    """Something that can be deleted.

    Parameters
    ----------
    kind
        ``run``, ``download`` or ``leftover``.
    path
        Where it is; no part of it is a link.
    state
        Of a run: ``success``, ``failed`` or ``unfinished``; else empty.
    used
        When it was last changed or used, in seconds since the epoch.
    lock
        The file that miniwdl locks while it uses it.
    """

    kind: str
    path: Path
    state: str
    used: float
    lock: Path | None


@dataclass(frozen=True)
class Extent:
    """What a directory or file takes: bytes of blocks, and files with directories."""

    size: int
    inodes: int


def find_runs(roots: Iterable[Path]) -> Iterator[Found]:
    """Run directories below some directories, or one that is one; not those of calls inside.

    Links are not followed, and other filesystems not entered.
    """
    seen: set[Path] = set()
    for root in roots:
        top = root.resolve()
        waiting = [top]
        device = top.stat().st_dev
        while waiting:
            directory = waiting.pop()
            if directory in seen:
                continue
            seen.add(directory)
            if directory.name.startswith(DOOMED) and directory != top:
                entry = directory.lstat()
                yield Found("leftover", directory, "", max(entry.st_mtime, entry.st_ctime), None)
                continue
            try:
                entries = {entry.name: entry for entry in os.scandir(directory)}
            except OSError:
                continue
            log = next((n for n in LOGS if n in entries and _is_file(entries[n])), None)
            if log is not None and "inputs.json" in entries:
                yield _run(directory, log, entries)
                continue
            waiting += [
                directory / name
                for name, child in entries.items()
                if name not in _OWN_NAMES
                and child.is_dir(follow_symlinks=False)
                and child.stat(follow_symlinks=False).st_dev == device
            ]


def find_downloads(caches: Iterable[Path]) -> Iterator[Found]:
    """Entries of miniwdl's download caches."""
    for cache in caches:
        for kind in ("files", "dirs"):
            for path in cache.resolve().glob(f"{kind}/*/*/*/*"):
                if path.name.endswith("._miniwdl_flock") or path.is_symlink():
                    continue
                entry = path.lstat()
                lock = path if kind == "files" else path.with_name(f"{path.name}._miniwdl_flock")
                yield Found("download", path, "", max(entry.st_mtime, entry.st_atime), lock)


def extent(path: Path) -> Extent:
    """What a directory or file takes; a file with several names in it counts once."""
    known: set[tuple[int, int]] = set()
    size = 0
    for entry in _entries(path):
        if (entry.st_dev, entry.st_ino) not in known:
            known.add((entry.st_dev, entry.st_ino))
            size += entry.st_blocks * 512
    return Extent(size, len(known))


def last_change(path: Path) -> float:
    """When anything in a directory was last changed, in seconds since the epoch."""
    return max((entry.st_mtime for entry in _entries(path)), default=0.0)


def _entries(path: Path) -> Iterator[os.stat_result]:
    """A directory or file, and all in it; links are not followed."""
    yield path.lstat()
    waiting = [path] if path.is_dir() and not path.is_symlink() else []
    while waiting:
        try:
            children = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for child in children:
            try:
                yield child.stat(follow_symlinks=False)
            except OSError:
                continue
            if child.is_dir(follow_symlinks=False):
                waiting.append(Path(child.path))


def links_of(run: Path) -> Iterator[str]:
    """Where the links in a run's ``out`` lead."""
    for directory, names, files in os.walk(run / "out"):
        for name in (*names, *files):
            path = Path(directory) / name
            if path.is_symlink():
                yield os.path.realpath(path)


def _run(directory: Path, log: str, entries: dict[str, os.DirEntry[str]]) -> Found:
    state = UNFINISHED
    if "error.json" in entries:
        state = FAILED
    elif "outputs.json" in entries:
        state = SUCCESS
    times = [
        entries[name].stat(follow_symlinks=False).st_mtime
        for name in (log, *_ENDS)
        if name in entries
    ]
    return Found("run", directory, state, max(times), directory / log)


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)
