"""Fault plans on the embedded AWS: jobs that end, wait or log otherwise than they should."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_helper import Batch, unique, wait_until

from miniwdl_cloud.emulator.faults.endings import ENDINGS
from miniwdl_cloud.emulator.faults.plan import FaultPlan, parse_plan
from miniwdl_cloud.emulator.server import LocalCloud

Plan = Callable[..., None]


@pytest.fixture
def plan(cloud: LocalCloud) -> Iterator[Plan]:
    """Follows the rules given, until the test ends."""

    def follow(*rules: dict[str, Any]) -> None:
        cloud.faults.replace(parse_plan({"seed": 1, "rules": list(rules)}))

    yield follow
    cloud.faults.replace(FaultPlan())


def container(detail: dict[str, Any]) -> tuple[Any, Any, Any]:
    """What a job shows of its container's end: statusReason, reason, exit code."""
    ended = detail["container"]
    return detail.get("statusReason"), ended.get("reason"), ended.get("exitCode")


def test_spot_loss_before_the_start(batch: Batch, queue: str, plan: Plan, tmp_path: Path) -> None:
    """The instance is lost before the container starts: the command never ran."""
    plan({"fault": "spot", "stage": "before_start"})
    detail = batch.run(queue, "touch", str(tmp_path / "ran"))
    assert detail["status"] == "FAILED"
    assert detail["statusReason"].startswith("Host EC2 (instance i-")
    assert container(detail)[1:] == (None, None)
    assert "startedAt" not in detail
    assert not (tmp_path / "ran").exists()


def test_spot_loss_while_it_runs(batch: Batch, queue: str, plan: Plan) -> None:
    """The instance is lost while the command runs; Batch's own retry gets another."""
    plan({"fault": "spot", "seconds": 0, "match": {"attempt": 1}})
    job = batch.submit(
        batch.definition("sh", "-c", '[ "$AWS_BATCH_JOB_ATTEMPT" != 1 ] || sleep 600'),
        queue,
        retryStrategy={"attempts": 2},
    )
    detail = batch.wait(job)
    assert detail["status"] == "SUCCEEDED"
    first, second = detail["attempts"]
    assert first["statusReason"].startswith("Host EC2")
    assert "exitCode" not in first["container"]
    assert second["container"]["exitCode"] == 0


def test_spot_loss_after_the_command(batch: Batch, queue: str, plan: Plan, tmp_path: Path) -> None:
    """The API says that the instance was lost, though the command had finished."""
    plan({"fault": "spot", "stage": "after_command"})
    detail = batch.run(queue, "touch", str(tmp_path / "ran"))
    assert detail["status"] == "FAILED"
    assert detail["statusReason"].startswith("Host EC2")
    assert (tmp_path / "ran").exists()


def test_fargate_spot(batch: Batch, plan: Plan) -> None:
    """On Fargate Spot the words are others, and there is an exit code."""
    plan({"fault": "spot", "seconds": 0})
    queue = batch.queue(batch.environment(type="FARGATE_SPOT"))
    definition = batch.definition(
        "sleep",
        "600",
        platformCapabilities=["FARGATE"],
        container={
            "resourceRequirements": [
                {"type": "VCPU", "value": "0.25"},
                {"type": "MEMORY", "value": "512"},
            ],
            "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
        },
    )
    detail = batch.wait(batch.submit(definition, queue))
    assert container(detail) == ("Your Spot Task was interrupted.", None, 137)


@pytest.mark.parametrize("code", [137, 0, 2])
def test_out_of_memory(batch: Batch, queue: str, plan: Plan, code: int) -> None:
    """An out-of-memory kill fails the job whatever the exit code says."""
    plan({"fault": "out_of_memory", "seconds": 0, "exit_code": code})
    detail = batch.run(queue, "sleep", "600")
    assert detail["status"] == "FAILED"
    assert container(detail) == (
        "Essential container in task exited",
        "OutOfMemoryError: Container killed due to memory usage",
        code,
    )


@pytest.mark.parametrize(
    "fault",
    [name for name, e in ENDINGS.items() if e.stage == "before_start"],
)
def test_failures_to_start(batch: Batch, queue: str, plan: Plan, fault: str) -> None:
    """A container that does not start has ECS's reason, no exit code and no log stream."""
    plan({"fault": fault})
    detail = batch.run(queue, "true")
    status_reason, reason, exit_code = container(detail)
    assert (detail["status"], status_reason, exit_code) == ("FAILED", "Task failed to start", None)
    assert "Error: " in reason
    assert "logStreamName" not in detail["container"]


def test_inspection_fails_after_the_end(
    batch: Batch, queue: str, plan: Plan, tmp_path: Path
) -> None:
    """The command did its work, and the job fails because nobody could look at it."""
    plan({"fault": "cannot_inspect"})
    detail = batch.run(queue, "touch", str(tmp_path / "ran"))
    assert (tmp_path / "ran").exists()
    assert detail["status"] == "FAILED"
    assert detail["container"]["reason"].startswith("CannotInspectContainerError")


def test_timeout(batch: Batch, queue: str, plan: Plan) -> None:
    """A timeout is never retried by Batch."""
    plan({"fault": "timeout", "seconds": 0})
    job = batch.submit(batch.definition("sleep", "600"), queue, retryStrategy={"attempts": 3})
    detail = batch.wait(job)
    assert container(detail)[0] == "Job attempt duration exceeded timeout"
    assert len(detail["attempts"]) == 1


def test_a_command_that_is_quicker_escapes(
    batch: Batch, queue: str, cloud: LocalCloud, plan: Plan
) -> None:
    """A fault of a running container does not count if the command has ended before."""
    plan({"fault": "spot", "seconds": 3600})
    assert batch.run(queue, "true")["status"] == "SUCCEEDED"
    (rule,) = cloud.faults.as_dict()["rules"]
    assert (rule["matched"], rule["fired"]) == (1, 0)


def test_terminating_wins(batch: Batch, queue: str, plan: Plan) -> None:
    """A job that is terminated before its fault comes shows the terminator's reason."""
    plan({"fault": "spot", "seconds": 3600})
    job = batch.submit(batch.definition("sleep", "600"), queue)
    batch.wait(job, "RUNNING")
    batch.api.terminate_job(jobId=job, reason="enough")
    assert batch.wait(job, "FAILED")["statusReason"] == "enough"


def test_blocked(batch: Batch, queue: str, plan: Plan) -> None:
    """A blocked job stays RUNNABLE, says why, stands in the queue's snapshot, and can be ended."""
    plan({"fault": "blocked", "spelling": "service role", "count": 1})
    job = batch.submit(batch.definition("true"), queue)
    detail = batch.wait(job, "RUNNABLE")
    assert detail["statusReason"].startswith("MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS")
    assert batch.run(queue, "true")["status"] == "SUCCEEDED"
    assert batch.describe(job)["status"] == "RUNNABLE"
    front = batch.api.get_job_queue_snapshot(jobQueue=queue)["frontOfQueue"]["jobs"]
    assert [j["jobArn"] for j in front] == [detail["jobArn"]]
    batch.api.terminate_job(jobId=job, reason="enough")
    assert batch.wait(job, "FAILED")["statusReason"] == "enough"


def test_blocked_for_a_while(batch: Batch, queue: str, plan: Plan) -> None:
    """A job that was blocked goes on when its time is over."""
    plan({"fault": "blocked", "seconds": 0.2})
    detail = batch.run(queue, "true")
    assert (detail["status"], container(detail)[0]) == (
        "SUCCEEDED",
        "Essential container in task exited",
    )


def test_canceled_by_the_queue(batch: Batch, queue: str, plan: Plan) -> None:
    """The queue's time limit on RUNNABLE cancels a job, with the reason why it waited."""
    plan({"fault": "canceled", "spelling": "max resource", "seconds": 0.1})
    detail = batch.run(queue, "true")
    assert (detail["status"], detail["isCancelled"], detail["statusReason"]) == (
        "FAILED",
        True,
        "Canceled by JobStateTimeLimit action due to reason:"
        " MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
    )


def test_logs(batch: Batch, queue: str, plan: Plan) -> None:
    """A log that never comes has no stream, though the job names one; a late one comes later."""
    plan({"fault": "logs_missing", "count": 1}, {"fault": "logs_late", "seconds": 0.1})
    detail = batch.run(queue, "echo", "said")
    with pytest.raises(batch.logs.exceptions.ResourceNotFoundException):
        batch.log(detail)
    detail = batch.run(queue, "echo", "said")
    wait_until(lambda: batch.log(detail) == ["said"], "the late log")


def test_children_of_arrays(batch: Batch, queue: str, plan: Plan) -> None:
    """Each child of an array job meets the rule of the array's name by itself."""
    name = unique("array")
    plan({"fault": "cannot_start", "match": {"name": f"^{name}$"}, "count": 1})
    job = batch.submit(batch.definition("true"), queue, jobName=name, arrayProperties={"size": 3})
    summary = batch.wait(job, "FAILED")["arrayProperties"]["statusSummary"]
    assert (summary["FAILED"], summary["SUCCEEDED"]) == (1, 2)
