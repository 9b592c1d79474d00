"""Log events of running containers, on their way into CloudWatch Logs."""

from __future__ import annotations

import threading
from typing import Any

from moto.logs.models import logs_backends

from .models import ACCOUNT_ID, now_ms

LOG_GROUP = "/aws/batch/job"


class LogWriter:
    """Puts lines into moto's CloudWatch Logs in batches.

    moto's backend is called directly, because a thousand jobs would make as many HTTP requests.

    Parameters
    ----------
    region
        Region of the log groups.
    period_s
        Seconds between two batches.
    """

    def __init__(self, region: str, period_s: float = 0.2) -> None:
        self._backend: Any = logs_backends[ACCOUNT_ID][region]
        self._period_s = period_s
        self._waiting: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emulator-logs", daemon=True)

    def start(self) -> None:
        """Start the thread that writes."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits and stop."""
        self._closed.set()
        self._thread.join(timeout=10)
        self.flush()

    def has_group(self, group: str) -> bool:
        """Whether there is a log group of this name."""
        return group in self._backend.groups

    def open_stream(self, stream: str, group: str = LOG_GROUP) -> None:
        """Make a log stream, and its group if it is missing."""
        with self._lock:
            self._backend.ensure_log_group(group)
            self._backend.ensure_log_stream(group, stream)

    def put(self, stream: str, line: str, group: str = LOG_GROUP) -> None:
        """Take one line. CloudWatch Logs has no empty events, so an empty line is dropped."""
        if line:
            with self._lock:
                events = self._waiting.setdefault((group, stream), [])
                events.append({"timestamp": now_ms(), "message": line})

    def flush(self) -> None:
        """Write everything that waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            for (group, stream), events in waiting.items():
                # A clock that steps back would make moto refuse the batch.
                events.sort(key=lambda event: int(event["timestamp"]))
                self._backend.ensure_log_group(group)
                self._backend.ensure_log_stream(group, stream)
                self._backend.put_log_events(group, stream, events)

    def _run(self) -> None:
        while not self._closed.wait(self._period_s):
            self.flush()
