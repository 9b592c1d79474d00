"""Definitions that jobs need: registered before their first job, retired after their last.

Both change something that the service may have a quota of, so both are paced together; whoever
waits to run goes before whoever cleans up.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from ..errors import Throttled
from .pacing import Pacing, Rate
from .request import Definition
from .service import QueueService

logger = logging.getLogger("miniwdl-cloud.dispatcher")


class Definitions:
    """Registers and retires definitions. The dispatcher's thread owns it; the calls run in lanes.

    Parameters
    ----------
    service
        The queue service.
    rate
        How fast definitions may change; `None` for no limit.
    lanes
        Runs the calls.
    post
        Sends a message to the dispatcher's thread.
    clock
        Seconds, monotonic.
    registered, failed
        Called in the dispatcher's thread with the name of a definition that was registered, or that
        could not be, and why.
    """

    def __init__(
        self,
        service: QueueService,
        rate: Rate | None,
        lanes: Executor,
        post: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
        registered: Callable[[str], None],
        failed: Callable[[str, Exception], None],
    ) -> None:
        self._service = service
        self._pacing = Pacing(rate, clock()) if rate else None
        self._lanes = lanes
        self._post = post
        self._clock = clock
        self._on_registered = registered
        self._on_failed = failed
        self._handles: dict[str, str] = {}
        self._wanted: deque[Definition] = deque()
        self._registering: set[str] = set()
        self._unwanted: deque[Definition] = deque()
        self._retired_early: dict[str, Definition] = {}

    def handle(self, definition: Definition) -> str | None:
        """The handle of a definition; if it has none yet, it will be registered."""
        name = definition.name
        if name in self._handles:
            return self._handles[name]
        if name not in self._registering:
            self._registering.add(name)
            self._wanted.append(definition)
        return None

    def retire(self, definition: Definition) -> None:
        """Let go of a definition that no job will be submitted with any more."""
        name = definition.name
        self._handles.pop(name, None)
        if name not in self._registering:
            self._unwanted.append(definition)
        elif definition in self._wanted:
            self._wanted.remove(definition)
            self._registering.discard(name)
        else:
            self._retired_early[name] = definition

    def due(self, now: float) -> float:
        """Begin what is due; returns when to come back."""
        while self._wanted or self._unwanted:
            if self._pacing is not None and not self._pacing.take(now):
                return self._pacing.next_at(now)
            if self._wanted:
                self._lanes.submit(self._register_in_lane, self._wanted.popleft())
            else:
                self._retire(self._unwanted.popleft())
        return float("inf")

    def finish(self) -> None:
        """Retire what may be retired at once, and tell of the rest; to be called at the end, when
        there are no lanes any more."""
        now = self._clock()
        well = True
        while well and self._unwanted and (self._pacing is None or self._pacing.take(now)):
            well = self._retire_in_lane(self._unwanted.popleft())
        if self._unwanted:
            logger.warning(
                "%d definitions of isolated tasks stay, as the service retires so few at a time;"
                " their names begin with %s",
                len(self._unwanted),
                self._unwanted[0].prefix.rpartition("-")[0],
            )
            self._unwanted.clear()

    def _register_in_lane(self, definition: Definition) -> None:
        try:
            handle = self._service.ensure_definition(definition)
        except Exception as exn:
            error = exn
            self._post(lambda: self._failed(definition.name, error))
        else:
            self._post(lambda: self._registered(definition.name, handle))

    def _registered(self, name: str, handle: str) -> None:
        self._registering.discard(name)
        retired = self._retired_early.pop(name, None)
        if retired is None:
            self._handles[name] = handle
        else:
            self._unwanted.append(retired)
        self._on_registered(name)

    def _failed(self, name: str, error: Exception) -> None:
        self._registering.discard(name)
        self._retired_early.pop(name, None)
        if isinstance(error, Throttled) and self._pacing is not None:
            self._pacing.slow_down(self._clock())
        self._on_failed(name, error)

    def _retire(self, definition: Definition) -> None:
        try:
            self._lanes.submit(self._retire_in_lane, definition)
        except RuntimeError:
            # Python ends, and `finish` is about to be called.
            self._retire_in_lane(definition)

    def _retire_in_lane(self, definition: Definition) -> bool:
        try:
            self._service.retire(definition)
        except Exception as exn:
            logger.warning("the job definition %s stays: %s", definition.name, exn)
            return False
        return True
