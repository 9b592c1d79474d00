"""How long a task waits for a job that Batch says cannot start."""

from __future__ import annotations

import logging
import time

from ..jobs.blocked import Blockage, diagnose
from ..jobs.request import JobSnapshot
from ..miniwdl_compat import log_message as _

LONGEST_WAIT = 30.0
"""Seconds that a task's thread waits for news before it looks whether the dispatcher lives."""


class Patience:
    """What is known of why a job does not start.

    Parameters
    ----------
    wait_s
        Seconds after which it is given up; the setting ``[aws] blocked_wait``.
    """

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._since: float | None = None
        self._blockage: Blockage | None = None
        self.gave_up: Blockage | None = None

    def note(self, logger: logging.Logger, snapshot: JobSnapshot) -> None:
        """Take a look at the job into account; the log tells of a blockage once."""
        blockage = diagnose(snapshot)
        if blockage is None:
            self._since, self._blockage = None, None
        elif self._since is None:
            self._since, self._blockage = time.monotonic(), blockage
            logger.warning(
                _(f"the job cannot start: {blockage.advice}", statusReason=blockage.reason)
            )

    def left(self) -> float:
        """Seconds to wait for news."""
        if self._since is None:
            return LONGEST_WAIT
        return min(LONGEST_WAIT, max(0.0, self._since + self._wait_s - time.monotonic()))

    def check(self) -> None:
        """Give the job up if its time is over."""
        if self._since is not None and time.monotonic() - self._since >= self._wait_s:
            self.gave_up = self._blockage
