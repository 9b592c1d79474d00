"""`miniwdl-aws-submit --engine fargate`: the workflow job as an ECS task, on the embedded AWS."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_helper import wait_until
from submit_deployment import Deployment, queue
from submit_deployment import deployment as deployed

BIN = Path(sys.executable).parent
LIMIT_S = 200
ARN = re.compile(r"arn:aws:ecs:us-east-1:\d{12}:task/cluster/[0-9a-f]{32}\n")

ECHO = """
version 1.1
workflow echo {
  input { Array[String] names  String gate = "/" }
  scatter (name in names) { call greet { input: name, gate } }
  output { Array[String] greetings = greet.greeting }
}
task greet {
  input { String name  String gate }
  command <<<
    until [ -e "~{gate}" ]; do sleep 0.1; done
    echo "hello ~{name}"; echo "to ~{name}" >&2
    [ "~{name}" != nobody ]
  >>>
  output { String greeting = read_string(stdout()) }
}
"""


class Person:
    """Somebody at a shell, with a deployment."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        self.deployment = deployment
        self.directory = directory
        self.ecs = deployment.client("ecs")
        (directory / "echo.wdl").write_text(ECHO)
        self.env = {
            **deployment.env,
            "PATH": f"{BIN}{os.pathsep}{os.defpath}",
            "HOME": str(directory),
            "MINIWDL__CALL_CACHE__GET": "false",
            "MINIWDL__AWS__RETRY_WAIT": "0",
        }

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start one of our commands."""
        return subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.directory,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Tests that a shell runs in the background inherit that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def call(self, *command: str, **env: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of one of our commands."""
        process = self.start(*command, **env)
        try:
            out, err = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
        return process.returncode, out, err

    def submit(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        """Submit a workflow."""
        return self.call("miniwdl-aws-submit", *arguments, **env)

    def task(self, arn: str) -> dict[str, Any]:
        """A task as ECS describes it."""
        found = self.ecs.describe_tasks(
            cluster=self.deployment.cluster, tasks=[arn.strip()], include=["TAGS"]
        )
        return dict(found["tasks"][0])

    def tasks(self, parent: str) -> list[dict[str, Any]]:
        """The tasks that a workflow job started."""
        arns = [
            arn
            for status in ("RUNNING", "STOPPED")
            for page in self.ecs.get_paginator("list_tasks").paginate(
                cluster=self.deployment.cluster, desiredStatus=status
            )
            for arn in page["taskArns"]
        ]
        tag = {"key": "AWS_BATCH_PARENT_JOB_ID", "value": parent.strip()}
        found = []
        for start in range(0, len(arns), 100):
            found += self.ecs.describe_tasks(
                cluster=self.deployment.cluster, tasks=arns[start : start + 100], include=["TAGS"]
            )["tasks"]
        return [task for task in found if tag in task["tags"]]

    def outputs(self) -> dict[str, Any]:
        """The outputs of the last run."""
        link = self.deployment.mount / "miniwdl_run" / "_LAST"
        return dict(json.loads((link / "outputs.json").read_text()))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment with Batch queues and an ECS cluster."""
    with deployed(tmp_path_factory.mktemp("cloud"), ecs=True) as made:
        queue(made.client("batch"), "on-ec2", "ec2")
        yield made


@pytest.fixture
def person(deployment: Deployment, tmp_path: Path) -> Person:
    """A directory with a workflow."""
    return Person(deployment, tmp_path)


def test_workflow_and_tasks_on_fargate(person: Person) -> None:
    """The workflow job is an ECS task, as are its tasks; the log is shown, outputs are in S3."""
    upload = f"s3://{person.deployment.bucket}/out/"
    arguments = ("echo.wdl", "names=ann", "names=bob", "--engine", "fargate", "--follow")
    code, out, err = person.submit(*arguments, "--s3upload", upload)
    assert code == 0, err
    assert ARN.fullmatch(out)
    assert "workflow start" in err and "SUCCEEDED" in err and "END OF LOG" not in err
    task = person.task(out)
    assert task["startedBy"].startswith("miniwdl_run_echo-")
    assert task["launchType"] == "FARGATE"
    children = person.tasks(out)
    assert sorted(child["startedBy"].partition("-")[0] for child in children) == ["greet"] * 2
    key = "out/outputs.json"
    answer = person.deployment.client("s3").get_object(Bucket=person.deployment.bucket, Key=key)
    assert json.loads(answer["Body"].read()) == {"echo.greetings": ["hello ann", "hello bob"]}


def test_operators_see_and_repeat_a_run(person: Person) -> None:
    """A run on ECS that failed is told with its tasks, its logs are shown, and it runs again; all
    by the cluster alone, whose own tags say the rest."""
    alone = {"MINIWDL__AWS__WORKFLOW_QUEUE": "", "MINIWDL__AWS_FARGATE__CLUSTER": "cluster"}
    code, out, err = person.submit("echo.wdl", "names=nobody", "--wait", **alone)
    assert code == 1, err
    arn = out.strip()
    short = arn.rpartition("/")[2][:12]
    code, out, err = person.call("miniwdl-cloud", "status", short, "--json", **alone)
    assert code == 0, err
    run = json.loads(out)["run"]
    assert (run["jobId"], run["state"], run["exitCode"]) == (arn, "FAILED", 1)
    assert run["clusters"] == ["cluster"] and run["tasks"]["failed"] == 1
    (shard,) = run["shards"]
    assert (shard["call"], shard["shard"].partition("-")[0]) == ("greet", "0")
    assert "exit code 1" in shard["attempts"][0]["reason"]
    _, out, _ = person.call("miniwdl-cloud", "logs", short, "greet[0]", **alone)
    assert out == "to nobody\n"
    _, out, _ = person.call("miniwdl-cloud", "logs", short, "--follow", **alone)
    assert "workflow start" in out and "END OF LOG" not in out
    code, out, err = person.call("miniwdl-cloud", "retry", short, **alone)
    assert code == 0, err
    second = out.strip()
    assert ARN.fullmatch(out) and second != arn
    code, _, err = person.call("miniwdl-cloud", "status", second, "--watch", "--period", "1")
    assert code == 0, err
    assert person.task(second)["containers"][0]["exitCode"] == 1
    _, out, _ = person.call("miniwdl-cloud", "status")
    assert arn in out and second in out


def test_each_engine_by_itself(person: Person) -> None:
    """A workflow job on ECS has its tasks on Batch, and the other way round; both are told."""
    batch = person.deployment.client("batch")
    arguments = ("echo.wdl", "names=ann", "--wait")
    code, out, err = person.submit(*arguments, "--engine", "fargate", "--task-engine", "batch")
    assert code == 0, err
    assert ARN.fullmatch(out) and person.tasks(out) == []
    _, text, _ = person.call("miniwdl-cloud", "status", out.strip(), "--json")
    (shard,) = json.loads(text)["run"]["shards"]
    (job,) = batch.describe_jobs(jobs=[shard["attempts"][0]["jobId"]])["jobs"]
    assert job["status"] == "SUCCEEDED"
    assert job["tags"]["AWS_BATCH_PARENT_JOB_ID"] == out.strip()

    env = {"MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_fargate"}
    code, out, err = person.submit(*arguments, **env)
    assert code == 0, err
    (task,) = person.tasks(out)
    _, text, _ = person.call("miniwdl-cloud", "status", out.strip(), "--json")
    (shard,) = json.loads(text)["run"]["shards"]
    assert shard["attempts"][0]["jobId"] == task["taskArn"]


def test_interrupt_leaves_the_task_running_and_cancel_ends_it(person: Person) -> None:
    """Ctrl-C while following tells how to stop the task, which goes on; cancel ends it and all of
    its tasks."""
    gate = person.deployment.mount / "never"
    names = [f"names=n{number}" for number in range(20)]
    arguments = ("echo.wdl", *names, f"gate={gate}", "--engine", "fargate", "--follow")
    process = person.start("miniwdl-aws-submit", *arguments)
    try:
        assert process.stdout is not None
        arn = process.stdout.readline().strip()
        wait_until(lambda: len(running(person, arn)) == 20, "20 tasks to run")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in err
    assert f"aws ecs stop-task --region us-east-1 --cluster cluster --task {arn}" in err
    assert person.task(arn)["lastStatus"] == "RUNNING"
    code, _, err = person.call("miniwdl-cloud", "cancel", arn, "--yes")
    assert code == 0, err
    assert "all of its jobs are gone" in err
    assert {task["lastStatus"] for task in [person.task(arn), *person.tasks(arn)]} == {"STOPPED"}


def running(person: Person, arn: str) -> list[dict[str, Any]]:
    """The tasks of a workflow job that run."""
    return [task for task in person.tasks(arn) if task["lastStatus"] == "RUNNING"]


def test_what_a_killed_workflow_job_left_is_reaped(person: Person) -> None:
    """After kill -9 of the workflow job, reap finds its tasks by their tags, in the cluster that
    the workflow queue names, and the definitions that were for one attempt alone; those of a run
    that lives are left alone."""
    gate = person.deployment.mount / "nor ever"
    start = ("echo.wdl", f"gate={gate}", "--engine", "fargate")
    strict = {"MINIWDL__AWS__ISOLATION": "strict"}
    code, out, err = person.submit(*start, "names=ann", "names=bob", **strict)
    assert code == 0, err
    dead = out.strip()
    _, out, _ = person.submit(*start, "names=eve", **strict)
    alive = out.strip()
    for arn, number in ((dead, 2), (alive, 1)):
        wait_until(lambda arn=arn, number=number: len(running(person, arn)) == number, "its tasks")
    assert len(alone(person, dead)) == 2 and len(alone(person, alive)) == 1
    kill(person, dead)
    wait_until(lambda: person.task(dead)["lastStatus"] == "STOPPED", "its end")
    assert len(running(person, dead)) == 2
    where = ("--workflow-queue", person.deployment.workflow_queue)
    code, out, err = person.call("miniwdl-cloud", "reap", *where, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert {row["job"] for row in found["jobs"]} == {t["taskArn"] for t in person.tasks(dead)}
    assert {row["state"] for row in found["jobs"]} == {"ended"}
    assert len(found["definitions"]) >= 2 and alone(person, dead) == []
    assert len(alone(person, alive)) == 1 and len(running(person, alive)) == 1
    code, _, err = person.call("miniwdl-cloud", "cancel", alive, "--yes")
    assert code == 0, err
    code, out, err = person.call("miniwdl-cloud", "reap", "--cluster", "cluster")
    assert code == 0, err
    assert alone(person, alive) == [] and "0 run(s) are gone" in out


def alone(person: Person, owner: str) -> list[str]:
    """Active families of task definitions that a workflow job made for one attempt."""
    pages = person.ecs.get_paginator("list_task_definition_families").paginate(
        familyPrefix="miniwdl-cloud-alone-", status="ACTIVE"
    )
    found = []
    for family in (family for page in pages for family in page["families"]):
        answer = person.ecs.describe_task_definition(taskDefinition=family)
        (container,) = answer["taskDefinition"]["containerDefinitions"]
        if {"name": "MINIWDL_CLOUD_WORKFLOW_JOB_ID", "value": owner} in container["environment"]:
            found.append(family)
    return found


def kill(person: Person, arn: str) -> None:
    """SIGKILL to every process of a task."""
    part = f"{arn.rpartition('/')[2]}-".encode()
    for process in Path("/proc").iterdir():
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            mine = any(v.startswith(b"ECS_CONTAINER_METADATA") and part in v for v in variables)
            if process.name.isdecimal() and mine:
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue  # it has ended


@pytest.mark.parametrize(("size", "code"), [(50_000, 0), (120_000, 123)])
def test_long_wdl_travels_in_tags(size: int, code: int, person: Person) -> None:
    """WDL that the environment does not hold goes into tags of the task and of its definition; more
    than that needs a staging location."""
    noise = random.Random(size).randbytes(size // 2).hex()
    lines = "\n".join(f"# {noise[i : i + 90]}" for i in range(0, len(noise), 90))
    text = f"version 1.1\n{lines}\nworkflow echo {{ output {{ String greetings = 'long' }} }}\n"
    (person.directory / "echo.wdl").write_text(text)
    got, out, err = person.submit("echo.wdl", "--engine", "fargate", "--wait")
    assert got == code, err
    if code:
        assert "--stage s3://" in err and out == ""
        return
    assert person.outputs() == {"echo.greetings": "long"}
    task = person.task(out)
    definition = person.ecs.describe_task_definition(
        taskDefinition=task["taskDefinitionArn"], include=["TAGS"]
    )
    assert len(task["tags"]) > 40 and definition["tags"]


def test_dry_run_is_what_would_be_sent(person: Person) -> None:
    """--dry-run prints both requests, and sends nothing; they are valid."""
    arguments = ("echo.wdl", "names=ann", "--engine", "fargate", "--image", "other:2", "--dry-run")
    code, out, err = person.submit(*arguments)
    assert code == 0, err
    calls = json.loads(out)["requests"]
    assert [(call["service"], call["operation"]) for call in calls] == [
        ("ecs", "RegisterTaskDefinition"),
        ("ecs", "RunTask"),
    ]
    person.ecs.register_task_definition(**calls[0]["request"])
    (task,) = person.ecs.run_task(**calls[1]["request"])["tasks"]
    person.ecs.stop_task(cluster="cluster", task=task["taskArn"], reason="test is over")
    assert "RegisterTaskDefinition" not in person.submit(*arguments)[1]


ON_HOSTS = ("--no-efs", "--workflow-queue", "on-ec2")
NO_QUEUE = {"MINIWDL__AWS__WORKFLOW_QUEUE": ""}


@pytest.mark.parametrize(
    ("arguments", "env", "code", "message"),
    [
        (("--engine", "fargate"), NO_QUEUE, 64, "No ECS cluster is known for --engine fargate"),
        (("--engine", "batch", "--cluster", "cluster"), NO_QUEUE, 64, "No workflow job queue"),
        (("--cluster", "nonesuch"), NO_QUEUE, 69, "The ECS cluster nonesuch does not exist"),
        (("--engine", "fargate", "--no-efs"), {}, 64, "--no-efs and --engine fargate exclude"),
        (("--task-engine", "fargate", *ON_HOSTS), {}, 78, "Tasks on Fargate need EFS"),
        (("--engine", "swarm"), {}, 64, "--engine: invalid choice"),
        ((), {"MINIWDL__AWS__WORKFLOW_ENGINE": "swarm"}, 64, "MINIWDL__AWS__WORKFLOW_ENGINE"),
        (("--engine", "fargate", "--cpu", "3"), {}, 64, "Fargate"),
        (
            ("--engine", "fargate", "--follow"),
            {"MINIWDL__AWS_FARGATE__LOG_GROUP": "0"},
            64,
            "There is no log group",
        ),
    ],
)
def test_errors_say_what_to_do(
    person: Person, arguments: tuple[str, ...], env: dict[str, str], code: int, message: str
) -> None:
    """What a person gets wrong is told in a sentence, with its exit code."""
    got, out, err = person.submit("echo.wdl", "names=ann", *arguments, **env)
    assert (got, out) == (code, ""), err
    assert message in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (("status", "--cluster", "nonesuch", "m"), 69, "nonesuch"),
        (("reap", "--cluster", "nonesuch"), 69, "The ECS cluster nonesuch does not exist"),
        (("reap",), 64, "or --cluster"),
        (("status", "arn:aws:ecs:us-east-1:123456789012:task/cluster/" + "0" * 32), 69, "no run"),
    ],
)
def test_operators_errors(
    person: Person, command: tuple[str, ...], code: int, message: str
) -> None:
    """The same for who looks after runs."""
    got, _, err = person.call("miniwdl-cloud", *command)
    assert got == code, err
    assert message in err and "Traceback" not in err
