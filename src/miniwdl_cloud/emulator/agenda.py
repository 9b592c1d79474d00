"""A thread that does one thing after the other, some of them later."""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

Action = Callable[[], None]


class Agenda:
    """Does actions in the order in which they come due.

    Parameters
    ----------
    name
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._inbox: queue.SimpleQueue[tuple[float, Action]] = queue.SimpleQueue()
        self._later: list[tuple[float, int, Action]] = []
        self._ids = itertools.count()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; what is not done yet is dropped."""
        self._closed.set()
        self.post(lambda: None)
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def post(self, action: Action, delay_s: float = 0.0) -> None:
        """Do something, seconds from now; from any thread."""
        self._inbox.put((time.monotonic() + delay_s if delay_s > 0 else 0.0, action))

    def _run(self) -> None:
        while not self._closed.is_set():
            timeout = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
            try:
                at, action = self._inbox.get(timeout=timeout)
                if at:
                    heapq.heappush(self._later, (at, next(self._ids), action))
                else:
                    self._do(action)
            except queue.Empty:
                pass
            while self._later and self._later[0][0] <= time.monotonic():
                self._do(heapq.heappop(self._later)[2])

    def _do(self, action: Action) -> None:
        if self._closed.is_set():
            return
        try:
            action()
        except Exception:
            # One task's trouble must not stop all the others.
            logger.exception("an action failed")
