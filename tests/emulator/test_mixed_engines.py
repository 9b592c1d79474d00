"""Runs whose tasks are Batch jobs and ECS tasks, as each task says: on the embedded AWS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_helper import Batch
from fargate_runs import FargateDeployment

from miniwdl_cloud.emulator.server import LocalCloud

MIXED = """
    version 1.1
    workflow w {
      scatter (i in range(3)) {
        call small { input: i = i }
        call big { input: word = small.word }
      }
      call gather { input: words = big.longer }
      output { String words = gather.all }
    }
    task small {
      input { Int i }
      command <<< echo "s~{i}:$MINIWDL_CLOUD_CALL:$MINIWDL_CLOUD_SHARD" >>>
      output { String word = read_string(stdout()) }
      runtime { docker: "ubuntu:22.04"  cpu: 1  SMALL }
    }
    task big {
      input { String word }
      command <<< echo "b:~{word}" >>>
      output { String longer = read_string(stdout()) }
      runtime { docker: "ubuntu:22.04"  cpu: 2  aws_array: false }
    }
    task gather {
      input { Array[String] words }
      command <<< cat ~{write_lines(words)} | tr '\\n' ' ' >>>
      output { String all = read_string(stdout()) }
      runtime { docker: "ubuntu:22.04"  cpu: 1  SMALL }
    }
"""
WORDS = " ".join(f"b:s{i}:small:{i}" for i in range(3)) + " "


class MixedDeployment(FargateDeployment):
    """Queues and a cluster, and miniwdl to run on both."""

    def environ(self, **more: str) -> dict[str, str]:
        """The environment of a process that knows both."""
        return {**super().environ(**more), "MINIWDL__AWS__TASK_QUEUE": self.queue}


@pytest.fixture
def deployment(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Iterator[MixedDeployment]:
    """Queues, a cluster and a directory of the shared filesystem for one test."""
    made = MixedDeployment(cloud, batch, tmp_path)
    yield made
    made.close()


def _settings(deployment: MixedDeployment, default: str, **more: str) -> dict[str, str]:
    """A default engine, a call cache and an account of the test's own."""
    root = deployment.root
    return {
        "MINIWDL__SCHEDULER__CONTAINER_BACKEND": default,
        "MINIWDL__AWS__ACCOUNTING_DIR": str(root / "accounts"),
        "MINIWDL__CALL_CACHE__DIR": str(root / "cache"),
        "MINIWDL__CALL_CACHE__GET": "true",
        "MINIWDL__CALL_CACHE__PUT": "true",
        **more,
    }


def _placed(deployment: MixedDeployment) -> dict[str, int]:
    """How many jobs of each call there are, by where they ran."""
    found: dict[str, int] = {}
    names = [("Fargate", task["startedBy"]) for task in deployment.tasks()]
    names += [("Batch", job["jobName"]) for job in deployment.jobs("")]
    for where, name in names:
        key = f"{where} {name.partition('-')[0]}"
        found[key] = found.get(key, 0) + 1
    return found


@pytest.mark.parametrize("default", ["aws_batch_job", "aws_fargate"])
def test_each_task_runs_where_it_says(deployment: MixedDeployment, default: str) -> None:
    """Tasks of one workflow run on both engines with one call cache, and leave no account."""
    source = MIXED.replace("SMALL", 'aws: object { engine: "aws_fargate" }').replace(
        "aws_array: false", 'aws_engine: "aws_batch_job"'
    )
    env = _settings(deployment, default)
    first = deployment.run(source, env=env)
    assert first.outputs["w.words"] == WORDS
    placed = {"Fargate small": 3, "Batch big": 3, "Fargate gather": 1}
    assert _placed(deployment) == placed
    again = deployment.run(source, env=env)
    assert again.outputs == first.outputs
    assert _placed(deployment) == placed
    leases = [path for path in (deployment.root / "accounts").rglob("*") if path.is_file()]
    assert leases == []


def test_small_tasks_are_put_on_fargate(deployment: MixedDeployment) -> None:
    """Where sizes choose, and no task says anything."""
    source = MIXED.replace("SMALL", "").replace("aws_array: false", "")
    env = _settings(deployment, "aws_batch_job", MINIWDL__AWS__SMALL_TASKS_ON_FARGATE="1")
    assert deployment.run(source, env=env).outputs["w.words"] == WORDS
    assert _placed(deployment) == {"Fargate small": 3, "Batch big": 3, "Fargate gather": 1}


def test_settings_of_hints_and_configuration_take_effect(deployment: MixedDeployment) -> None:
    """A queue of the task's own and tags, in jobs as Batch has them; each child of an array knows
    itself, and no array has jobs of two calls."""
    queue = deployment.batch.queue()
    names = ("RUN", "TASK", "CALL", "SHARD", "ATTEMPT", "WORKFLOW_JOB_ID")
    told = ",".join(f"$MINIWDL_CLOUD_{name}" for name in names)
    run = deployment.run(
        f"""
        version 1.2
        workflow w {{
          scatter (i in range(3)) {{
            call t as one {{ i }}
            call t as two {{ i }}
          }}
          output {{ Array[String] ones = one.who  Array[String] twos = two.who }}
        }}
        task t {{
          input {{ Int i }}
          command <<< echo "{told}" >>>
          output {{ String who = read_string(stdout()) }}
          requirements {{ container: "ubuntu:22.04" }}
          hints {{ aws: object {{ queue: "{queue}", timeout: 333 }} }}
        }}
        """,
        env=_settings(
            deployment,
            "aws_batch_job",
            AWS_BATCH_JOB_ID="workflow-job",
            MINIWDL__AWS__ARRAY_JOBS_MIN="2",
            MINIWDL__AWS__TASK_QUEUES=queue,
            MINIWDL__AWS__TASK_SETTINGS='{"t": {"tags": {"who": "me"}}}',
        ),
    )
    for call in ("one", "two"):
        expected = [f"{run.directory.name},t,{call},{i},1,workflow-job" for i in range(3)]
        assert run.outputs[f"w.{call}s"] == expected
    assert deployment.submissions("") == []
    deployment.queue = queue
    jobs = deployment.submissions("")
    assert {job["tags"]["miniwdl-cloud-call"] for job in jobs} == {"one", "two"}
    assert {job["tags"]["who"] for job in jobs} == {"me"}
    assert {job["timeout"]["attemptDurationSeconds"] for job in jobs} == {333}
    for job in jobs:
        call = job["jobName"].partition("-")[0]
        assert job["tags"]["miniwdl-cloud-call"] == call


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("timeout: 5", r":8:60: runtime\.aws\.timeout should be 60 at least"),
        ('queue: "other"', r":8:58: runtime\.aws\.queue names the job queue other, which tasks"),
    ],
)
def test_wrong_settings_end_a_run_before_its_first_task(
    deployment: MixedDeployment, setting: str, message: str
) -> None:
    """Even if an earlier task is well, none starts."""
    run = deployment.run(
        """
        version 1.1
        workflow w { call first call second { input: go = first.go } }
        task first { command {} output { Boolean go = true } }
        task second {
          input { Boolean go }
          command {}
          runtime { docker: "ubuntu:22.04"  aws: object { SETTING } }
        }
        """.replace("SETTING", setting),
        env=_settings(deployment, "aws_batch_job"),
        fails=True,
    )
    assert run.exit_code == 2
    assert re.search(message, run.error["cause"]["message"])
    assert deployment.submissions("") == []
