"""Starting a workflow job, on AWS Batch or as an ECS task, and what differs between the two."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..engines.ecs_queue import cluster_of
from ..engines.ecs_snapshot import run_task_error
from ..errors import ServiceError, Throttled, Unreachable
from ..runs.ecs_jobs import EcsJobs

if TYPE_CHECKING:
    from ..aws.batch import BatchClient
    from ..aws.ecs import EcsClient

DEFINITION_VISIBLE_S = 30.0
"""Seconds that a definition just registered may be unknown to SubmitJob or RunTask."""
CAPACITY_WAIT_S = 120.0
"""Seconds that Fargate may have no capacity, or the account no quota, before it is given up."""
CAPACITY_PERIOD_S = 5.0


class Launcher(Protocol):
    """What starts workflow jobs."""

    service: str
    """boto3's name of the service."""
    register_operation: str
    start_operation: str
    """What the API calls registering a definition, and starting a job."""

    def is_registered(self, definition_name: str) -> bool:
        """Whether there is an active definition of this name."""

    def register(self, definition: dict[str, Any]) -> None:
        """Register a definition."""

    def start(self, request: dict[str, Any], patient: bool) -> str:
        """Start a workflow job once; returns its id.

        Parameters
        ----------
        patient
            Whether its definition was made just now, so that AWS may not know it yet.

        Raises
        ------
        MiniwdlCloudError
            AWS refused it, or did not answer.
        """

    def describe_jobs(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        """Workflow jobs by id, in the form of Batch's JobDetail."""

    def how_to_end(self, job_id: str, region: str) -> str:
        """A shell command that ends a workflow job."""


class BatchLauncher:
    """Workflow jobs as Batch jobs.

    Parameters
    ----------
    batch
        AWS Batch.
    """

    service = "batch"
    register_operation, start_operation = "RegisterJobDefinition", "SubmitJob"

    def __init__(self, batch: BatchClient) -> None:
        self._batch = batch

    def is_registered(self, definition_name: str) -> bool:
        """Whether there is an active definition of this name."""
        return self._batch.find_definition(definition_name) is not None

    def register(self, definition: dict[str, Any]) -> None:
        """Register a definition."""
        self._batch.register_definition(definition)

    def start(self, request: dict[str, Any], patient: bool) -> str:
        """SubmitJob."""

        def submit() -> str:
            try:
                return self._batch.submit(request)
            except Unreachable:
                # SubmitJob has no client token: perhaps only its answer was lost.
                for job in self._batch.list_jobs(request["jobQueue"], name=request["jobName"]):
                    return str(job["jobId"])
                raise

        return str(_once_visible(submit, patient, self._batch.definition_not_visible_yet))

    def describe_jobs(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        """DescribeJobs."""
        return self._batch.describe_jobs(ids)

    def how_to_end(self, job_id: str, region: str) -> str:
        """A shell command that ends a workflow job."""
        return f"aws batch terminate-job --region {region} --job-id {job_id} --reason interrupted"


class EcsLauncher:
    """Workflow jobs as ECS tasks on Fargate.

    Parameters
    ----------
    ecs
        Amazon ECS.
    say
        Shows a line on standard error.
    clock, sleep
        Monotonic seconds, and a way to let them pass.
    """

    service = "ecs"
    register_operation, start_operation = "RegisterTaskDefinition", "RunTask"

    def __init__(
        self,
        ecs: EcsClient,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ecs = ecs
        self._jobs = EcsJobs(ecs)
        self._say = say
        self._clock = clock
        self._sleep = sleep

    def is_registered(self, definition_name: str) -> bool:
        """Whether there is an active definition of this family."""
        return self._ecs.find_definition(definition_name) is not None

    def register(self, definition: dict[str, Any]) -> None:
        """Register a definition."""
        self._ecs.register_definition(definition)

    def start(self, request: dict[str, Any], patient: bool) -> str:
        """RunTask; its client token lets it be repeated. It is repeated for a while where Fargate
        has no capacity, which a queue would wait for."""
        deadline, said = self._clock() + CAPACITY_WAIT_S, False
        while True:
            answer = _once_visible(
                lambda: self._ecs.run_task(request),
                patient,
                self._ecs.definition_not_visible_yet,
                self._clock,
                self._sleep,
            )
            error = run_task_error(answer.get("failures", []))
            if error is None and not answer.get("tasks"):
                error = ServiceError("ECS started no task, and did not say why; submit it again.")
            if error is None:
                return str(answer["tasks"][0]["taskArn"])
            if not isinstance(error, Throttled):
                raise error
            if self._clock() > deadline:
                raise Throttled(
                    f"ECS has not started the workflow job within {CAPACITY_WAIT_S:.0f} s"
                    f" ({error.message}); submit it again later, or with --engine batch.",
                    error.more_info,
                )
            if not said:
                said = True
                self._say(error.message)
            self._sleep(CAPACITY_PERIOD_S)

    def describe_jobs(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        """DescribeTasks."""
        return self._jobs.describe(ids)

    def how_to_end(self, job_id: str, region: str) -> str:
        """A shell command that ends a workflow job."""
        return (
            f"aws ecs stop-task --region {region} --cluster {cluster_of(job_id)} --task {job_id}"
            " --reason interrupted"
        )


def _once_visible(
    start: Callable[[], Any],
    patient: bool,
    not_visible: Callable[[BaseException], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Any:
    """What a call returns once AWS knows a definition that was registered just now."""
    deadline = clock() + DEFINITION_VISIBLE_S
    while True:
        try:
            return start()
        except ServiceError as exn:
            if not (patient and not_visible(exn)) or clock() > deadline:
                raise
        sleep(1.0)
