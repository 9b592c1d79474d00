"""Array jobs, dependencies, retries and timeouts on the embedded AWS."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from batch_helper import Batch, unique, wait_until

from miniwdl_cloud.emulator.server import LocalCloud

SLEEP = ("sleep", "300")


def children(batch: Batch, parent: str, size: int) -> list[dict[str, Any]]:
    """Details of all children of an array job."""
    ids = [f"{parent}:{index}" for index in range(size)]
    return list(batch.api.describe_jobs(jobs=ids)["jobs"])


def test_array(batch: Batch, queue: str) -> None:
    """An array job runs its children, each with its index, and ends when all have."""
    definition = batch.definition(
        "sh", "-c", "echo $AWS_BATCH_JOB_ARRAY_INDEX of $AWS_BATCH_JOB_ARRAY_SIZE"
    )
    parent = batch.submit(definition, queue, arrayProperties={"size": 3})
    detail = batch.wait(parent)
    assert detail["status"] == "SUCCEEDED"
    assert detail["arrayProperties"]["size"] == 3
    summary = detail["arrayProperties"]["statusSummary"]
    assert summary == {
        "SUBMITTED": 0,
        "PENDING": 0,
        "RUNNABLE": 0,
        "STARTING": 0,
        "RUNNING": 0,
        "SUCCEEDED": 3,
        "FAILED": 0,
    }
    found = children(batch, parent, 3)
    assert [child["arrayProperties"]["index"] for child in found] == [0, 1, 2]
    assert [batch.log(child) for child in found] == [["0 of 3"], ["1 of 3"], ["2 of 3"]]


def test_failed_child_fails_the_array(batch: Batch, queue: str) -> None:
    """All children run, and the array job fails if one does."""
    definition = batch.definition("sh", "-c", "exit $AWS_BATCH_JOB_ARRAY_INDEX")
    parent = batch.submit(definition, queue, arrayProperties={"size": 3})
    detail = batch.wait(parent)
    assert detail["status"] == "FAILED"
    codes = [child["container"]["exitCode"] for child in children(batch, parent, 3)]
    assert codes == [0, 1, 2]
    listed = batch.api.list_jobs(arrayJobId=parent, jobStatus="FAILED")["jobSummaryList"]
    assert [job["jobId"] for job in listed] == [f"{parent}:1", f"{parent}:2"]


def test_terminate_array(batch: Batch) -> None:
    """The parent is PENDING while children run or wait; terminating it ends them all."""
    queue = batch.queue(batch.environment(maxvCpus=1))
    parent = batch.submit(batch.definition(*SLEEP), queue, arrayProperties={"size": 3})
    batch.wait(f"{parent}:0", "RUNNING")
    detail = batch.describe(parent)
    assert detail["status"] == "PENDING"
    assert detail["arrayProperties"]["statusSummary"]["RUNNING"] == 1
    assert detail["arrayProperties"]["statusSummary"]["RUNNABLE"] == 2
    batch.api.terminate_job(jobId=parent, reason="enough")
    detail = batch.wait(parent)
    assert (detail["status"], detail["statusReason"]) == ("FAILED", "enough")
    assert {child["statusReason"] for child in children(batch, parent, 3)} == {"enough"}


def test_cancel_array(batch: Batch) -> None:
    """Cancelling an array job ends the children that wait, and lets a running one finish."""
    queue = batch.queue(batch.environment(maxvCpus=1))
    parent = batch.submit(batch.definition(*SLEEP), queue, arrayProperties={"size": 2})
    batch.wait(f"{parent}:0", "RUNNING")
    batch.api.cancel_job(jobId=parent, reason="never mind")
    first, second = children(batch, parent, 2)
    assert (first["status"], second["status"]) == ("RUNNING", "FAILED")
    batch.api.terminate_job(jobId=f"{parent}:0", reason="enough")
    assert batch.wait(parent)["statusReason"] == "never mind"


def test_depends_on(batch: Batch) -> None:
    """A job is PENDING until the jobs that it depends on have succeeded."""
    environment = batch.environment()
    queue = batch.queue(environment)
    batch.api.update_compute_environment(computeEnvironment=environment, state="DISABLED")
    first = batch.submit(batch.definition(), queue)
    second = batch.submit(batch.definition(), queue, dependsOn=[{"jobId": first}])
    batch.wait(first, "RUNNABLE")
    batch.wait(second, "PENDING")
    batch.api.update_compute_environment(computeEnvironment=environment, state="ENABLED")
    detail = batch.wait(second)
    assert detail["status"] == "SUCCEEDED" and detail["dependsOn"] == [{"jobId": first}]
    assert batch.describe(first)["stoppedAt"] <= detail["startedAt"]
    third = batch.submit(batch.definition(), queue, dependsOn=[{"jobId": first}])
    assert batch.wait(third)["status"] == "SUCCEEDED"


def test_failed_dependency(batch: Batch, queue: str) -> None:
    """A job fails when a job that it depends on fails, also when that was before."""
    first = batch.submit(batch.definition("false"), queue)
    second = batch.submit(batch.definition(), queue, dependsOn=[{"jobId": first}])
    array = batch.submit(
        batch.definition(), queue, dependsOn=[{"jobId": second}], arrayProperties={"size": 2}
    )
    assert batch.wait(second)["statusReason"] == "Dependent Job failed"
    assert batch.wait(array)["statusReason"] == "Dependent Job failed"
    assert {child["status"] for child in children(batch, array, 2)} == {"FAILED"}
    late = batch.submit(batch.definition(), queue, dependsOn=[{"jobId": first}])
    assert batch.wait(late)["status"] == "FAILED"


def test_sequential_array(batch: Batch, queue: str) -> None:
    """With a SEQUENTIAL dependency the children of an array run one after the other."""
    parent = batch.submit(
        batch.definition(),
        queue,
        arrayProperties={"size": 4},
        dependsOn=[{"type": "SEQUENTIAL"}],
    )
    batch.wait(parent)
    found = children(batch, parent, 4)
    for before, after in itertools.pairwise(found):
        assert before["stoppedAt"] <= after["startedAt"]


def test_n_to_n_array(batch: Batch, queue: str) -> None:
    """With a N_TO_N dependency each child waits for the other array's child of its index."""
    fails_second = batch.definition("sh", "-c", "exit $AWS_BATCH_JOB_ARRAY_INDEX")
    first = batch.submit(fails_second, queue, arrayProperties={"size": 2})
    second = batch.submit(
        batch.definition(),
        queue,
        arrayProperties={"size": 2},
        dependsOn=[{"jobId": first, "type": "N_TO_N"}],
    )
    batch.wait(second)
    assert [c["status"] for c in children(batch, second, 2)] == ["SUCCEEDED", "FAILED"]


def test_retry(batch: Batch, queue: str) -> None:
    """A failed attempt is retried, and each attempt is described with its own log."""
    definition = batch.definition(
        "sh", "-c", "echo attempt $AWS_BATCH_JOB_ATTEMPT; [ $AWS_BATCH_JOB_ATTEMPT = 3 ]"
    )
    job_id = batch.submit(definition, queue, retryStrategy={"attempts": 5})
    detail = batch.wait(job_id)
    assert detail["status"] == "SUCCEEDED"
    assert [a["container"]["exitCode"] for a in detail["attempts"]] == [1, 1, 0]
    assert [batch.log(attempt) for attempt in detail["attempts"]] == [
        ["attempt 1"],
        ["attempt 2"],
        ["attempt 3"],
    ]


@pytest.mark.parametrize(
    ("rules", "attempts"),
    [
        ([], 2),
        ([{"onExitCode": "5", "action": "EXIT"}], 1),
        ([{"onExitCode": "6", "action": "EXIT"}], 2),
        ([{"onStatusReason": "Host EC2*", "action": "RETRY"}], 2),
        ([{"onStatusReason": "essential*", "action": "EXIT"}], 1),
        ([{"onExitCode": "5", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}], 2),
        ([{"onExitCode": "5", "onStatusReason": "Host*", "action": "EXIT"}], 2),
        ([{"onReason": "*", "action": "EXIT"}], 1),
    ],
)
def test_evaluate_on_exit(
    batch: Batch, queue: str, rules: list[dict[str, str]], attempts: int
) -> None:
    """The first rule whose conditions all match decides; without a match the job is retried."""
    strategy = {"attempts": 2, "evaluateOnExit": rules}
    definition = batch.definition("sh", "-c", "exit 5", retryStrategy=strategy)
    detail = batch.wait(batch.submit(definition, queue))
    assert len(detail["attempts"]) == attempts


def test_timeout(batch: Batch, cloud: LocalCloud) -> None:
    """A job over its timeout is stopped, fails with Batch's reason, and is not retried."""
    environment = batch.environment()
    queue = batch.queue(environment)
    batch.api.update_compute_environment(computeEnvironment=environment, state="DISABLED")
    job_id = batch.submit(
        batch.definition(*SLEEP),
        queue,
        timeout={"attemptDurationSeconds": 60},
        retryStrategy={"attempts": 3},
    )
    batch.wait(job_id, "RUNNABLE")
    assert batch.describe(job_id)["timeout"] == {"attemptDurationSeconds": 60}
    # The shortest timeout that Batch accepts is longer than a test should take.
    cloud.batch.jobs[job_id].timeout_s = 1
    batch.api.update_compute_environment(computeEnvironment=environment, state="ENABLED")
    detail = batch.wait(job_id)
    assert (detail["status"], len(detail["attempts"])) == ("FAILED", 1)
    assert detail["statusReason"] == "Job attempt duration exceeded timeout"
    assert detail["stoppedAt"] - detail["startedAt"] >= 1000


def test_time_limit_in_runnable(batch: Batch, cloud: LocalCloud) -> None:
    """A queue's jobStateTimeLimitActions cancel a job that is RUNNABLE for too long."""
    reason = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"
    action = {"state": "RUNNABLE", "maxTimeSeconds": 600, "action": "CANCEL", "reason": reason}
    environment = batch.environment()
    queue = batch.queue(environment, jobStateTimeLimitActions=[action])
    batch.api.update_compute_environment(computeEnvironment=environment, state="DISABLED")
    with cloud.batch.lock:
        cloud.batch.queues[queue].detail["jobStateTimeLimitActions"][0]["maxTimeSeconds"] = 0
    detail = batch.wait(batch.submit(batch.definition(), queue))
    assert detail["statusReason"] == (
        f"Canceled by JobStateTimeLimit action due to reason: {reason}"
    )


def test_list_jobs(batch: Batch) -> None:
    """ListJobs gives RUNNING jobs unless asked otherwise, in pages, and filters by name."""
    queue = batch.queue(batch.environment(maxvCpus=1))
    prefix = unique("list")
    running = batch.submit(batch.definition(*SLEEP), queue, jobName=f"{prefix}-running")
    batch.wait(running, "RUNNING")
    waiting = [batch.submit(batch.definition(), queue, jobName=f"{prefix}-{i}") for i in range(5)]
    for job_id in waiting:
        batch.wait(job_id, "RUNNABLE")

    def listed(**params: Any) -> list[str]:
        pages = batch.api.get_paginator("list_jobs").paginate(jobQueue=queue, **params)
        return [job["jobId"] for page in pages for job in page["jobSummaryList"]]

    assert listed() == [running]
    assert listed(jobStatus="RUNNABLE") == waiting
    assert listed(jobStatus="RUNNABLE", PaginationConfig={"PageSize": 2}) == waiting
    by_name = [{"name": "JOB_NAME", "values": [f"{prefix}*"]}]
    assert listed(filters=by_name) == [running, *waiting]
    assert listed(filters=[{"name": "JOB_NAME", "values": [f"{prefix}-3"]}]) == [waiting[3]]
    assert listed(filters=[{"name": "BEFORE_CREATED_AT", "values": ["1"]}]) == []
    assert listed(filters=[{"name": "AFTER_CREATED_AT", "values": ["1"]}]) == [running, *waiting]
    definition = batch.describe(running)["jobDefinition"]
    assert listed(filters=[{"name": "JOB_DEFINITION", "values": [definition]}]) == [running]
    batch.api.terminate_job(jobId=running, reason="enough")
    wait_until(lambda: len(listed(jobStatus="SUCCEEDED")) == 5, "the jobs that waited")
    (summary,) = batch.api.list_jobs(jobQueue=queue, jobStatus="FAILED")["jobSummaryList"]
    assert summary["statusReason"] == "enough"
    assert summary["container"]["exitCode"] == 143
    assert summary["startedAt"] <= summary["stoppedAt"]


def test_describe_jobs_leaves_out_unknown_ids(batch: Batch, queue: str) -> None:
    """An id that does not exist is not an error; an ARN is as good as an id."""
    job_id = batch.submit(batch.definition(), queue)
    arn = batch.wait(job_id)["jobArn"]
    found = batch.api.describe_jobs(jobs=["no-such-job", arn])["jobs"]
    assert [job["jobId"] for job in found] == [job_id]
