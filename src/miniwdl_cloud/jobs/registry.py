"""The dispatchers of this process, one for each queue service and configuration.

This is the package's only mutable state at module level: miniwdl makes a container object for
each task, and all of them must share one dispatcher.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from .dispatcher import Dispatcher

_dispatchers: dict[Hashable, Dispatcher] = {}
_lock = threading.Lock()


def dispatcher_for(key: Hashable, make: Callable[[], Dispatcher]) -> Dispatcher:
    """The dispatcher of these frozen settings, made at first use.

    Parameters
    ----------
    key
        Frozen settings that the dispatcher depends on.
    make
        Makes (and starts) it.
    """
    with _lock:
        dispatcher = _dispatchers.get(key)
        if dispatcher is None or dispatcher.closed:
            dispatcher = _dispatchers[key] = make()
        return dispatcher


def close_all() -> None:
    """Stop every dispatcher; for tests and orderly ends."""
    with _lock:
        dispatchers = list(_dispatchers.values())
        _dispatchers.clear()
    for dispatcher in dispatchers:
        dispatcher.close()
