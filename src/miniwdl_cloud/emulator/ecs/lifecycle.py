"""The life of tasks: one thread that takes them from PROVISIONING to STOPPED.

API calls change tasks under the service's lock and put on its agenda what follows; executors report
through the agenda. Containers are started and stopped outside the lock.
"""

from __future__ import annotations

import functools
import logging
import math

from ..agenda import Agenda
from ..batch.logs import LogWriter
from ..executors.base import ContainerExit, Executor
from ..faults.endings import BEFORE_START, Ending
from ..faults.endings import RUNNING as WHILE_RUNNING
from ..faults.jobs import JobFaults, PlannedEnding
from .base import EcsBase
from .describe import log_of
from .launch import LaunchError, Surroundings, make_spec
from .models import (
    ACTIVATING,
    DEACTIVATING,
    DEPROVISIONING,
    PENDING,
    RUNNING,
    STOPPED,
    STOPPING,
    Task,
    now,
)

logger = logging.getLogger(__name__)

VISIBLE_S = 3600.0
"""Seconds for which a stopped task is shown, as long as on AWS (ECS developer guide)."""
STOP_TIMEOUT_S = 30
"""botocore's model, ``ContainerDefinition.stopTimeout``."""
SPOT_REASON = "Your Spot Task was interrupted."
_NO_LOG_GROUP = (
    "ResourceInitializationError: failed to validate logger args: create stream has been retried 1"
    " times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log"
    " group does not exist."
)
_IN_CONTAINER = ("CannotStartContainerError", "CannotCreateContainerError")


class Lifecycle:
    """Moves tasks on.

    Parameters
    ----------
    service
        The store of tasks, with its lock.
    executor
        Runs containers.
    logs
        Takes their output.
    around
        What containers are told.
    faults
        What a fault plan has in store for tasks.
    stop_grace_s
        Most seconds between SIGTERM and SIGKILL, whatever a container's stopTimeout says; the
        notice of a Spot interruption is shortened so too.
    """

    def __init__(
        self,
        service: EcsBase,
        executor: Executor,
        logs: LogWriter,
        around: Surroundings,
        faults: JobFaults,
        stop_grace_s: float,
    ) -> None:
        self._service = service
        self._executor = executor
        self._logs = logs
        self._around = around
        self._faults = faults
        self._stop_grace_s = stop_grace_s
        self._agenda = Agenda("emulator-ecs")

    def start(self) -> None:
        """Start the thread."""
        self._agenda.start()

    def close(self) -> None:
        """Stop the thread; running containers are left to the executor's ``close``."""
        self._agenda.close()

    # What API calls ask for; all with the service's lock held.

    def started(self, task: Task) -> None:
        """Take a new task in hand."""
        self._agenda.post(functools.partial(self._provision, task))

    def stop(self, task: Task, reason: str) -> None:
        """Stop a task for a user, whatever state it is in."""
        if not task.stopping and task.status != STOPPED:
            task.stop_code, task.stopped_reason = "UserInitiated", reason
            self._begin_to_stop(task)

    def interrupt(self, task: Task) -> None:
        """Take a Spot task's capacity away: it gets SIGTERM at once, with the notice."""
        if not task.stopping and task.status != STOPPED:
            task.interrupted = True
            task.stop_code, task.stopped_reason = "SpotInterruption", SPOT_REASON
            self._begin_to_stop(task)

    def _begin_to_stop(self, task: Task) -> None:
        task.stopping = True
        task.desired_status = STOPPED
        task.version += 1
        task.times.setdefault("stoppingAt", now())
        self._agenda.post(functools.partial(self._stop_container, task))

    # The thread.

    def _stop_container(self, task: Task) -> None:
        with self._service.lock:
            handle = task.handle
        if handle is not None:
            handle.stop(self._grace_s(task))

    def _grace_s(self, task: Task) -> float:
        if task.ending is not None and not task.ending.graceful and not task.ending.is_spot:
            return 0.0
        timeout = task.container.get("stopTimeout", STOP_TIMEOUT_S)
        return min(float(timeout), self._stop_grace_s)

    def _set_status(self, task: Task, status: str) -> None:
        task.status = status
        task.version += 1
        task.history.append(status)

    def _provision(self, task: Task) -> None:
        with self._service.lock:
            stopping = task.stopping
            if not stopping:
                task.times.update(connectivityAt=now(), pullStartedAt=now())
                self._set_status(task, PENDING)
        if stopping:
            self._exited(task, ContainerExit(None, None), None)
        else:
            self._launch(task)

    def _launch(self, task: Task) -> None:
        facts = (task.name, task.cluster.name, 1)
        planned = self._faults.ending(*facts)
        if planned is not None and planned.ending.is_spot and not task.is_spot:
            planned.missed()
            planned = None
        if planned is not None and planned.ending.stage == BEFORE_START:
            self._exited(task, ContainerExit(None, None), planned)
            return
        log_delay_s = self._faults.log_delay_s(*facts)
        log = log_of(task)
        post = self._agenda.post

        def on_started() -> None:
            post(functools.partial(self._started, task, planned))

        def on_log(line: str) -> None:
            if log is not None and math.isfinite(log_delay_s):
                write = functools.partial(self._logs.put, log[1], line, log[0])
                if log_delay_s:
                    post(write, log_delay_s)
                else:
                    write()

        def on_exit(result: ContainerExit) -> None:
            post(functools.partial(self._exited, task, result, planned))

        try:
            spec = make_spec(task, self._around)
            if log is not None:
                self._open_log(task, log)
            handle = self._executor.start(spec, on_started, on_log, on_exit)
        except LaunchError as exn:
            on_exit(ContainerExit(None, str(exn)))
            return
        except Exception as exn:
            logger.exception("could not start task %s", task.id)
            on_exit(ContainerExit(None, f"CannotStartContainerError: {exn}"))
            return
        with self._service.lock:
            task.handle = handle
            stopping = task.stopping
        if stopping:
            handle.stop(self._grace_s(task))

    def _open_log(self, task: Task, log: tuple[str, str]) -> None:
        options = task.container["logConfiguration"]["options"]
        creates = str(options.get("awslogs-create-group", "")).lower() == "true"
        if not creates and not self._logs.has_group(log[0]):
            raise LaunchError(_NO_LOG_GROUP)
        self._logs.open_stream(log[1], log[0])

    def _started(self, task: Task, planned: PlannedEnding | None) -> None:
        for status in (ACTIVATING, RUNNING):
            with self._service.lock:
                if task.status == STOPPED:
                    return
                if status == ACTIVATING:
                    task.times["pullStoppedAt"] = now()
                else:
                    task.times["startedAt"] = now()
                self._set_status(task, status)
        if planned is not None and planned.ending.stage == WHILE_RUNNING:
            end = functools.partial(self._end_by_fault, task, planned.ending)
            self._agenda.post(end, planned.ending.seconds)

    def _end_by_fault(self, task: Task, ending: Ending) -> None:
        with self._service.lock:
            if task.status == STOPPED or task.stopping:
                return
            task.ending = ending
            if ending.is_spot:
                self.interrupt(task)
            else:
                task.stopping = True
                self._agenda.post(functools.partial(self._stop_container, task))

    # The end.

    def _exited(self, task: Task, result: ContainerExit, planned: PlannedEnding | None) -> None:
        self._logs.flush()
        for status in (DEACTIVATING, STOPPING, DEPROVISIONING, STOPPED):
            with self._service.lock:
                if status == DEACTIVATING:
                    self._conclude(task, result, planned)
                if status == STOPPED:
                    task.times["stoppedAt"] = now()
                self._set_status(task, status)
        self._agenda.post(functools.partial(self._forget, task), VISIBLE_S)

    def _conclude(self, task: Task, result: ContainerExit, planned: PlannedEnding | None) -> None:
        """Write down how the container ended, and why the task stops."""
        ending = task.ending
        if planned is not None and ending is None:
            if task.stopping or planned.ending.stage == WHILE_RUNNING:
                planned.missed()
            else:
                ending = planned.ending
        reason = result.reason
        task.exit_code = result.exit_code
        if ending is not None and not ending.is_spot:
            task.exit_code, reason = ending.exit_code, ending.reason
        task.handle = None
        task.desired_status = STOPPED
        task.times.setdefault("stoppingAt", now())
        task.times["executionStoppedAt"] = now()
        task.container_reason = reason
        if task.stop_code is not None:
            return
        if ending is not None and ending.is_spot:
            task.stop_code, task.stopped_reason = "SpotInterruption", SPOT_REASON
        elif ending is not None and ending.stage != BEFORE_START:
            task.stop_code = "EssentialContainerExited"
            task.stopped_reason = ending.status_reason
        elif task.exit_code is None:
            task.stop_code = "TaskFailedToStart"
            task.stopped_reason = reason or "Task failed to start"
            if not (reason or "").startswith(_IN_CONTAINER):
                # Of what fails before there is a container, only the task tells.
                task.container_reason = None
        else:
            task.stop_code = "EssentialContainerExited"
            task.stopped_reason = "Essential container in task exited"

    def _forget(self, task: Task) -> None:
        with self._service.lock:
            self._service.tasks.pop(task.id, None)
