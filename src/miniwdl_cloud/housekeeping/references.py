"""Who still needs a run directory or a cache entry."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..accounting.lease import LEDGER


def owners(paths: Iterable[str], places: frozenset[Path]) -> set[Path]:
    """Those of some directories that paths are in, by their names or where they really lead."""
    found: set[Path] = set()
    for text in paths:
        for path in {Path(os.path.normpath(text)), Path(os.path.realpath(text))}:
            found.update(places.intersection((path, *path.parents)))
    return found


def cache_entries(caches: Iterable[Path]) -> Iterator[tuple[Path, list[str]]]:
    """The entries of call caches, and the paths that each refers to."""
    for cache in caches:
        for path in cache.rglob("*.json"):
            try:
                content = json.loads(path.read_bytes())
            except (OSError, ValueError):
                continue
            yield path, list(_paths(content))


def accounted_directories(bases: Iterable[Path]) -> set[str]:
    """Run directories of tasks whose jobs somebody still accounts for: these jobs may run, though
    the process that submitted them is gone."""
    found: set[str] = set()
    for base in bases:
        for ledger in base.glob(f"*/{LEDGER}"):
            try:
                lines = ledger.read_text(errors="replace").splitlines()
            except OSError:
                continue
            for line in lines:
                try:
                    found.update(_paths(json.loads(line)))
                except ValueError:
                    continue  # torn by the death of its writer
    return found


def is_locked(path: Path) -> bool:
    """Whether another process holds miniwdl's lock on a file.

    A filesystem without locks has none; then only time tells.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as exn:
        return exn.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
    finally:
        os.close(descriptor)
    return False


def _paths(value: Any) -> Iterator[str]:
    """All absolute paths in JSON."""
    if isinstance(value, str):
        if value.startswith("/"):
            yield value.rstrip("/") or "/"
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(key)
            yield from _paths(item)
