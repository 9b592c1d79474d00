"""ECS tasks as snapshots of jobs: states, containers, log streams."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from miniwdl_cloud.engines.ecs_snapshot import run_task_error, snapshot_of_task
from miniwdl_cloud.jobs.request import JobState

ARN = "arn:aws:ecs:us-east-1:123456789012:task/tasks/3b1f6c0e9a774f0c8f1f3d8b2b7c9e11"


def _task(status: str, *containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"taskArn": ARN, "lastStatus": status, "containers": list(containers), **more}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PROVISIONING", JobState.RUNNABLE),
        ("PENDING", JobState.STARTING),
        ("ACTIVATING", JobState.STARTING),
        ("RUNNING", JobState.RUNNING),
        ("DEACTIVATING", JobState.RUNNING),
        ("STOPPING", JobState.RUNNING),
        ("DEPROVISIONING", JobState.RUNNING),
        ("STOPPED", JobState.FAILED),
        ("DELETED", JobState.FAILED),
        ("SOMETHING_NEW", JobState.PENDING),
    ],
)
def test_states(status: str, state: JobState) -> None:
    """Each lastStatus is a state of jobs, in their order; an unknown one has not ended."""
    assert snapshot_of_task(_task(status)).state is state


def test_success_needs_exit_code_0_and_an_end_of_its_own() -> None:
    """A task that was stopped, or whose container has a reason, did not succeed."""
    stopped = {"stopCode": "EssentialContainerExited"}
    assert snapshot_of_task(_task("STOPPED", {"exitCode": 0}, **stopped)).state.value == "SUCCEEDED"
    for task in (
        _task("STOPPED", {"exitCode": 1}, **stopped),
        _task("STOPPED", {}, **stopped),
        _task("STOPPED", {"exitCode": 0, "reason": "OutOfMemoryError: …"}, **stopped),
        _task("STOPPED", {"exitCode": 0}, stopCode="UserInitiated"),
        _task("STOPPED", {"exitCode": 0}, stopCode="SpotInterruption"),
    ):
        assert snapshot_of_task(task).state is JobState.FAILED


def test_the_container_of_the_command_counts() -> None:
    """Exit code and reason are those of the named container; others' reasons go along."""
    helper = {"name": "helper", "exitCode": 9, "reason": "helper failed"}
    main = {"name": "task", "exitCode": 4, "reason": "main failed"}
    snapshot = snapshot_of_task(_task("STOPPED", helper, main), "task")
    assert (snapshot.exit_code, snapshot.reason) == (4, "main failed")
    assert snapshot.attempt_reasons == ("helper failed",)


def test_the_log_stream_is_there_once_the_container_has_started() -> None:
    """prefix/container/task id; none before there is one."""
    main = {"name": "task"}
    assert snapshot_of_task(_task("PENDING", main), "task", "logs").log_stream is None
    running = _task("RUNNING", main, startedAt=1.0)
    assert snapshot_of_task(running, "task").log_stream is None
    stream = snapshot_of_task(running, "task", "logs").log_stream
    assert stream == "logs/task/3b1f6c0e9a774f0c8f1f3d8b2b7c9e11"


def test_every_stop_code_of_the_model_is_kept() -> None:
    """The classifier sees stopCode, and whether somebody asked for the end."""
    shape = botocore.session.Session().get_service_model("ecs").shape_for("TaskStopCode")
    for code in shape.metadata["enum"]:
        snapshot = snapshot_of_task(_task("STOPPED", {"exitCode": 1}, stopCode=code))
        assert snapshot.stop_code == code
        assert snapshot.terminated == (code == "UserInitiated")


def test_no_failures_are_no_error() -> None:
    """RunTask without failures has started its task."""
    assert run_task_error([]) is None
