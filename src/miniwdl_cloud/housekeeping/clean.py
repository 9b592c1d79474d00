"""What may be deleted, and deleting it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .found import (
    DOOMED,
    UNFINISHED,
    Extent,
    Found,
    extent,
    find_downloads,
    find_runs,
    last_change,
    links_of,
)
from .references import accounted_directories, cache_entries, is_locked, owners

RECENT_S = 3600.0
"""Seconds since its last change for which anything counts as in use."""
RECENT_UNFINISHED_S = 86400.0
"""The same for a run without outcome: a long task may write nothing for hours, and not every
filesystem has locks that other machines see."""


@dataclass(frozen=True)
class Criteria:
    """What is looked for.

    Parameters
    ----------
    older_than_s
        Seconds since its last change or use, at the least.
    larger_than
        Bytes that it takes, at the least.
    states
        Of runs; empty for all.
    cache
        Whether entries of the download cache are looked for too.
    referenced
        Whether what others refer to may be deleted too.
    """

    older_than_s: float = 0.0
    larger_than: int = 0
    states: frozenset[str] = frozenset()
    cache: bool = False
    referenced: bool = False


@dataclass(frozen=True)
class Places:
    """Where things are: directories with runs, call caches, download caches, accounting
    directories."""

    roots: tuple[Path, ...]
    call_caches: tuple[Path, ...] = ()
    download_caches: tuple[Path, ...] = ()
    accounts: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Line:
    """Something that was looked for.

    Parameters
    ----------
    found
        What it is.
    extent
        What it takes.
    keep
        Why it is not to be deleted; empty if it may be.
    """

    found: Found
    extent: Extent
    keep: str = ""


@dataclass
class Plan:
    """What was found.

    Parameters
    ----------
    lines
        What meets the criteria, the oldest first.
    entries
        Call cache entries that go with what is deleted.
    """

    lines: list[Line] = field(default_factory=list)
    entries: dict[Path, list[Path]] = field(default_factory=dict)

    @property
    def doomed(self) -> list[Line]:
        """What may be deleted."""
        return [line for line in self.lines if not line.keep]


def make_plan(places: Places, criteria: Criteria, now: float) -> Plan:
    """Find what meets the criteria, and what of it somebody needs.

    Parameters
    ----------
    now
        Seconds since the epoch.
    """
    everything = list(find_runs(places.roots))
    everything += find_downloads(places.download_caches)
    paths = frozenset(item.path for item in everything)
    accounted = owners(accounted_directories(places.accounts), paths)
    in_use = {item.path: why for item in everything if (why := _in_use(item, now, accounted))}
    wanted = [item for item in everything if _meets(item, criteria, now)]
    measured = [(item, extent(item.path)) for item in wanted]
    measured = [(item, took) for item, took in measured if took.size >= criteria.larger_than]

    plan = Plan()
    cached: set[Path] = set()
    for entry, refers_to in cache_entries(places.call_caches):
        for owner in owners(refers_to, paths):
            cached.add(owner)
            plan.entries.setdefault(owner, []).append(entry)
    runs = [item.path for item in everything if item.kind == "run"]
    links = {run: owners(links_of(run), paths) - {run} for run in runs}
    keep = {item.path: in_use[item.path] for item, _ in measured if item.path in in_use}
    under_way = any(path in in_use for path in runs)
    for item, _ in measured:
        if item.path in cached and item.path not in keep:
            if not criteria.referenced:
                keep[item.path] = "in the call cache"
            elif under_way:
                keep[item.path] = "in the call cache, and a run is under way that may use it"
    selected = {item.path for item, _ in measured}
    if not criteria.referenced:
        _keep_linked(selected, links, keep)
    else:
        # What a run under way links to is in use, whatever is asked.
        _keep_linked(selected, {r: to for r, to in links.items() if r in in_use}, keep)
    measured.sort(key=lambda pair: (pair[0].used, pair[0].path))
    plan.lines = [Line(item, took, keep.get(item.path, "")) for item, took in measured]
    return plan


def _in_use(item: Found, now: float, accounted: set[Path]) -> str:
    if now - item.used < RECENT_S:
        return "in use less than an hour ago"
    if item.state == UNFINISHED and now - last_change(item.path) < RECENT_UNFINISHED_S:
        return "without outcome, and changed less than a day ago"
    if item.path in accounted:
        return "its jobs are still accounted for"
    if item.lock is not None and is_locked(item.lock):
        return "in use"
    return ""


def _meets(item: Found, criteria: Criteria, now: float) -> bool:
    if item.kind == "download" and not criteria.cache:
        return False
    if item.kind == "run" and criteria.states and item.state not in criteria.states:
        return False
    return now - item.used >= criteria.older_than_s


def _keep_linked(selected: set[Path], links: dict[Path, set[Path]], keep: dict[Path, str]) -> None:
    """Keep what the outputs of a run that stays lead to."""
    changed = True
    while changed:
        changed = False
        for run, targets in links.items():
            if run in selected and run not in keep:
                continue
            for target in targets & selected - set(keep):
                keep[target] = f"outputs of {run.name} lead to it"
                changed = True


def delete(line: Line, plan: Plan) -> None:
    """Delete one thing, and the call cache entries that refer to it.

    It is renamed first, so that whoever looks meanwhile does not find half of it; and while it is,
    miniwdl's own lock on it is held.

    Raises
    ------
    OSError
        It cannot be deleted; `BlockingIOError` if it is in use after all.
    """
    path = line.found.path
    # All goes by the open directory that it is in: a task could put a link in place of that.
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        opened = Path(f"/proc/self/fd/{parent}")
        if opened.readlink() != path.parent:
            raise OSError(f"{path.parent} is a link now")
        doomed = path.name
        if line.found.kind != "leftover":
            doomed = f"{DOOMED}{path.name[:100]}-{uuid.uuid4().hex[:8]}"
            with _locked(line.found):
                os.rename(path.name, doomed, src_dir_fd=parent, dst_dir_fd=parent)
        # miniwdl itself drops an entry whose files are gone, if it comes first.
        for entry in plan.entries.get(path, ()):
            entry.unlink(missing_ok=True)
        if (opened / doomed).is_dir():
            shutil.rmtree(opened / doomed)  # follows no link
        else:
            (opened / doomed).unlink()
    finally:
        os.close(parent)
    lock = line.found.lock
    if line.found.kind == "download" and lock is not None and lock != path:
        lock.unlink(missing_ok=True)
    last = path.parent / "_LAST"
    if line.found.kind == "run" and last.is_symlink() and not last.exists():
        last.unlink()


@contextlib.contextmanager
def _locked(found: Found) -> Iterator[None]:
    """Hold what miniwdl would lock; raises `BlockingIOError` if somebody holds it."""
    locks: Sequence[Path] = [found.lock] if found.lock is not None else []
    if found.kind == "download":
        # miniwdl adds and removes entries under the lock of the whole cache: four folders and the
        # kind are between.
        locks = [found.path.parents[4] / "_miniwdl_flock", *locks]
    with contextlib.ExitStack() as stack:
        for lock in locks:
            try:
                descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                continue
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                continue  # a filesystem without locks
        yield
