"""What a run takes over from runs that are gone: their jobs, by what they do on which inputs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..jobs.request import JobRequest
from .ledger import Submission, Task


@dataclass(frozen=True)
class Offer:
    """A job of a run that is gone, for one task.

    Parameters
    ----------
    submission
        Its submission; of an array job the whole.
    index
        Which of the submission's tasks it is.
    """

    submission: Submission
    index: int

    @property
    def task(self) -> Task:
        """The task, as that run had it."""
        return self.submission.tasks[self.index]

    @property
    def directories(self) -> tuple[str, ...]:
        """The run directories that the task has had, newest first."""
        return (self.task.directory, *self.submission.earlier)

    @property
    def request(self) -> JobRequest:
        """As much of its request as it takes to find and to watch the job."""
        return self.submission.request

    def taken_into(self, directory: str, job_id: str) -> Submission:
        """What the adopting run's ledger says of it."""
        return replace(
            self.submission,
            tasks=(replace(self.task, directory=directory),),
            job_id=job_id,
            adopted=True,
            earlier=self.directories,
        )


class Offers:
    """The jobs that a run may take over, each once. May be used from several threads.

    Parameters
    ----------
    ledgers
        The submissions of runs that are gone, oldest run first, each in its order.
    """

    def __init__(self, ledgers: Sequence[Sequence[Submission]]) -> None:
        # A task's latest job counts: earlier ones were attempts that failed. An adopted job stands
        # in two ledgers, and the later one knows better where its task's files are.
        latest: dict[str, Offer] = {}
        adopted: dict[str, str] = {}
        for submission in (s for submissions in ledgers for s in submissions):
            for index, task in enumerate(submission.tasks):
                latest[task.directory] = Offer(submission, index)
                if submission.adopted:
                    adopted.update(dict.fromkeys(submission.earlier, task.directory))
        self._by_key: dict[str, list[Offer]] = {}
        for directory, offer in latest.items():
            if offer.task.key and directory not in adopted:
                self._by_key.setdefault(offer.task.key, []).append(offer)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return sum(len(offers) for offers in self._by_key.values())

    def take(self, key: str) -> Offer | None:
        """A job that does what this key stands for, if there is one; nobody else gets it."""
        with self._lock:
            offers = self._by_key.get(key)
            return offers.pop(0) if offers else None
