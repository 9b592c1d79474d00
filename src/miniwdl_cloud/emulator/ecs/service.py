"""The emulated ECS: its Python API is the HTTP API with the same dictionaries."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..batch.launch import Surroundings
from ..batch.logs import LogWriter
from ..executors.base import Executor
from ..faults.injector import FaultInjector
from ..faults.jobs import JobFaults
from ..faults.placement import PlacementFaults
from .base import Params, client_error, invalid_parameter
from .lifecycle import Lifecycle
from .quotas import CallQuotas
from .tasks import TaskOperations

MAX_VCPUS = 4096.0


class EcsService(TaskOperations):
    """Amazon ECS of one Region.

    Every operation is a method of the API's name in snake case, takes the request as a dictionary
    and returns the answer as one; `ApiError` is an error answer.

    Parameters
    ----------
    executor
        Runs the containers.
    around
        What containers are told, and where their volumes are.
    stop_grace_s
        Most seconds between SIGTERM and SIGKILL.
    faults
        Says what goes wrong with tasks.
    max_vcpus
        The account's quota of vCPUs on Fargate, and the same again of those on Fargate Spot. A new
        account has 6 on AWS.
    """

    def __init__(
        self,
        executor: Executor,
        around: Surroundings,
        stop_grace_s: float = 30.0,
        faults: FaultInjector | None = None,
        max_vcpus: float = MAX_VCPUS,
    ) -> None:
        super().__init__(around.region)
        injector = faults or FaultInjector()
        self.max_vcpus = max_vcpus
        self.quotas = CallQuotas()
        self.placement = PlacementFaults(injector)
        self._logs = LogWriter(around.region)
        self.lifecycle = Lifecycle(
            self, executor, self._logs, around, JobFaults(injector), stop_grace_s
        )

    def start(self) -> None:
        """Start to run tasks."""
        self._logs.start()
        self.lifecycle.start()

    def close(self) -> None:
        """Stop."""
        self.lifecycle.close()
        self._logs.close()

    def call(self, operation: str, params: Params) -> Params:
        """Call an operation by the API's name.

        Raises
        ------
        ApiError
            ECS refuses the request, or the emulator lacks the operation.
        """
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        known = operation in self.model.service.operation_names
        method: Callable[[Params], Params] | None = getattr(self, name, None) if known else None
        if method is None:
            raise client_error(f"The embedded AWS ECS does not have {operation}.")
        return method(params)

    def interrupt_task(self, arn: str) -> None:
        """Interrupt a task on Fargate Spot.

        Raises
        ------
        ApiError
            There is no such task, or it is not on Fargate Spot.
        """
        with self.lock:
            task = self.tasks.get(arn.rpartition("/")[2])
            if task is None or not task.is_spot:
                raise invalid_parameter("The referenced task was not found on Fargate Spot.")
            self.lifecycle.interrupt(task)
