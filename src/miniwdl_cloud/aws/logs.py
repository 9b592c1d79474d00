"""Amazon CloudWatch Logs: reading a job's log stream while it grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import NotFound
from .error_mapping import map_errors
from .session import AwsSession

BATCH_LOG_GROUP = "/aws/batch/job"
"""Where Batch sends the log of a job whose definition says nothing else."""

PAGES_PER_CALL = 100
"""Bound on the pages (of at most 1 MB) that one look at a stream reads."""


@dataclass(frozen=True)
class LogEvent:
    """One event of a log stream: its time in milliseconds since 1970, and its text."""

    timestamp_ms: int
    message: str


class LogStream:
    """One log stream, read from its beginning, or from a time on.

    Parameters
    ----------
    group, name
        Log group and log stream. The stream need not exist yet: Batch names a job's stream before
        the first event creates it.
    since_ms
        Time in milliseconds since 1970; earlier events are left out.
    """

    def __init__(
        self, session: AwsSession, group: str, name: str, since_ms: int | None = None
    ) -> None:
        self.group = group
        self.name = name
        self._since_ms = since_ms
        self._client = session.client("logs")
        self._token: str | None = None

    def new_events(self) -> Iterator[LogEvent]:
        """The events that came since the last call.

        A page may be empty with more behind it; the end of what is there now is a page that
        returns the token it was asked with (GetLogEvents, `nextForwardToken`).
        """
        for _ in range(PAGES_PER_CALL):
            request = {
                "logGroupName": self.group,
                "logStreamName": self.name,
                "startFromHead": True,
            }
            if self._since_ms is not None:
                request["startTime"] = self._since_ms
            if self._token is not None:
                request["nextToken"] = self._token
            try:
                with map_errors(f"reading the log stream {self.name}"):
                    page = self._client.get_log_events(**request)
            except NotFound:
                return
            for event in page["events"]:
                yield LogEvent(event["timestamp"], event["message"])
            token = page["nextForwardToken"]
            if token == self._token:
                return
            self._token = token
