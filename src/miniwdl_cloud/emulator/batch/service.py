"""The emulated Batch service: its Python API is the HTTP API with the same dictionaries."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .. import sqs
from ..errors import ApiError, client_error
from ..executors.base import Executor
from ..executors.process import ProcessExecutor
from ..faults.injector import FaultInjector
from ..faults.jobs import JobFaults
from .base import Params
from .events import EventEmitter
from .jobs import JobOperations
from .launch import Surroundings
from .logs import LogWriter
from .scheduler import Scheduler


class BatchService(JobOperations):
    """AWS Batch of one Region.

    Every operation is a method of the API's name in snake case, takes the request as a dictionary
    and returns the answer as one; `ApiError` is an error answer.

    Parameters
    ----------
    executor
        Runs the containers.
    around
        What containers are told, and where their volumes are.
    stop_grace_s
        Seconds between SIGTERM and SIGKILL for a job that is ended; ECS gives 30.
    faults
        Says what goes wrong with jobs.
    """

    def __init__(
        self,
        executor: Executor,
        around: Surroundings,
        stop_grace_s: float = 30.0,
        faults: FaultInjector | None = None,
    ) -> None:
        super().__init__(around.region)
        self._logs = LogWriter(around.region)
        self._events = EventEmitter(around.region)
        self.scheduler = Scheduler(
            self,
            executor,
            self._logs,
            self._events,
            around,
            JobFaults(faults or FaultInjector(), isinstance(executor, ProcessExecutor)),
            stop_grace_s,
        )

    def start(self) -> None:
        """Start scheduling."""
        sqs.install()
        self._logs.start()
        self._events.start()
        self.scheduler.start()

    def close(self) -> None:
        """Stop scheduling."""
        self.scheduler.close()
        self._events.close()
        self._logs.close()

    def call(self, operation: str, params: Params) -> Params:
        """Call an operation by the API's name.

        Raises
        ------
        ApiError
            Batch refuses the request, or the emulator lacks the operation.
        """
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        method: Callable[[Params], Params] | None = getattr(self, name, None)
        if method is None:
            raise ApiError("ClientException", f"The embedded AWS Batch does not have {operation}.")
        return method(params)

    def interrupt_job(self, job_id: str) -> None:
        """End a job's running attempt as the loss of its spot instance does.

        Raises
        ------
        ApiError
            There is no such job.
        """
        with self.lock:
            job: Any = self.jobs.get(job_id)
            if job is None:
                raise client_error(f"Job {job_id} not found.")
            self.scheduler.interrupt(job)
