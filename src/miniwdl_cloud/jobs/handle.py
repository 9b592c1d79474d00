"""What a task's thread holds while its job is under way: a mailbox, and nothing that polls."""

from __future__ import annotations

import queue
from dataclasses import dataclass

from .request import JobSnapshot


@dataclass(frozen=True)
class Submitted:
    """The queue service took the job."""

    job_id: str


@dataclass(frozen=True)
class Waiting:
    """The job cannot be submitted at this time, because the service has no room for it."""

    reason: str


@dataclass(frozen=True)
class Changed:
    """The job is in another state, or its reason is another."""

    snapshot: JobSnapshot


@dataclass(frozen=True)
class Ended:
    """The job is over."""

    snapshot: JobSnapshot


@dataclass(frozen=True)
class Lost:
    """The queue service has not known the job for minutes."""

    job_id: str


@dataclass(frozen=True)
class Cancelled:
    """The job was terminated (or never submitted) because the run is being terminated.

    Parameters
    ----------
    job_id
        ``None`` if it was never submitted.
    error
        What went wrong if the job could not be terminated.
    """

    job_id: str | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Refused:
    """The job could not be submitted, and trying again would not help."""

    error: Exception


News = Waiting | Submitted | Changed | Ended | Lost | Cancelled | Refused
LAST_NEWS = (Ended, Lost, Cancelled, Refused)
"""After one of these nothing more comes."""


class JobHandle:
    """Tells one task's thread what becomes of its job."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()

    def next(self, timeout_s: float) -> News | None:
        """The next piece of news, or ``None`` when none came within ``timeout_s`` seconds."""
        try:
            return self._news.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def tell(self, news: News) -> None:
        """For the dispatcher: put a piece of news into the mailbox."""
        self._news.put(news)
