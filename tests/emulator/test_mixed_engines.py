"""Runs whose tasks are Batch jobs and ECS tasks, as each task says: on the embedded AWS."""

from __future__ import annotations

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
