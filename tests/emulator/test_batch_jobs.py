"""The life of a job on the embedded AWS, seen through boto3."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch_helper import Batch, make_client, wait_until

from miniwdl_cloud.emulator.server import LocalCloud

SLEEP = ("sleep", "300")


def test_success(batch: Batch, queue: str) -> None:
    """A job that exits 0 ends SUCCEEDED, with all that DescribeJobs says of it."""
    definition = batch.definition("sh", "-c", "echo out; echo err >&2")
    job_id = batch.submit(definition, queue, tags={"team": "a b"})
    detail = batch.wait(job_id)
    assert detail["status"] == "SUCCEEDED"
    assert detail["statusReason"] == "Essential container in task exited"
    assert detail["container"]["exitCode"] == 0
    assert detail["createdAt"] <= detail["startedAt"] <= detail["stoppedAt"]
    assert detail["jobDefinition"] == definition
    assert detail["jobQueue"].endswith(f":job-queue/{queue}")
    assert detail["tags"] == {"team": "a b"}
    assert detail["container"]["taskArn"].startswith("arn:aws:ecs:us-east-1:123456789012:task/")
    (attempt,) = detail["attempts"]
    assert attempt["container"]["exitCode"] == 0
    assert attempt["container"]["logStreamName"] == detail["container"]["logStreamName"]
    name, default, task_id = detail["container"]["logStreamName"].split("/")
    assert (name, default) == (definition.rsplit("/")[-1].split(":")[0], "default")
    assert detail["container"]["taskArn"].endswith("/" + task_id)
    assert batch.log(detail) == ["out", "err"]


@pytest.mark.parametrize("code", [1, 2, 42, 255])
def test_exit_code(batch: Batch, queue: str, code: int) -> None:
    """A job's exit code is the container's, and any but 0 fails the job."""
    detail = batch.run(queue, "sh", "-c", f"exit {code}")
    assert (detail["status"], detail["container"]["exitCode"]) == ("FAILED", code)
    assert detail["statusReason"] == "Essential container in task exited"
    assert "reason" not in detail["container"]


def test_exit_by_signal(batch: Batch, queue: str) -> None:
    """A command that a signal ends has the exit code that Docker gives it."""
    detail = batch.run(queue, "sh", "-c", "kill -9 $$")
    assert detail["container"]["exitCode"] == 137


def test_missing_command(batch: Batch, queue: str) -> None:
    """A command that does not exist fails to start, with ECS's reason and no exit code."""
    detail = batch.run(queue, "no-such-command")
    assert detail["status"] == "FAILED"
    assert detail["statusReason"] == "Task failed to start"
    assert detail["container"]["reason"].startswith("CannotStartContainerError: ")
    assert 'exec: "no-such-command": executable file not found' in detail["container"]["reason"]
    assert "exitCode" not in detail["container"]


def test_environment(batch: Batch, queue: str, cloud: LocalCloud) -> None:
    """A container has Batch's variables, the emulator's, the definition's and the overrides'."""
    definition = batch.definition(
        "env",
        container={"environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]},
    )
    overrides = {"environment": [{"name": "B", "value": "2"}, {"name": "C", "value": "3 = x"}]}
    detail = batch.wait(batch.submit(definition, queue, containerOverrides=overrides))
    environment = dict(line.partition("=")[::2] for line in batch.log(detail))
    assert {"A": "1", "B": "2", "C": "3 = x"}.items() <= environment.items()
    assert environment["AWS_BATCH_JOB_ID"] == detail["jobId"]
    assert environment["AWS_BATCH_JOB_ATTEMPT"] == "1"
    assert environment["AWS_BATCH_JQ_NAME"] == queue
    assert environment["AWS_BATCH_CE_NAME"].startswith("ce-")
    assert environment["AWS_ENDPOINT_URL"] == cloud.endpoint_url
    assert environment["AWS_DEFAULT_REGION"] == environment["AWS_REGION"] == "us-east-1"
    shown = {e["name"]: e["value"] for e in detail["container"]["environment"]}
    assert shown == {"A": "1", "B": "2", "C": "3 = x"}


def test_own_environment_is_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job sees nothing of the emulator's own environment but what a machine has."""
    monkeypatch.setenv("MINIWDL__AWS__FS", "fs-secret")
    with LocalCloud(tmp_path / "state", tmp_path / "fs") as fresh:
        batch = Batch(fresh)
        log = batch.log(batch.run(batch.queue(), "env"))
    assert not [line for line in log if line.startswith("MINIWDL")]


def test_parameters(batch: Batch, queue: str) -> None:
    """Ref:: placeholders take the submission's parameters, else the definition's defaults."""
    definition = batch.definition(
        "echo", "Ref::a", "x-Ref::b", "Ref::none", parameters={"a": "1", "b": "2"}
    )
    detail = batch.wait(batch.submit(definition, queue, parameters={"b": "3"}))
    assert batch.log(detail) == ["1 x-3 Ref::none"]


def test_resource_overrides(batch: Batch, queue: str) -> None:
    """resourceRequirements of a submission replace those of the definition, by type."""
    overrides = {"resourceRequirements": [{"type": "MEMORY", "value": "512"}]}
    job_id = batch.submit(batch.definition(), queue, containerOverrides=overrides)
    shown = batch.wait(job_id)["container"]["resourceRequirements"]
    assert {r["type"]: r["value"] for r in shown} == {"VCPU": "1", "MEMORY": "512"}


def test_log_while_running(batch: Batch, queue: str, tmp_path: Path) -> None:
    """Log events can be read while the job runs, with timestamps in order."""
    go = tmp_path / "go"
    script = f"echo first; while [ ! -e {go} ]; do sleep 0.05; done; echo second"
    job_id = batch.submit(batch.definition("sh", "-c", script), queue)
    detail = batch.wait(job_id, "RUNNING")
    wait_until(lambda: batch.log(detail) == ["first"], "the first line")
    assert batch.describe(job_id)["status"] == "RUNNING"
    go.touch()
    assert batch.log(batch.wait(job_id)) == ["first", "second"]


def test_statuses_in_order(batch: Batch, queue: str) -> None:
    """A running job has startedAt and a log stream, and nothing of its end."""
    job_id = batch.submit(batch.definition(*SLEEP), queue)
    detail = batch.wait(job_id, "RUNNING")
    assert "startedAt" in detail and "stoppedAt" not in detail
    assert "exitCode" not in detail["container"] and detail["attempts"] == []
    assert detail["container"]["logStreamName"]
    batch.api.terminate_job(jobId=job_id, reason="enough")
    batch.wait(job_id)


def test_terminate_running(batch: Batch, queue: str) -> None:
    """TerminateJob sends SIGTERM; the job fails with the given reason."""
    script = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    job_id = batch.submit(batch.definition("sh", "-c", script), queue)
    detail = batch.wait(job_id, "RUNNING")
    wait_until(lambda: batch.log(detail) == ["ready"], "the trap to be set")
    batch.api.terminate_job(jobId=job_id, reason="no longer needed")
    detail = batch.wait(job_id)
    assert (detail["status"], detail["statusReason"]) == ("FAILED", "no longer needed")
    assert detail["isTerminated"] and not detail["isCancelled"]
    assert detail["container"]["exitCode"] == 7
    assert batch.log(detail)[-1] == "asked"
    batch.api.terminate_job(jobId=job_id, reason="again")
    assert batch.describe(job_id)["statusReason"] == "no longer needed"


def test_terminate_kills_in_the_end(batch: Batch, queue: str) -> None:
    """A command that ignores SIGTERM is killed after the grace time, with its children."""
    script = "trap '' TERM; echo ready; sleep 300 & wait; sleep 300"
    job_id = batch.submit(batch.definition("bash", "-c", script), queue)
    detail = batch.wait(job_id, "RUNNING")
    wait_until(lambda: batch.log(detail) == ["ready"], "the trap to be set")
    batch.api.terminate_job(jobId=job_id, reason="enough")
    detail = batch.wait(job_id)
    assert detail["container"]["exitCode"] == 137


def test_terminated_jobs_are_not_retried(batch: Batch, queue: str) -> None:
    """TerminateJob ends a job even where its retry strategy has attempts left."""
    job_id = batch.submit(batch.definition(*SLEEP), queue, retryStrategy={"attempts": 3})
    batch.wait(job_id, "RUNNING")
    batch.api.terminate_job(jobId=job_id, reason="enough")
    assert len(batch.wait(job_id)["attempts"]) == 1


def test_cancel(batch: Batch) -> None:
    """CancelJob ends a job that waits, and silently leaves one that runs."""
    queue = batch.queue(batch.environment(maxvCpus=1))
    definition = batch.definition(*SLEEP)
    running = batch.submit(definition, queue)
    batch.wait(running, "RUNNING")
    waiting = batch.submit(definition, queue)
    batch.wait(waiting, "RUNNABLE")
    batch.api.cancel_job(jobId=waiting, reason="changed my mind")
    detail = batch.describe(waiting)
    assert (detail["status"], detail["statusReason"]) == ("FAILED", "changed my mind")
    assert detail["isCancelled"] and "startedAt" not in detail
    batch.api.cancel_job(jobId=running, reason="changed my mind")
    assert batch.describe(running)["status"] == "RUNNING"
    batch.api.terminate_job(jobId=running, reason="enough")
    batch.wait(running)


def test_terminate_waiting(batch: Batch) -> None:
    """TerminateJob ends a job that has not started."""
    queue = batch.queue(batch.environment(maxvCpus=1))
    first = batch.submit(batch.definition(*SLEEP), queue)
    second = batch.submit(batch.definition(*SLEEP), queue)
    batch.wait(first, "RUNNING")
    batch.api.terminate_job(jobId=second, reason="enough")
    assert batch.describe(second)["statusReason"] == "enough"
    batch.api.terminate_job(jobId=first, reason="enough")
    batch.wait(first)


def test_room(batch: Batch) -> None:
    """Jobs wait in RUNNABLE until the compute environment has vCPUs for them, oldest first."""
    queue = batch.queue(batch.environment(maxvCpus=2))
    definition = batch.definition(*SLEEP)
    jobs = [batch.submit(definition, queue) for _ in range(4)]
    for job_id in jobs[:2]:
        batch.wait(job_id, "RUNNING")
    assert [batch.describe(job_id)["status"] for job_id in jobs[2:]] == ["RUNNABLE"] * 2
    snapshot = batch.api.get_job_queue_snapshot(jobQueue=queue)["frontOfQueue"]
    assert [item["jobArn"].rsplit("/")[-1] for item in snapshot["jobs"]] == jobs[2:]
    batch.api.terminate_job(jobId=jobs[0], reason="enough")
    batch.wait(jobs[2], "RUNNING")
    assert batch.describe(jobs[3])["status"] == "RUNNABLE"
    for job_id in jobs[1:]:
        batch.api.terminate_job(jobId=job_id, reason="enough")


@pytest.mark.parametrize(
    ("requirements", "reason"),
    [
        ({"VCPU": "65"}, "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"),
        ({"MEMORY": "9999999"}, "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"),
        ({"GPU": "99"}, "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"),
    ],
)
def test_never_fits(batch: Batch, queue: str, requirements: dict[str, str], reason: str) -> None:
    """A job that no instance can take stays RUNNABLE and says why; others go on."""
    overrides = {"resourceRequirements": [{"type": k, "value": v} for k, v in requirements.items()]}
    job_id = batch.submit(batch.definition(), queue, containerOverrides=overrides)
    wait_until(lambda: batch.describe(job_id).get("statusReason", "").startswith(reason), reason)
    assert batch.describe(job_id)["status"] == "RUNNABLE"
    assert batch.run(queue, "true")["status"] == "SUCCEEDED"
    batch.api.terminate_job(jobId=job_id, reason="enough")
    assert batch.describe(job_id)["status"] == "FAILED"


def test_misfit_starts_when_the_environment_grows(batch: Batch) -> None:
    """A job that did not fit starts once its compute environment has been made larger."""
    environment = batch.environment(maxvCpus=1)
    queue = batch.queue(environment)
    overrides = {"resourceRequirements": [{"type": "VCPU", "value": "2"}]}
    job_id = batch.submit(batch.definition(), queue, containerOverrides=overrides)
    wait_until(lambda: batch.describe(job_id).get("statusReason"), "the reason")
    batch.api.update_compute_environment(
        computeEnvironment=environment, computeResources={"maxvCpus": 4}
    )
    assert batch.wait(job_id)["status"] == "SUCCEEDED"


def test_second_environment_takes_over(batch: Batch) -> None:
    """A queue uses its compute environments in order, and skips a disabled one."""
    first, second = batch.environment(), batch.environment()
    queue = batch.queue(first, second)
    batch.api.update_compute_environment(computeEnvironment=first, state="DISABLED")
    detail = batch.run(queue, "sh", "-c", "echo $AWS_BATCH_CE_NAME")
    assert batch.log(detail) == [second]


def test_priority(batch: Batch) -> None:
    """Of two queues on one compute environment the one with the higher priority goes first."""
    environment = batch.environment(maxvCpus=1)
    low, high = batch.queue(environment, priority=1), batch.queue(environment, priority=9)
    blocker = batch.submit(batch.definition(*SLEEP), low)
    batch.wait(blocker, "RUNNING")
    later = batch.submit(batch.definition(), low)
    sooner = batch.submit(batch.definition(), high)
    batch.wait(sooner, "RUNNABLE")
    batch.api.terminate_job(jobId=blocker, reason="enough")
    assert batch.wait(sooner)["startedAt"] <= batch.wait(later)["startedAt"]


def test_overrides_too_long(batch: Batch, queue: str) -> None:
    """Overrides above 8,192 characters are accepted, and the job fails of them."""
    definition = batch.definition()
    detail = batch.wait(batch.submit(definition, queue, "echo", "x" * 8192))
    assert detail["status"] == "FAILED"
    assert detail["statusReason"] == "Container Overrides length must be at most 8192"
    assert detail["attempts"] == []
    detail = batch.wait(batch.submit(definition, queue, "true", "x" * 8000))
    assert detail["status"] == "SUCCEEDED"


def test_too_many_propagated_tags(batch: Batch, queue: str) -> None:
    """A job that would propagate more than 50 tags to its ECS task fails."""
    definition = batch.definition(tags={f"a{i}": "" for i in range(30)}, propagateTags=True)
    tags = {f"b{i}": "" for i in range(30)}
    detail = batch.wait(batch.submit(definition, queue, tags=tags))
    assert detail["status"] == "FAILED" and "tags" in detail["statusReason"]


def test_a_thousand_jobs(batch: Batch) -> None:
    """A thousand jobs all end, each with its own exit code."""
    queue = batch.queue(batch.environment(maxvCpus=256))
    definition = batch.definition("sh", "-c", "exit $CODE")
    wanted = {}
    for number in range(1000):
        code = number % 3
        variable = {"environment": [{"name": "CODE", "value": str(code)}]}
        wanted[batch.submit(definition, queue, containerOverrides=variable)] = code
    ids = list(wanted)

    def ended() -> int:
        return sum(
            len(page["jobSummaryList"])
            for status in ("SUCCEEDED", "FAILED")
            for page in batch.api.get_paginator("list_jobs").paginate(
                jobQueue=queue, jobStatus=status
            )
        )

    wait_until(lambda: ended() == len(ids), "all jobs to end")
    details = []
    for start in range(0, len(ids), 100):
        details += batch.api.describe_jobs(jobs=ids[start : start + 100])["jobs"]
    assert {d["jobId"]: d["container"]["exitCode"] for d in details} == wanted


def test_interruption(batch: Batch, queue: str, cloud: LocalCloud) -> None:
    """A job that loses its spot instance says so as Batch does, and Batch may retry it."""
    strategy = {
        "attempts": 2,
        "evaluateOnExit": [
            {"onStatusReason": "Host EC2*", "action": "RETRY"},
            {"onReason": "*", "action": "EXIT"},
        ],
    }
    job_id = batch.submit(batch.definition(*SLEEP), queue, retryStrategy=strategy)
    batch.wait(job_id, "RUNNING")
    cloud.batch.interrupt_job(job_id)
    wait_until(lambda: len(batch.describe(job_id)["attempts"]) == 1, "the first attempt's end")
    batch.wait(job_id, "RUNNING")
    cloud.batch.interrupt_job(job_id)
    detail = batch.wait(job_id)
    assert len(detail["attempts"]) == 2
    assert detail["statusReason"].startswith("Host EC2 (instance i-")
    assert detail["statusReason"].endswith(") terminated.")
    assert "exitCode" not in detail["container"]


def test_interruption_on_fargate(batch: Batch, cloud: LocalCloud) -> None:
    """A lost Fargate Spot task says so in its own words, and has an exit code."""
    queue = batch.queue(batch.environment(type="FARGATE_SPOT"))
    definition = batch.definition(
        *SLEEP,
        platformCapabilities=["FARGATE"],
        container={
            "executionRoleArn": "arn:aws:iam::123456789012:role/role",
            "resourceRequirements": [
                {"type": "VCPU", "value": "0.25"},
                {"type": "MEMORY", "value": "512"},
            ],
        },
    )
    job_id = batch.submit(definition, queue)
    batch.wait(job_id, "RUNNING")
    cloud.batch.interrupt_job(job_id)
    detail = batch.wait(job_id)
    assert detail["statusReason"] == "Your Spot Task was interrupted."
    assert detail["container"]["exitCode"] == 143


def test_as_the_public_peer_asks(batch: Batch, cloud: LocalCloud) -> None:
    """The requests of an existing client, in its shape: host volume, privileged, long timeout."""
    mount = str(cloud.filesystem)
    queue = batch.queue()
    api = make_client(cloud, "batch")
    handle = api.register_job_definition(
        jobDefinitionName="peer-task",
        type="container",
        containerProperties={
            "image": "ubuntu:20.04",
            "command": ["/bin/bash", "-ec", f"cd {mount}\necho hello > here"],
            "environment": [],
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "991"},
            ],
            "privileged": False,
            "mountPoints": [{"containerPath": mount, "sourceVolume": "file_io_root"}],
            "volumes": [{"name": "file_io_root", "host": {"sourcePath": mount}}],
        },
        retryStrategy={"attempts": 1},
    )
    handle = f"{handle['jobDefinitionName']}:{handle['revision']}"
    job = api.submit_job(
        jobName="peer-task",
        jobQueue=queue,
        jobDefinition=handle,
        timeout={"attemptDurationSeconds": 86400},
        tags={"AWS_BATCH_PARENT_JOB_ID": "none"},
    )
    assert batch.wait(job["jobId"])["status"] == "SUCCEEDED"
    assert (cloud.filesystem / "here").read_text() == "hello\n"
    api.deregister_job_definition(jobDefinition=handle)
