"""How many calls, or whatever else, an API lets through in a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class RateLimit:
    """A token bucket.

    Parameters
    ----------
    per_second
        Tokens a second; `None` for no limit.
    burst
        Size of the bucket; as many as a second brings if it is not given.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        per_second: float | None,
        burst: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = per_second
        self._size = max(1.0, (per_second or 0.0) if burst is None else burst)
        self._tokens = self._size
        self._clock = clock
        self._last = clock()
        self._lock = threading.Lock()

    def take(self, count: int = 1) -> bool:
        """Whether a call, or a launch of ``count``, may go through now; all of it or nothing."""
        if self._rate is None:
            return True
        with self._lock:
            now = self._clock()
            self._tokens = min(self._size, self._tokens + (now - self._last) * self._rate)
            self._last = now
            if self._tokens < count:
                return False
            self._tokens -= count
            return True
