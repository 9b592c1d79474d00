"""What the dispatcher knows of the jobs in its care. Its thread alone changes any of this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .handle import Changed, JobHandle, News
from .request import JobRequest, JobSnapshot, JobState


@dataclass(eq=False)
class Job:
    """One task's job, from request to end."""

    request: JobRequest
    cancelled: Callable[[], bool]
    handle: JobHandle
    job_id: str | None = None
    last: JobSnapshot | None = None
    unit: Unit | None = None
    cancelling: bool = False
    done: bool = False

    def finish(self, news: News) -> None:
        """Tell the last news; anything later is dropped."""
        if not self.done:
            self.done = True
            self.handle.tell(news)

    def saw(self, snapshot: JobSnapshot) -> None:
        """Take a snapshot of a job that has not ended, and tell what is new in it."""
        last = self.last
        if last is not None:
            if _order(snapshot.state) < _order(last.state):
                # A stale answer, or Batch's own retry; either way nothing to report.
                return
            if (last.state, last.status_reason, last.log_stream) == (
                snapshot.state,
                snapshot.status_reason,
                snapshot.log_stream,
            ):
                return
        self.last = snapshot
        self.handle.tell(Changed(snapshot))


@dataclass(eq=False)
class Unit:
    """What one submission holds: a job, or several of one kind as an array job."""

    jobs: list[Job]
    job_id: str | None = None
    submitted: float = 0.0
    under_way: bool = False
    doubt_since: float | None = None
    tries: int = 0
    not_before: float = 0.0
    invisible_since: float | None = None
    told_waiting: bool = False
    missing_since: float | None = None
    waiters_seen: float | None = None
    summary: dict[JobState, int] = field(default_factory=dict)

    @property
    def request(self) -> JobRequest:
        """The request that the submission is named after."""
        return self.jobs[0].request

    @property
    def in_doubt(self) -> bool:
        """Whether a submission may have taken effect although its answer was lost."""
        return self.doubt_since is not None

    @property
    def is_array(self) -> bool:
        """Whether it is an array job."""
        return len(self.jobs) > 1

    @property
    def open_jobs(self) -> list[Job]:
        """Its jobs that have not ended."""
        return [job for job in self.jobs if not job.done]

    @property
    def cancelling(self) -> bool:
        """Whether none of its open jobs is wanted any more."""
        return all(job.cancelling for job in self.jobs if not job.done)


def _order(state: JobState) -> int:
    return list(JobState).index(state)
