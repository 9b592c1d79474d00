"""One thread that talks to a queue service on behalf of all tasks of this process.

Task threads put requests in and wait on their `JobHandle`. The dispatcher's thread submits them
(`submitting.py`), watches them (`watching.py`), and terminates what is cancelled. It alone owns the
state; calls that change something run in a few lanes and come back to it as messages, and so do the
service's own events (`push.py`).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from ..errors import CredentialsExpired, Unreachable
from ..patience import OUTAGE_MOST
from .handle import Cancelled, JobHandle, Refused, Submitted
from .options import DispatchOptions
from .push import VERDICT_WITHIN, Arrivals, EventSource, JobEvent, Listener
from .request import Definition, JobRequest
from .service import QueueService
from .state import Job, Unit
from .submitting import Submitter
from .watching import Watcher

logger = logging.getLogger("miniwdl-cloud.dispatcher")

CANCEL_CHECK = 0.25
"""Seconds between two checks whether tasks are cancelled."""


class Dispatcher:
    """Submits, watches and terminates jobs.

    Parameters
    ----------
    service
        The queue service.
    options
        Its behaviour.
    clock
        Seconds, monotonic.
    executor
        Runs the calls that change something; made here by default.
    events
        Where the service's own events come from, if anywhere. They are listened to while there are
        jobs, once the dispatcher's thread is started.
    """

    def __init__(
        self,
        service: QueueService,
        options: DispatchOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
        events: EventSource | None = None,
    ) -> None:
        options = options or DispatchOptions()
        self._service = service
        self._clock = clock
        self._lanes = executor or ThreadPoolExecutor(options.lanes, "miniwdl-cloud-lane")
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._retired: queue.SimpleQueue[Definition] = queue.SimpleQueue()
        self._jobs: set[Job] = set()
        self._submitter = Submitter(
            service,
            options,
            self._lanes,
            self._inbox.put,
            clock,
            self._submitted,
            self._well,
            self._trouble,
        )
        self._arrivals = Arrivals(clock) if events is not None else None
        self._listener = (
            Listener(events, self.hear, self._listener_failed) if events is not None else None
        )
        self._watcher = Watcher(service, options, clock, self._well, self._trouble, self._arrivals)
        self._next_cancel_check = clock()
        self._trouble_since: float | None = None
        self._expired: tuple[float, CredentialsExpired] | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    # For task threads

    def submit(self, request: JobRequest, cancelled: Callable[[], bool]) -> JobHandle:
        """Put a job into the queue; returns at once.

        Parameters
        ----------
        request
            The job.
        cancelled
            Asked a few times a second while the job is under way; once true, the job is
            terminated.
        """
        job = Job(request, cancelled, JobHandle())
        self._inbox.put(lambda: self._enter(job))
        return job.handle

    def adopt(self, request: JobRequest, job_id: str, cancelled: Callable[[], bool]) -> JobHandle:
        """Watch a job that another process submitted, as if it had been submitted here.

        Parameters
        ----------
        request
            What it was submitted with; its name and queue are enough.
        job_id
            Its id; of an array job's child, the child's.
        cancelled
            As of `submit`.
        """
        job = Job(request, cancelled, JobHandle(), job_id)
        self._inbox.put(lambda: self._adopted(job))
        return job.handle

    def retire(self, definition: Definition) -> None:
        """Let go of a definition that no job will be submitted with any more; returns at once."""
        self._retired.put(definition)
        self._inbox.put(lambda: None)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its thread died."""
        return self._closing.is_set() or (self._thread is not None and not self._thread.is_alive())

    def start(self) -> Dispatcher:
        """Start the thread; returns itself."""
        self._thread = threading.Thread(target=self._run, name="miniwdl-cloud-dispatcher")
        self._thread.daemon = True
        self._thread.start()
        if self._listener:
            self._listener.start()
        return self

    def close(self, timeout_s: float = 10.0) -> None:
        """Stop the thread; jobs under way stay as they are."""
        self._closing.set()
        if self._listener:
            self._listener.close()
        self._inbox.put(lambda: None)
        if self._thread:
            self._thread.join(timeout_s)
        self._lanes.shutdown(wait=False)
        if self._thread is None or not self._thread.is_alive():
            self._take_retired()
            self._submitter.finish()

    # For the listener's thread

    def hear(self, events: Sequence[JobEvent]) -> Sequence[JobEvent] | None:
        """Take events; returns those that are of other processes' jobs, or `None` if the
        dispatcher's thread did not come to look at them in time."""
        verdict: queue.SimpleQueue[Sequence[JobEvent]] = queue.SimpleQueue()
        self._inbox.put(lambda: verdict.put(self._watcher.take(events)))
        try:
            return verdict.get(timeout=VERDICT_WITHIN)
        except queue.Empty:
            return None

    def _listener_failed(self, error: Exception) -> None:
        arrivals = self._arrivals
        if arrivals is not None:
            self._inbox.put(lambda: arrivals.distrust(str(error)))

    # The dispatcher's thread

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                wake = self.step()
                try:
                    # Bounded, so that a wrong estimate costs a second, never a hang.
                    timeout = min(1.0, max(0.0, wake - self._clock()))
                    self._inbox.get(timeout=timeout)()
                except queue.Empty:
                    pass
        except Exception as exn:
            logger.exception("the dispatcher failed")
            self._closing.set()
            for job in self._jobs:
                job.finish(Refused(exn))

    def step(self) -> float:
        """Do all that is due; returns when to come back, in seconds on the clock."""
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                break
            message()
        self._take_retired()
        now = self._clock()
        self._check_cancelled(now)
        self._check_expired(now)
        if self._listener and self._arrivals:
            self._listener.want(self._arrivals.worth_receiving(len(self._jobs)))
        wake = min(self._submitter.due(now), self._watcher.due(now, len(self._jobs)))
        return min(wake, self._next_cancel_check) if self._jobs else wake

    def _take_retired(self) -> None:
        while not self._retired.empty():
            self._submitter.retire(self._retired.get())

    def _enter(self, job: Job) -> None:
        self._jobs.add(job)
        if self._arrivals:
            self._arrivals.expect(job.request.name)
        self._submitter.enter(job)

    def _adopted(self, job: Job) -> None:
        unit = job.unit = Unit([job], job.job_id, self._clock())
        self._jobs.add(job)
        if self._arrivals:
            self._arrivals.expect(job.request.name)
        job.handle.tell(Submitted(job.job_id or ""))
        self._watcher.watch(unit, at_once=True)

    def _submitted(self, unit: Unit) -> None:
        unwanted = [job for job in unit.open_jobs if job.cancelling]
        self._terminate(unit, unwanted)
        if len(unwanted) < len(unit.open_jobs):
            self._watcher.watch(unit)

    # Terminating

    def _check_cancelled(self, now: float) -> None:
        if now < self._next_cancel_check:
            return
        self._next_cancel_check = now + CANCEL_CHECK
        self._jobs = {job for job in self._jobs if not job.done}
        submitted: dict[Unit, list[Job]] = {}
        for job in self._jobs:
            if job.cancelling or not job.cancelled():
                continue
            job.cancelling = True
            if job.unit is not None and job.unit.job_id is not None:
                submitted.setdefault(job.unit, []).append(job)
            else:
                # Where it cannot be dropped, its submission is under way or in doubt, and
                # `_submitted` terminates what that brings.
                self._submitter.drop(job)
        for unit, jobs in submitted.items():
            self._terminate(unit, jobs)

    def _terminate(self, unit: Unit, jobs: list[Job]) -> None:
        """Terminate jobs of a unit: an array as a whole, if no other job of it is left."""
        if unit.is_array and len(jobs) > 1 and unit.cancelling:
            self._lanes.submit(self._terminate_in_lane, unit.job_id or "", jobs)
        else:
            for job in jobs:
                self._lanes.submit(self._terminate_in_lane, job.job_id or "", [job])

    def _terminate_in_lane(self, job_id: str, jobs: list[Job]) -> None:
        error: Exception | None = None
        for attempt in range(6):
            try:
                self._service.terminate(job_id, "terminated by miniwdl")
                error = None
                break
            except Exception as exn:
                error = exn
                if not isinstance(exn, Unreachable):
                    break
                # In a lane, not in the dispatcher's thread: waiting here delays nobody else.
                self._closing.wait(0.2 * 2**attempt)
        final = error

        def terminated() -> None:
            for job in jobs:
                job.finish(Cancelled(job.job_id, final))

        self._inbox.put(terminated)

    # Trouble with the service

    def _check_expired(self, now: float) -> None:
        """Give all tasks up if nobody has renewed the credentials for as long as an outage is
        waited for. Their jobs go on, as nobody may end them."""
        if self._expired is not None and now - self._expired[0] >= OUTAGE_MOST:
            error, self._expired = self._expired[1], None
            for job in self._jobs:
                job.finish(Refused(error))

    def _trouble(self, error: Exception) -> None:
        if isinstance(error, CredentialsExpired):
            self._expired = self._expired or (self._clock(), error)
        if self._trouble_since is None:
            self._trouble_since = self._clock()
            logger.warning("the queue service does not answer as it should; waiting: %s", error)

    def _well(self) -> None:
        self._expired = None
        if self._trouble_since is not None:
            seconds = self._clock() - self._trouble_since
            self._trouble_since = None
            logger.warning("the queue service answers again after %.0f s", seconds)
