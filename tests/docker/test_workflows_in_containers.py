"""Whole workflows in containers: the workflow job from our image, its tasks from others, as jobs of
Batch and as ECS tasks on Fargate."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest
from docker_tier import CGROUP_LIMITS, Aws, empty_registry, until

from miniwdl_cloud.emulator.executors.docker import OWNER_LABEL

SCATTER = """
version 1.1
workflow greetings {
    input { Array[String] names  File greeting }
    scatter (name in names) { call greet { input: name, greeting } }
    output { Array[File] greeted = greet.greeted  Array[String] scratch = greet.scratch }
}
task greet {
    input { String name  File greeting }
    command <<<
        set -e
        # The task's image, not the workflow job's.
        ! command -v miniwdl
        [ "$(find _miniwdl_inputs -type f)" = "~{greeting}" ] || [ -f "~{greeting}" ]
        scratch=$(mktemp -d)
        cat "~{greeting}" > "$scratch/part"
        echo "~{name}" >> "$scratch/part"
        df --output=target "$scratch" | tail -n 1
        mv "$scratch/part" "~{name}.txt"
    >>>
    output { File greeted = "~{name}.txt"  String scratch = read_string(stdout()) }
    runtime { container: "ubuntu:22.04"  memory: "1 GiB" }
}
"""

TASK = """
version 1.1
task look {{
    input {{ String image }}
    command <<<
{command}
    >>>
    output {{ Array[String] lines = read_lines(stdout()) }}
    runtime {{ container: image  cpu: 1  memory: "{memory}" }}
}}
"""


BACKENDS = ("aws_batch_job", "aws_fargate")
BACKEND = "MINIWDL__SCHEDULER__CONTAINER_BACKEND"
FARGATE = "aws_fargate"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The engine that runs tasks: one after the other."""
    return str(request.param)


@pytest.fixture
def run(aws: Aws, tmp_path: Path, backend: str) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Runs a task by its command; gives the exit code and outputs.json or error.json."""

    directory = aws.filesystem / tmp_path.name
    directory.mkdir()
    directory.chmod(0o777)

    def run(
        command: str,
        *options: str,
        image: str = "ubuntu:22.04",
        memory: str = "1 GiB",
        variables: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        wdl = tmp_path / "look.wdl"
        # The comment keeps one engine from finding the other's outputs in the call cache.
        command = f"        # {backend}\n{command}"
        wdl.write_text(TASK.format(command=command, memory=memory))
        done = aws.submit(
            *(str(wdl), f"image={image}", "--follow", *options),
            *("--dir", f"/mnt/efs/{directory.name}/run/."),
            variables={BACKEND: backend, **(variables or {})},
        )
        found = directory / "run" / ("error.json" if done.returncode else "outputs.json")
        assert found.exists(), done.stderr
        return done.returncode, json.loads(found.read_text())

    return run


def test_scatter(aws: Aws, tmp_path: Path, backend: str) -> None:
    """A scatter's tasks run in containers of their own image, read a file of the user's, write on
    the shared filesystem, have scratch that is not on it, and end in the bucket."""
    wdl, greeting = tmp_path / "greetings.wdl", tmp_path / "a greeting.txt"
    wdl.write_text(SCATTER)
    greeting.write_text(f"hello from {backend}\n")
    names = ["ann", "bob", "eve"]
    done = aws.submit(
        str(wdl),
        *(f"names={name}" for name in names),
        f"greeting={greeting}",
        *("--follow", "--s3upload", f"s3://{aws.bucket}/{backend}/"),
        variables={BACKEND: backend},
    )
    assert done.returncode == 0, done.stderr
    s3 = aws.client("s3")

    def read(key: str) -> str:
        return str(s3.get_object(Bucket=aws.bucket, Key=key)["Body"].read().decode())

    outputs = json.loads(read(f"{backend}/outputs.json"))
    assert outputs["greetings.scratch"] == ["/"] * 3
    for name, uri in zip(names, outputs["greetings.greeted"], strict=True):
        assert read(uri.removeprefix(f"s3://{aws.bucket}/")) == f"hello from {backend}\n{name}\n"


def test_missing_image(run: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    """The engine's own words on an image that cannot be had reach error.json."""
    with empty_registry() as registry:
        code, error = run("true", image=f"{registry}/nowhere:1")
    assert code != 0
    said = json.dumps(error)
    assert "CannotPullContainerError: Error response from daemon: " in said
    assert "manifest unknown" in said


def test_image_with_an_entry_point(
    run: Callable[..., tuple[int, dict[str, Any]]], make_image: Callable[..., str], backend: str
) -> None:
    """A task's command runs in an image whose entry point executes its arguments; on Fargate, in
    place of that entry point."""
    image = make_image("FROM ubuntu:22.04", 'ENTRYPOINT ["/usr/bin/env", "VIA=entrypoint"]')
    code, outputs = run("echo ${VIA:-replaced}", image=image)
    via = "replaced" if backend == FARGATE else "entrypoint"
    assert (code, outputs["look.lines"]) == (0, [via])


@pytest.mark.parametrize("backend", ["aws_batch_job"], indirect=True)
def test_memory_over_the_limit(run: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    """A task that takes more memory than it asked for fails, and error.json says why."""
    not_raised = {"MINIWDL__AWS__MEMORY_RETRY_FACTOR": "1"}
    code, error = run("python3 -c 'bytearray(1200 << 20)'", variables=not_raised)
    assert code != 0
    assert "OutOfMemoryError: Container killed due to memory usage" in json.dumps(error)


@pytest.mark.parametrize("backend", ["aws_batch_job"], indirect=True)
def test_memory_raised_after_it_ran_out(run: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    """By default the next attempt gets twice the memory, and its container really has it."""
    command = "python3 -c 'bytearray(1200 << 20)'\n" + CGROUP_LIMITS
    code, outputs = run("set -e\n" + command, variables={"MINIWDL__AWS__RETRY_WAIT": "0.1"})
    assert (code, outputs["look.lines"][1]) == (0, str(2 * (1024 - 33) * 2**20))


def test_limits_seen_inside(run: Callable[..., tuple[int, dict[str, Any]]], backend: str) -> None:
    """A task's container has the CPUs and the memory that its runtime section asks for, on Batch
    less what `memory_delta` leaves to the worker."""
    code, outputs = run(CGROUP_LIMITS, memory="2 GiB")
    assert code == 0
    given = 2048 if backend == FARGATE else 2048 - 33
    assert outputs["look.lines"] == ["100000 100000", str(given * 2**20), "0"]


def test_as_me(
    aws: Aws,
    run: Callable[..., tuple[int, dict[str, Any]]],
    make_image: Callable[..., str],
    workflow_image: str,
) -> None:
    """With --as-me a task has the user and group of a workflow job that is not root's."""
    # An EFS access point would make everybody its own user; this directory does not.
    aws.filesystem.chmod(0o777)
    image = make_image(f"FROM {workflow_image}", "USER 1234:5678")
    caches = {f"MINIWDL__{kind}_CACHE__DIR": "as_me_cache" for kind in ("CALL", "DOWNLOAD")}
    code, outputs = run("id -u; id -g", "--as-me", "--image", image, variables=caches)
    assert (code, outputs["look.lines"]) == (0, ["1234", "5678"])


def test_terminating_the_workflow_job(
    aws: Aws, engine: docker.DockerClient, tmp_path: Path, backend: str
) -> None:
    """When the workflow job is terminated, so are its tasks, and their containers go."""
    wdl = tmp_path / "look.wdl"
    wdl.write_text(TASK.format(command="sleep 600", memory="1 GiB"))
    submitted = aws.submit(str(wdl), "image=ubuntu:22.04", variables={BACKEND: backend})
    assert submitted.returncode == 0, submitted.stderr
    batch = aws.client("batch")
    queue = batch.describe_job_queues(jobQueues=[aws.env["MINIWDL__AWS__WORKFLOW_QUEUE"]])
    task_queue = queue["jobQueues"][0]["tags"]["DefaultTaskQueue"]
    ecs = aws.client("ecs")
    (cluster,) = ecs.list_clusters()["clusterArns"]

    def running() -> list[str]:
        """Tasks on either."""
        jobs = batch.list_jobs(jobQueue=task_queue)["jobSummaryList"]
        return [job["jobId"] for job in jobs] + list(ecs.list_tasks(cluster=cluster)["taskArns"])

    (task,) = until(running)
    ours = {"label": f"{OWNER_LABEL}={aws.filesystem.parent}"}
    until(lambda: len(engine.containers.list(filters=ours)) == 2)
    batch.terminate_job(jobId=submitted.stdout.strip(), reason="test")
    until(lambda: not running())
    if backend == FARGATE:
        (stopped,) = ecs.describe_tasks(cluster=cluster, tasks=[task])["tasks"]
        assert stopped["stopCode"] == "UserInitiated"
    else:
        until(lambda: batch.describe_jobs(jobs=[task])["jobs"][0]["status"] == "FAILED")
        assert batch.describe_jobs(jobs=[task])["jobs"][0]["isTerminated"]
    until(lambda: not engine.containers.list(all=True, filters=ours))


@pytest.mark.parametrize("backend", [FARGATE], indirect=True)
@pytest.mark.parametrize("isolation", ["shared", "strict"])
def test_a_task_on_fargate(
    aws: Aws, run: Callable[..., tuple[int, dict[str, Any]]], isolation: str
) -> None:
    """With the engine aws_fargate a task is an ECS task: of its own image, over the access point or
    with its own directories alone, with the memory of its size."""
    code, outputs = run(
        # Neither finds the other's outputs in the call cache.
        f"        # {isolation}\n"
        """
        awk '{ print $5 }' /proc/self/mountinfo | grep -c ^/mnt/efs
        echo "$AWS_EXECUTION_ENV"
        cd /sys/fs/cgroup
        cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes
        """,
        memory="3 GiB",
        variables={"MINIWDL__AWS__ISOLATION": isolation},
    )
    assert code == 0
    mounts, environment, limit = outputs["look.lines"]
    assert environment == "AWS_ECS_FARGATE"
    assert (int(mounts) == 1) == (isolation == "shared")
    assert int(limit) == 3 * 2**30
    ecs = aws.client("ecs")
    (cluster,) = ecs.list_clusters()["clusterArns"]
    stopped = ecs.list_tasks(cluster=cluster, desiredStatus="STOPPED")["taskArns"]
    tasks = ecs.describe_tasks(cluster=cluster, tasks=stopped)["tasks"]
    # Others are those of the tests before.
    latest = max(tasks, key=lambda task: task["createdAt"])
    assert latest["containers"][0]["exitCode"] == 0
