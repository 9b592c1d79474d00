"""Watching submitted jobs: by events where there are any, else by looking, a hundred a call; at
array jobs by their counts."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence

from ..errors import Throttled
from .handle import Ended, Lost
from .options import DispatchOptions
from .pacing import Pacing
from .push import BULK, CROWD, Arrivals, JobEvent
from .request import JobSnapshot, JobState
from .service import QueueService
from .state import Job, Unit

YOUNG_SHARE = 0.25
"""A young job is looked at again after this share of its age."""
SOONEST_LOOK = 0.1
"""Seconds between two looks at the youngest job."""
WORTH_A_CALL = 50
"""Children that ended unnoticed, from which on looking them up costs little for each."""
LOOK_AT_WAITERS = 60.0
"""Seconds between two looks at why children of an array job wait."""
RECONCILE_FACTOR = 10.0
"""By so much looks are rarer while events arrive."""
RECONCILE_MOST = 30.0
"""Seconds between two looks up to which they become rarer."""
BULK_FACTOR = 2.5
"""By so much looks at an array are rarer while more jobs than `push.BULK` are under way."""
_WAITING = (JobState.SUBMITTED, JobState.PENDING, JobState.RUNNABLE)


class Watcher:
    """Polls submitted units and tells their jobs' news.

    One DescribeJobs call shows a hundred units; that of an array job shows how many of its children
    are in each state. Only when these counts say that children ended are the children looked up:
    at once where it is many, or all that are left; for a few of many at a slower pace.

    While events arrive, it looks only now and then, for what they may have missed.

    Parameters
    ----------
    service, options, clock, well, trouble
        As of `Submitter`.
    arrivals
        Of events, if there is a source of them.
    """

    def __init__(
        self,
        service: QueueService,
        options: DispatchOptions,
        clock: Callable[[], float],
        well: Callable[[], None],
        trouble: Callable[[Exception], None],
        arrivals: Arrivals | None = None,
    ) -> None:
        self._service = service
        self._options = options
        self._clock = clock
        self._well = well
        self._trouble = trouble
        self._arrivals = arrivals
        self._relied_on_events = False
        self._under_way = 0
        self._by_id: dict[str, Job] = {}
        self._order = itertools.count()
        self._due: list[tuple[float, int, Unit]] = []
        self._stale: list[Unit] = []
        self._waiting: list[Unit] = []
        now = clock()
        self._pacing = Pacing(options.describe_rate, now)
        self._refreshes = Pacing(options.refresh_rate, now)
        self._large_refreshes = Pacing(options.large_refresh_rate, now)

    def watch(self, unit: Unit, at_once: bool = False) -> None:
        """Begin to watch a submitted unit; ``at_once`` if it may have ended long ago."""
        now = self._clock()
        if self._arrivals is not None:
            self._by_id.update({job.job_id or "": job for job in unit.open_jobs})
            early = self._arrivals.submitted([job.request.name for job in unit.jobs])
            for snapshot in early.values():
                self._heard(snapshot)
        self._push(unit, now if at_once else now + self._period(unit, now))

    def take(self, events: Sequence[JobEvent]) -> list[JobEvent]:
        """Take events; returns those that are of other processes' jobs."""
        others = []
        for event in events:
            if self._arrivals is not None and self._arrivals.is_ours(event):
                self._heard(event.snapshot)
            else:
                others.append(event)
        if self._arrivals is not None and len(others) == len(events) >= CROWD:
            self._arrivals.crowded()
        return others

    def _heard(self, snapshot: JobSnapshot) -> None:
        job = self._by_id.get(snapshot.job_id)
        # A cancelled job's news is that it was terminated.
        if job is not None and not job.cancelling:
            self._tell(job, snapshot)

    def due(self, now: float, under_way: int) -> float:
        """Do what is due; returns when to come back.

        Parameters
        ----------
        under_way
            How many jobs this process waits for.
        """
        self._under_way = under_way
        wake = self._events_due(now)
        return min(wake, self._look_due(now), self._refresh_due(now))

    def _events_due(self, now: float) -> float:
        if self._arrivals is None:
            return float("inf")
        wake = self._arrivals.check(now)
        relies, self._relied_on_events = self._relied_on_events, self._arrivals.healthy
        if relies and not self._arrivals.healthy:
            # Looks were put off; no longer.
            units = [unit for _, _, unit in self._due]
            self._due = []
            for unit in units:
                self._push(unit, now + self._period(unit, now))
        return wake

    def _push(self, unit: Unit, when: float) -> None:
        heapq.heappush(self._due, (when, next(self._order), unit))

    def _period(self, unit: Unit, now: float) -> float:
        period = self._options.describe_period
        if self._arrivals is not None and self._arrivals.healthy:
            return max(period, min(RECONCILE_MOST, period * RECONCILE_FACTOR))
        if unit.is_array and self._under_way > BULK:
            return period * BULK_FACTOR
        young = max(SOONEST_LOOK, (now - unit.submitted) * YOUNG_SHARE)
        return min(period, young)

    def _look_due(self, now: float) -> float:
        while self._due and _over(self._due[0][2]):
            heapq.heappop(self._due)
        if not self._due:
            return float("inf")
        if self._due[0][0] > now:
            return self._due[0][0]
        if not self._pacing.take(now):
            return self._pacing.next_at(now)
        batch: dict[str, Unit] = {}
        # A call costs the same for one job and for a full batch, so it takes the next due along.
        while self._due and len(batch) < self._service.describe_max:
            unit = heapq.heappop(self._due)[2]
            if not _over(unit) and unit.job_id is not None:
                batch[unit.job_id] = unit
        found = self._describe(list(batch))
        now = self._clock()
        for job_id, unit in batch.items():
            if found is None:
                # Whatever goes wrong with looking, the jobs themselves run on.
                self._push(unit, now + max(1.0, self._options.describe_period))
                continue
            self._saw(unit, found.get(job_id), now)
            if not _over(unit):
                self._push(unit, now + self._period(unit, now))
        return now

    def _describe(self, ids: list[str]) -> dict[str, JobSnapshot] | None:
        try:
            found = dict(self._service.describe(ids))
        except Exception as exn:
            self._in_trouble(exn)
            return None
        self._well()
        return found

    def _in_trouble(self, error: Exception) -> None:
        if isinstance(error, Throttled):
            self._pacing.slow_down(self._clock())
        self._trouble(error)

    def _saw(self, unit: Unit, snapshot: JobSnapshot | None, now: float) -> None:
        if snapshot is None:
            # Batch is eventually consistent: a job just submitted may be left out for a while.
            unit.missing_since = unit.missing_since or now
            if now - unit.missing_since > self._options.lost_after:
                for job in unit.open_jobs:
                    job.finish(Lost(job.job_id or ""))
            return
        unit.missing_since = None
        if not unit.is_array:
            self._saw_job(unit.jobs[0], snapshot)
            return
        unit.summary = dict(snapshot.children)
        if (_unnoticed(unit) or _unseen_running(unit)) and unit not in self._stale:
            self._stale.append(unit)
        waits = snapshot.children.get(JobState.RUNNABLE, 0) > 0
        since = unit.submitted if unit.waiters_seen is None else unit.waiters_seen
        if waits and now - since >= LOOK_AT_WAITERS and unit not in self._waiting:
            self._waiting.append(unit)

    # Children of array jobs

    def _refresh_due(self, now: float) -> float:
        while self._waiting:
            if not self._pacing.take(now):
                return self._pacing.next_at(now)
            self._look_at_waiters(self._waiting.pop())
            now = self._clock()
        while self._stale:
            self._stale = [unit for unit in self._stale if not _over(unit)]
            if not self._stale:
                break
            unit = max(self._stale, key=_unnoticed)
            count = _unnoticed(unit)
            few = count < min(WORTH_A_CALL, len(unit.open_jobs))
            large = len(unit.open_jobs) > self._service.describe_max
            many = large or self._under_way > BULK
            pacing = self._large_refreshes if many else self._refreshes
            if few and not pacing.take(now):
                return pacing.next_at(now)
            if not self._pacing.take(now):
                return self._pacing.next_at(now)
            self._stale.remove(unit)
            self._refresh(unit)
            now = self._clock()
        return float("inf")

    def _refresh(self, unit: Unit) -> None:
        """Look an array's children up: all that are open where one call shows them, and those of
        other arrays along with them; else those that ended by the lists of states."""
        by_id = _open_by_id(unit)
        if len(by_id) <= self._service.describe_max:
            for other in list(self._stale):
                more = _open_by_id(other)
                if len(by_id) + len(more) <= self._service.describe_max:
                    self._stale.remove(other)
                    by_id.update(more)
            self._look_at(list(by_id), by_id)
            return
        try:
            ended = [
                child
                for state in (JobState.FAILED, JobState.SUCCEEDED)
                if unit.summary.get(state, 0)
                for child in self._service.list_children(unit.job_id or "", state)
                if child in by_id
            ]
            running = (
                self._service.list_children(unit.job_id or "", JobState.RUNNING)
                if _unseen_running(unit)
                else ()
            )
        except Exception as exn:
            self._in_trouble(exn)
            return
        for child in running:
            if child in by_id and by_id[child].last is None:
                by_id[child].saw(JobSnapshot(child, JobState.RUNNING))
        for start in range(0, len(ended), self._service.describe_max):
            self._look_at(ended[start : start + self._service.describe_max], by_id)

    def _look_at(self, ids: list[str], jobs: dict[str, Job]) -> None:
        for job_id, snapshot in (self._describe(ids) or {}).items():
            if job_id in jobs and not jobs[job_id].done:
                self._saw_job(jobs[job_id], snapshot)

    def _look_at_waiters(self, unit: Unit) -> None:
        """Look at the first children that wait: Batch says of the head of a queue why it cannot
        start, and of the others nothing."""
        unit.waiters_seen = self._clock()
        waiting = [job for job in unit.open_jobs if job.last is None or job.last.state in _WAITING]
        by_id = {job.job_id: job for job in waiting if job.job_id is not None}
        self._look_at(list(by_id)[: self._service.describe_max], by_id)

    # News of one job

    def _saw_job(self, job: Job, snapshot: JobSnapshot) -> None:
        if self._arrivals is not None and snapshot.state.ended and not job.done:
            self._arrivals.ended_unannounced(snapshot.job_id)
        self._tell(job, snapshot)

    def _tell(self, job: Job, snapshot: JobSnapshot) -> None:
        if snapshot.state.ended:
            self._by_id.pop(snapshot.job_id, None)
            job.finish(Ended(snapshot))
        else:
            job.saw(snapshot)


def _open_by_id(unit: Unit) -> dict[str, Job]:
    return {job.job_id: job for job in unit.open_jobs if job.job_id is not None}


def _over(unit: Unit) -> bool:
    """Whether nobody waits for news of a unit any more."""
    return unit.cancelling


def _unnoticed(unit: Unit) -> int:
    """How many children ended without our having looked at them."""
    ended = unit.summary.get(JobState.SUCCEEDED, 0) + unit.summary.get(JobState.FAILED, 0)
    return max(0, ended - sum(job.done for job in unit.jobs))


def _unseen_running(unit: Unit) -> int:
    """How many children run without our having seen them run."""
    seen = sum(
        not job.done and job.last is not None and job.last.state is JobState.RUNNING
        for job in unit.jobs
    )
    return max(0, unit.summary.get(JobState.RUNNING, 0) - seen)
