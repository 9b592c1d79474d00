"""Ends the jobs of processes that are gone."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..errors import MiniwdlCloudError, Throttled, Unreachable
from ..jobs.request import JobSnapshot
from ..jobs.service import QueueService
from .lease import (
    EXPIRY_S,
    Lease,
    LeaseRecord,
    claim,
    filesystem_now,
    is_gone,
    read_lease,
    read_leases,
)
from .lease import remove as remove_lease
from .ledger import Submission, read_ledger

logger = logging.getLogger("miniwdl-cloud.accounting")

_T = TypeVar("_T")

REASON = "its workflow job is gone"
"""What TerminateJob is told."""
SETTLED_S = 60.0
"""Seconds after its last submission from which on a queue service shows all jobs of a process:
lists and descriptions may lag behind for some."""
END_WITHIN_S = 180.0
"""Seconds that terminated jobs may take to end: Batch sends SIGTERM, and SIGKILL 30 s later."""
CALL_EVERY_S = 0.05
"""Least seconds between two calls that terminate."""
LOOK_EVERY_S = 2.0
"""Seconds between two looks at what is ending."""


@dataclass(frozen=True)
class Orphan:
    """A job without a workflow job that waits for it.

    Parameters
    ----------
    holder
        What is gone, in words.
    job_id, name, queue
        The job; of an array job the whole.
    tasks
        How many tasks it holds.
    """

    holder: str
    job_id: str
    name: str
    queue: str
    tasks: int = 1


@dataclass
class Reaped:
    """What a reaper found and did.

    Parameters
    ----------
    gone
        In words, the processes that are gone and whose leases were found.
    orphans
        Their jobs that had not ended.
    ended
        Ids of those that have ended since.
    undone
        Why anything is left: a sentence each.
    definitions
        Names of definitions for one attempt alone that were left.
    """

    gone: list[str]
    orphans: list[Orphan]
    ended: set[str]
    undone: list[str]
    definitions: list[str] = field(default_factory=list)

    @classmethod
    def nothing(cls) -> Reaped:
        """Nothing found."""
        return cls([], [], set(), [])

    def add(self, other: Reaped) -> None:
        """Take in what another found and did."""
        self.gone += other.gone
        self.orphans += other.orphans
        self.ended |= other.ended
        self.undone += other.undone
        self.definitions += other.definitions


class Terminator:
    """Ends jobs, and sees that they end.

    Parameters
    ----------
    service
        The queue service.
    stopped
        Whether to leave off.
    patience_s
        Seconds that jobs may take to show and to end.
    clock, sleep
        Monotonic seconds, and a way to let them pass.
    """

    def __init__(
        self,
        service: QueueService,
        stopped: Callable[[], bool] = lambda: False,
        patience_s: float = END_WITHIN_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._service = service
        self._stopped = stopped
        self._patience_s = patience_s
        self._clock = clock
        self._sleep = sleep

    def end(self, done: Reaped) -> None:
        """Terminate the orphans of a finding, and see that they end."""
        until = self._clock() + self._patience_s
        for orphan in done.orphans:
            if self._stopped():
                done.undone.append("The reaper was stopped before it was done.")
                return
            try:
                self._terminate(orphan.job_id, until)
            except MiniwdlCloudError as exn:
                done.undone.append(f"Job {orphan.job_id} could not be terminated: {exn.message}")
                if isinstance(exn, Unreachable):
                    return
            self._sleep(CALL_EVERY_S)
        sizes = {orphan.job_id: orphan.tasks for orphan in done.orphans}
        until = self._clock() + self._patience_s
        while True:
            for job_id, snapshot in self._describe([i for i in sizes if i not in done.ended]):
                if has_ended(snapshot, sizes[job_id]):
                    done.ended.add(job_id)
            left = len(sizes) - len(done.ended)
            if not left or done.undone:
                return
            if not self._wait_until(until):
                done.undone.append(
                    f"{left} of the terminated jobs have not ended yet; reap again later."
                )
                return

    def _terminate(self, job_id: str, until: float) -> None:
        pause = 1.0
        while True:
            try:
                self._service.terminate(job_id, REASON)
                return
            except Unreachable:
                if self._stopped() or self._clock() + pause > until:
                    raise
            self._sleep(pause)
            pause = min(20.0, pause * 2)

    def _wait_until(self, until: float) -> bool:
        """Let some time pass, unless the time is over or the reaper is to leave off."""
        if self._stopped() or self._clock() >= until:
            return False
        self._sleep(LOOK_EVERY_S)
        return True

    def _describe(self, ids: Sequence[str]) -> Iterator[tuple[str, JobSnapshot]]:
        yield from describe_all(self._service, ids, self._sleep)


class Reaper(Terminator):
    """Looks leases up, and ends the jobs of those whose processes are gone.

    Several may do so at once: a lease is claimed first, under the id of the reaper's own.

    Parameters
    ----------
    service
        The queue service.
    lease
        The lease of this process.
    more
        As of `Terminator`.
    """

    def __init__(self, service: QueueService, lease: Lease, **more: Any) -> None:
        super().__init__(service, **more)
        self._lease = lease

    def dead_leases(self) -> list[LeaseRecord]:
        """The leases of processes that are gone, those first that died first.

        Raises
        ------
        OSError
            The accounting directory cannot be read.
        MiniwdlCloudError
            The queue service cannot be asked.
        """
        ours = [
            record
            for record in read_leases(self._lease.base)
            if record.id != self._lease.id and record.service in ("", self._lease.service)
        ]
        if not ours:
            return []
        now = filesystem_now(self._lease.base)
        _sweep(self._lease.base, now)
        jobs = {r.holder.job_id for r in ours if r.holder and r.holder.job_id}
        found = dict(self._describe(sorted(jobs)))

        def has_ended(job_id: str) -> bool | None:
            return found[job_id].state.ended if job_id in found else None

        return [r for r in ours if is_gone(r, now, self._lease.holder, has_ended)]

    def claim(self, record: LeaseRecord) -> bool:
        """Whether a dead lease is in the care of this process now."""
        base = self._lease.base

        def is_dead(lease_id: str) -> bool:
            try:
                other = read_lease(base / lease_id)
            except FileNotFoundError:
                return True

            def has_ended(job_id: str) -> bool | None:
                snapshot = dict(self._describe([job_id])).get(job_id)
                return None if snapshot is None else snapshot.state.ended

            return is_gone(other, filesystem_now(base), self._lease.holder, has_ended)

        try:
            return claim(record.directory, self._lease.id, is_dead, lambda: filesystem_now(base))
        except OSError as exn:
            # Removed by another reaper a moment ago, or not ours to touch.
            logger.debug("the lease %s was not claimed: %s", record.id, exn)
            return False

    def open_jobs(self, record: LeaseRecord) -> list[Orphan]:
        """The jobs of a dead lease that have not ended."""
        settled = self._clock() + min(self._patience_s, SETTLED_S - self._age(record))
        ids = self._ids(read_ledger(record.ledger), settled)
        missing, known = dict(ids), {}
        while missing:
            for job_id, snapshot in self._describe(list(missing)):
                known[job_id] = snapshot
                del missing[job_id]
            # What is not shown so long after it was submitted ended days ago.
            if not missing or not self._wait_until(settled):
                break
        return [
            Orphan(
                _name(record), job_id, ids[job_id].name, ids[job_id].queue, len(ids[job_id].tasks)
            )
            for job_id, snapshot in known.items()
            if not has_ended(snapshot, len(ids[job_id].tasks))
        ]

    def reap_all(self, dry_run: bool = False) -> Reaped:
        """Find the leases of processes that are gone, and end their jobs.

        What cannot be done is in the result, also where the queue service does not answer; raises
        what `dead_leases` raises.
        """
        done = Reaped.nothing()
        for record in self.dead_leases():
            if self._stopped():
                break
            if not dry_run and not self.claim(record):
                continue
            try:
                done.add(self.reap(record, dry_run))
            except MiniwdlCloudError as exn:
                done.add(Reaped([_name(record)], [], set(), [exn.message]))
            except OSError as exn:
                done.add(Reaped([_name(record)], [], set(), [f"{record.directory}: {exn}"]))
        return done

    def reap(self, record: LeaseRecord, dry_run: bool = False) -> Reaped:
        """End the jobs of a claimed lease, and remove it once they have.

        Raises
        ------
        OSError
            The lease cannot be read or removed.
        MiniwdlCloudError
            The queue service cannot be asked.
        """
        orphans = self.open_jobs(record)
        done = Reaped([_name(record)], orphans, set(), [])
        if dry_run:
            return done
        self.end(done)
        if not done.undone:
            remove_lease(record.directory)
        return done

    def _age(self, record: LeaseRecord) -> float:
        """Seconds since the lease's process last wrote into its ledger."""
        try:
            with record.ledger.open("rb") as file:
                written = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return SETTLED_S
        return filesystem_now(self._lease.base) - written

    def _ids(self, submissions: Sequence[Submission], settled: float) -> dict[str, Submission]:
        """Submissions by their ids; names of which none is known are looked up."""
        found = {s.job_id: s for s in submissions if s.job_id is not None}
        doubtful = [s for s in submissions if s.job_id is None]
        while doubtful:
            for submission in list(doubtful):
                job_id = self._service.find(submission.request)
                if job_id is not None:
                    found[job_id] = submission
                    doubtful.remove(submission)
            if not doubtful or not self._wait_until(settled):
                break
        return found


def describe_all(
    service: QueueService, ids: Sequence[str], sleep: Callable[[float], None]
) -> Iterator[tuple[str, JobSnapshot]]:
    """What the service says of many jobs; slower when it asks for that.

    Raises
    ------
    MiniwdlCloudError
        It does not answer.
    """
    for start in range(0, len(ids), service.describe_max):
        chunk = ids[start : start + service.describe_max]
        found = unhurried(partial(service.describe, chunk), sleep)
        yield from found.items()


def unhurried(call: Callable[[], _T], sleep: Callable[[float], None]) -> _T:
    """What a call returns; made again, more and more slowly, where the service asks for that.

    Raises
    ------
    MiniwdlCloudError
        It does not answer.
    """
    for pause in (1.0, 2.0, 4.0, 8.0):
        try:
            return call()
        except Throttled:
            sleep(pause)
    return call()


def has_ended(snapshot: JobSnapshot, tasks: int) -> bool:
    """Whether a job has ended; an array job lags behind the last of its children."""
    ended = sum(count for state, count in snapshot.children.items() if state.ended)
    return snapshot.state.ended or (tasks > 1 and ended >= tasks)


def _name(record: LeaseRecord) -> str:
    return record.holder.name if record.holder else f"the process of {record.id}"


def _sweep(base: Path, now: float) -> None:
    """Remove what processes left that died while they removed a lease, or told the time."""
    for probe in base.glob(".now.*"):
        try:
            if now - probe.stat().st_mtime > EXPIRY_S:
                probe.unlink()
        except OSError:
            # Another process has removed it, or only that may.
            continue
    for leftover in base.glob(".ended.*"):
        shutil.rmtree(leftover, ignore_errors=True)
