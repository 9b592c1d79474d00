"""`miniwdl-aws-submit --engine fargate`: the workflow job as an ECS task, on the embedded AWS."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from submit_deployment import Deployment
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
