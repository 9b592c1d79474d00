"""What all tasks of this process share, once for each queue service and configuration.

This is the package's only mutable state at module level: miniwdl makes a container object for
each task, and all of them must share one dispatcher.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar


class Shared(Protocol):
    """What is shared: a dispatcher, and what belongs to it."""

    @property
    def closed(self) -> bool:
        """Whether it is of no use any more."""

    def close(self) -> None:
        """End it; again, without effect."""


_T = TypeVar("_T", bound=Shared)
_shared: dict[Hashable, Any] = {}
_lock = threading.Lock()


def shared(key: Hashable, make: Callable[[], _T]) -> _T:
    """What belongs to these frozen settings, made at first use, and closed when Python ends.

    Parameters
    ----------
    key
        Frozen settings that it depends on.
    make
        Makes (and starts) it.
    """
    with _lock:
        found: _T | None = _shared.get(key)
        if found is not None and found.closed:
            found.close()
            found = None
        if found is None:
            # Registered anew each time, so that it comes before what was registered earlier.
            atexit.unregister(close_all)
            atexit.register(close_all)
            found = _shared[key] = make()
        return found


def close_all() -> None:
    """Close everything; for tests and orderly ends."""
    with _lock:
        everything = list(_shared.values())
        _shared.clear()
    for one in everything:
        one.close()
