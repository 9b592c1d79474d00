"""Waiting for AWS to answer again, wherever nothing is lost by waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from .errors import Unreachable

OUTAGE_MOST = 1800.0
"""Seconds for which an answer is waited for."""
PAUSE_MOST = 20.0
"""Seconds between two tries at most."""
_LOOK_EVERY = 0.5

_T = TypeVar("_T")


def patiently(
    step: Callable[[], _T],
    cancelled: Callable[[], bool],
    waiting: Callable[[Unreachable], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> _T:
    """What a step returns, once AWS answers.

    Parameters
    ----------
    step
        May raise `Unreachable`; then it is called again, ever more slowly. It must be safe to
        repeat.
    cancelled
        Whether the run is being ended; asked twice a second.
    waiting
        Told of the first failure.
    clock, sleep
        Monotonic seconds, and a way to let them pass.

    Raises
    ------
    Unreachable
        AWS has not answered for `OUTAGE_MOST` seconds, or the run is being ended.
    """
    began, pause = clock(), 1.0
    while True:
        try:
            return step()
        except Unreachable as exn:
            if cancelled() or clock() - began + pause > OUTAGE_MOST:
                raise
            if pause == 1.0:
                waiting(exn)
            until = clock() + pause
            while (left := until - clock()) > 0:
                sleep(min(_LOOK_EVERY, left))
                if cancelled():
                    raise
        pause = min(PAUSE_MOST, pause * 2)
