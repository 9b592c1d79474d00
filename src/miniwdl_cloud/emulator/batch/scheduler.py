"""The life of jobs: one thread that takes them from SUBMITTED to their end.

API calls change jobs under the service's lock and wake the thread; executors report through its
inbox. Containers are started and stopped outside the lock.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import logging
import math
import queue
import threading
import time
from collections.abc import Callable

from ..executors.base import ContainerExit, Executor
from ..faults.endings import BEFORE_START, Ending
from ..faults.endings import RUNNING as WHILE_RUNNING
from ..faults.jobs import Hold, JobFaults, PlannedEnding
from .base import BatchBase
from .capacity import find_room, why_never
from .events import EventEmitter
from .launch import LaunchError, Surroundings, make_spec
from .logs import LogWriter
from .models import (
    ACCOUNT_ID,
    BEFORE_STARTING,
    FAILED,
    PENDING,
    RUNNABLE,
    RUNNING,
    STARTING,
    SUCCEEDED,
    Attempt,
    Job,
    JobQueue,
    now_ms,
)
from .reasons import status_reason, why_refused
from .retry import should_retry

logger = logging.getLogger(__name__)

LAUNCHES_AT_ONCE = 16


class Scheduler:
    """Moves jobs on.

    Parameters
    ----------
    service
        The store of queues and jobs, with its lock.
    executor
        Runs containers.
    logs
        Takes their output.
    events
        Told of each change of a job's status.
    around
        What containers are told.
    faults
        What a fault plan has in store for jobs.
    stop_grace_s
        Seconds between SIGTERM and SIGKILL; ECS gives 30.
    """

    def __init__(
        self,
        service: BatchBase,
        executor: Executor,
        logs: LogWriter,
        events: EventEmitter,
        around: Surroundings,
        faults: JobFaults,
        stop_grace_s: float = 30.0,
    ) -> None:
        self._service = service
        self._executor = executor
        self._logs = logs
        self._events = events
        self._around = around
        self._faults = faults
        self._stop_grace_s = stop_grace_s
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_ids = itertools.count()
        self._stops: list[Attempt] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emulator-batch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; running containers are left to the executor's ``close``."""
        self._closed.set()
        self._wake()
        self._thread.join(timeout=30)

    # What API calls ask for; all with the service's lock held.

    def submitted(self, job: Job) -> None:
        """Take a new job in hand."""
        self._inbox.put(functools.partial(self._admit, job))

    def cancel(self, job: Job, reason: str) -> None:
        """End a job that has not reached STARTING, or such children of an array job."""
        if job.is_terminal:
            return
        if job.children is not None:
            job.is_cancelled = True
            job.stop_reason = reason
            for child in job.children:
                self.cancel(child, reason)
        elif job.status in BEFORE_STARTING:
            job.is_cancelled = True
            self._finish(job, FAILED, reason)

    def terminate(self, job: Job, reason: str) -> None:
        """End a job in whatever state, and its children."""
        if job.is_terminal:
            return
        job.is_terminated = True
        job.stop_reason = reason
        if job.children is not None:
            for child in job.children:
                self.terminate(child, reason)
            if not job.is_terminal:
                job.status_reason = reason
        elif job.status in BEFORE_STARTING:
            self._finish(job, FAILED, reason)
        else:
            job.status_reason = reason
            self._stop_attempt(job)

    def interrupt(self, job: Job) -> None:
        """End the running attempt as the loss of its spot instance does."""
        if job.status in (STARTING, RUNNING) and job.attempt is not None:
            job.attempt.interrupted = True
            self._stop_attempt(job)

    def reconsider(self) -> None:
        """Look again at jobs that did not fit: an environment or a queue has changed."""
        for job_queue in self._service.queues.values():
            misfits, job_queue.misfits = job_queue.misfits, {}
            for job in misfits.values():
                job.status_reason = None
            job_queue.runnable.extendleft(reversed(misfits.values()))
        self._wake()

    def end_queue(self, job_queue: JobQueue) -> None:
        """Terminate every job of a queue that is deleted."""
        for job in list(self._service.jobs.values()):
            if job.queue is job_queue and job.parent is None:
                self.terminate(job, "Job queue deleted")

    # The thread.

    def _wake(self) -> None:
        self._inbox.put(lambda: None)

    def _run(self) -> None:
        launches: list[tuple[Job, Attempt]] = []
        while not self._closed.is_set():
            messages = self._take(wait=not launches)
            with self._service.lock:
                for message in messages:
                    self._do(message)
                self._fire_timers()
                launches = self._place()
                stops, self._stops = self._stops, []
            for attempt in stops:
                if attempt.handle is not None:
                    attempt.handle.stop(self._grace_s(attempt))
            for job, attempt in launches:
                self._launch(job, attempt)

    def _take(self, wait: bool) -> list[Callable[[], None]]:
        messages = []
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        try:
            if wait:
                messages.append(self._inbox.get(timeout=timeout))
            while len(messages) < 1000:
                messages.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        return messages

    def _at(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._timer_ids), action))

    def _fire_timers(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            self._do(heapq.heappop(self._timers)[2])

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            # One job's trouble must not stop all the others.
            logger.exception("the scheduler failed on a job")

    # SUBMITTED, PENDING, RUNNABLE.

    def _admit(self, job: Job) -> None:
        if job.status in BEFORE_STARTING:
            self._set_status(job, PENDING)
            for job_id in list(job.waits_for):
                self._dependency_ended(job, self._service.jobs[job_id])
            self._release(job)

    def _dependency_ended(self, job: Job, other: Job) -> None:
        if other.status == SUCCEEDED:
            job.waits_for.discard(other.id)
        elif other.status == FAILED and not job.is_terminal:
            self._fail_all(job, "Dependent Job failed")

    def _fail_all(self, job: Job, reason: str) -> None:
        self._finish(job, FAILED, reason)
        for child in job.children or []:
            if not child.is_terminal:
                self._finish(child, FAILED, reason)

    def _release(self, job: Job) -> None:
        if job.waits_for or job.status != PENDING:
            return
        if job.children is not None:
            for child in job.children:
                self._admit(child)
            return
        self._make_runnable(job)

    def _make_runnable(self, job: Job) -> None:
        self._set_status(job, RUNNABLE)
        job.runnable_at = now_ms()
        hold = self._faults.hold(job.name, job.queue.name, len(job.attempts) + 1)
        if hold is None:
            job.queue.runnable.append(job)
        else:
            self._hold(job, hold)
        for action in job.queue.detail.get("jobStateTimeLimitActions", []):
            self._at(
                action["maxTimeSeconds"],
                functools.partial(self._too_long_runnable, job, job.runnable_at, action["reason"]),
            )

    def _hold(self, job: Job, hold: Hold) -> None:
        """Keep a job RUNNABLE, as one that its queue cannot start."""
        job.status_reason = hold.status_reason
        job.queue.misfits[job.id] = job
        since = job.runnable_at

        def over() -> None:
            if job.runnable_at != since or job.queue.misfits.pop(job.id, None) is None:
                return
            if hold.canceled is None:
                job.status_reason = None
                job.queue.runnable.append(job)
            else:
                job.is_cancelled = True
                self._finish(job, FAILED, hold.canceled)

        if hold.seconds is not None:
            self._at(hold.seconds, over)

    def _too_long_runnable(self, job: Job, since: int, reason: str) -> None:
        if job.status == RUNNABLE and job.runnable_at == since:
            now = job.status_reason or "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"
            if not now.startswith(reason):
                return
            job.is_cancelled = True
            self._finish(
                job, FAILED, f"Canceled by JobStateTimeLimit action due to reason: {reason}"
            )

    # STARTING, RUNNING.

    def _place(self) -> list[tuple[Job, Attempt]]:
        launches: list[tuple[Job, Attempt]] = []
        by_priority = sorted(
            self._service.queues.values(), key=lambda q: int(q.detail["priority"]), reverse=True
        )
        for job_queue in by_priority:
            while job_queue.runnable and len(launches) < LAUNCHES_AT_ONCE:
                job = job_queue.runnable[0]
                if job.status != RUNNABLE:
                    job_queue.runnable.popleft()
                    continue
                environment = find_room(job)
                if environment is None:
                    job.status_reason = why_never(job)
                    if job.status_reason is None:
                        break
                    job_queue.misfits[job.id] = job
                    job_queue.runnable.popleft()
                    continue
                job_queue.runnable.popleft()
                refused = why_refused(job)
                if refused:
                    self._finish(job, FAILED, refused)
                    continue
                attempt = Attempt(len(job.attempts) + 1, environment)
                self._begin(job, attempt)
                launches.append((job, attempt))
        return launches

    def _begin(self, job: Job, attempt: Attempt) -> None:
        environment = attempt.environment
        environment.vcpus_used += job.vcpus
        cluster = environment.detail["ecsClusterArn"].rsplit("/", 1)[-1]
        prefix = f"arn:aws:ecs:{self._service.region}:{ACCOUNT_ID}"
        attempt.task_arn = f"{prefix}:task/{cluster}/{attempt.task_id}"
        if not environment.is_fargate:
            attempt.container_instance_arn = (
                f"{prefix}:container-instance/{cluster}/{attempt.task_id[::-1]}"
            )
            self._service.container_instances[attempt.container_instance_arn] = (job, attempt)
        job.attempts.append(attempt)
        job.started_at = None
        job.status_reason = None
        self._set_status(job, STARTING)

    def _launch(self, job: Job, attempt: Attempt) -> None:
        def post(action: Callable[[], None]) -> None:
            self._inbox.put(action)

        def on_started() -> None:
            post(functools.partial(self._started, job, attempt, stream, log_delay_s, planned))

        def on_log(line: str) -> None:
            if not log_delay_s:
                self._logs.put(stream, line)
            elif math.isfinite(log_delay_s):
                late = functools.partial(self._logs.put, stream, line)
                post(functools.partial(self._at, log_delay_s, late))

        def on_exit(result: ContainerExit) -> None:
            post(functools.partial(self._exited, job, attempt, result, planned))

        stream = f"{job.definition.name[:200]}/default/{attempt.task_id}"
        facts = (job.name, job.queue.name, attempt.number)
        log_delay_s = self._faults.log_delay_s(*facts)
        planned = self._faults.ending(*facts)
        if planned is not None and planned.ending.stage == BEFORE_START:
            on_exit(ContainerExit(None, None))
            return
        if attempt.stopping:
            on_exit(ContainerExit(None, None))
            return
        try:
            spec = self._faults.mounted(make_spec(job, attempt, self._around), *facts)
            handle = self._executor.start(spec, on_started, on_log, on_exit)
        except LaunchError as exn:
            on_exit(ContainerExit(None, str(exn)))
            return
        except Exception as exn:
            logger.exception("could not start job %s", job.id)
            on_exit(ContainerExit(None, f"CannotStartContainerError: {exn}"))
            return
        with self._service.lock:
            attempt.handle = handle
            stopping = attempt.stopping
        if stopping:
            handle.stop(self._grace_s(attempt))

    def _started(
        self,
        job: Job,
        attempt: Attempt,
        stream: str,
        log_delay_s: float,
        planned: PlannedEnding | None,
    ) -> None:
        if attempt.stopped_at is not None:
            return
        attempt.started_at = job.started_at = now_ms()
        if math.isfinite(log_delay_s):
            self._logs.open_stream(stream)
        attempt.log_stream = stream
        self._set_status(job, RUNNING)
        if job.timeout_s is not None:
            self._at(job.timeout_s, functools.partial(self._time_out, job, attempt))

        if planned is not None and planned.ending.stage == WHILE_RUNNING:
            end = functools.partial(self._end_by_fault, job, attempt, planned.ending)
            self._at(planned.ending.seconds, end)

    def _end_by_fault(self, job: Job, attempt: Attempt, ending: Ending) -> None:
        if attempt.stopped_at is None and not attempt.stopping:
            attempt.ending = ending
            self._stop_attempt(job)

    def _grace_s(self, attempt: Attempt) -> float:
        if attempt.ending is not None and not attempt.ending.graceful:
            return 0.0
        return self._stop_grace_s

    def _time_out(self, job: Job, attempt: Attempt) -> None:
        if attempt.stopped_at is None:
            attempt.timed_out = True
            self._stop_attempt(job)

    def _stop_attempt(self, job: Job) -> None:
        attempt = job.attempt
        if attempt is not None and not attempt.stopping:
            attempt.stopping = True
            self._stops.append(attempt)
            self._wake()

    # The end.

    def _exited(
        self, job: Job, attempt: Attempt, result: ContainerExit, planned: PlannedEnding | None
    ) -> None:
        self._logs.flush()
        ending = attempt.ending
        if planned is not None and ending is None:
            if attempt.stopping or planned.ending.stage == WHILE_RUNNING:
                planned.missed()
            else:
                ending = attempt.ending = planned.ending
        if ending is not None:
            attempt.interrupted = ending.is_spot
            attempt.timed_out = ending.timed_out
            if not ending.is_spot or attempt.environment.is_fargate:
                result = ContainerExit(ending.exit_code, ending.reason)
        attempt.environment.vcpus_used -= job.vcpus
        attempt.handle = None
        attempt.stopped_at = now_ms()
        if not attempt.interrupted or attempt.environment.is_fargate:
            # Of a container on a lost instance nobody learns how it ended.
            attempt.exit_code = result.exit_code
            attempt.reason = result.reason
        attempt.status_reason = status_reason(attempt)
        job.stopped_at = attempt.stopped_at
        if job.is_terminated:
            self._finish(job, FAILED, job.stop_reason)
        elif (
            attempt.exit_code == 0
            and ending is None
            and not attempt.timed_out
            and not attempt.interrupted
        ):
            self._finish(job, SUCCEEDED, attempt.status_reason)
        elif should_retry(job, attempt):
            job.stopped_at = None
            self._make_runnable(job)
        else:
            self._finish(job, FAILED, attempt.status_reason)

    def _finish(self, job: Job, status: str, reason: str | None) -> None:
        job.status_reason = reason
        if job.stopped_at is None:
            job.stopped_at = now_ms()
        job.queue.misfits.pop(job.id, None)
        self._set_status(job, status)
        dependents, job.dependents = job.dependents, []
        for dependent in dependents:
            self._inbox.put(functools.partial(self._after, dependent, job))
        parent = job.parent
        if parent is not None and parent.children is not None and not parent.is_terminal:
            failed = parent.child_counts[FAILED]
            if failed + parent.child_counts[SUCCEEDED] == len(parent.children):
                if failed:
                    self._finish(parent, FAILED, parent.stop_reason or "Array Child Job failed")
                else:
                    self._finish(parent, SUCCEEDED, None)
        self._wake()

    def _after(self, dependent: Job, job: Job) -> None:
        if dependent.status == PENDING:
            self._dependency_ended(dependent, job)
            self._release(dependent)

    def _set_status(self, job: Job, status: str) -> None:
        if job.parent is not None:
            counts = job.parent.child_counts
            counts[job.status] -= 1
            counts[status] += 1
        job.status = status
        self._events.changed(job)
