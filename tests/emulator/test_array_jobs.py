"""Scatter shards as children of Batch array jobs: whole runs on the embedded AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_helper import Batch
from engine_runs import Deployment

from miniwdl_cloud.emulator.server import LocalCloud

SHARDS = """
    version 1.2
    workflow w {
      input { Int n  Int bad = -1 }
      scatter (i in range(n)) { call shard { i, bad } }
      output { Array[String] said = shard.said }
    }
    task shard {
      input { Int i  Int bad }
      command <<<
        echo "err ~{i} ~{task.attempt}" >&2
        if [ ~{i} = ~{bad} ] && [ ~{task.attempt} = 0 ]; then exit 3; fi
        echo "shard ~{i}"
      >>>
      output { String said = read_string(stdout()) }
      requirements { max_retries: 1 }
    }
    """


@pytest.fixture
def deployment(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Iterator[Deployment]:
    """Queues and a directory of the shared filesystem for one test."""
    made = Deployment(cloud, batch, tmp_path)
    yield made
    made.close()


def test_every_shard_runs_as_itself(deployment: Deployment) -> None:
    """Each child finds its own task; most children are those of few array jobs."""
    run = deployment.run(SHARDS, "n=40")
    assert run.outputs["w.said"] == [f"shard {i}" for i in range(40)]
    arrays = [job for job in deployment.submissions("shard") if "arrayProperties" in job]
    assert sum(job["arrayProperties"]["size"] for job in arrays) >= 20


def test_a_failed_shard_is_retried_alone(deployment: Deployment) -> None:
    """The second attempt is a job of its own; streams and job details are told apart."""
    run = deployment.run(SHARDS, "n=20", "bad=7")
    assert run.outputs["w.said"] == [f"shard {i}" for i in range(20)]
    task = run.directory / "call-shard-07"
    assert (task / "stderr.txt").read_text() == "err 7 0\n"
    assert (task / "stderr2.txt").read_text() == "err 7 1\n"
    details = [json.loads(p.read_text()) for p in task.glob("awsBatchJobDetail.*.json")]
    assert sorted(d["status"] for d in details) == ["FAILED", "SUCCEEDED"]
    assert not list((run.directory / "call-shard-08").glob("stderr2.txt"))


def test_a_shard_that_fails_for_good_is_reported(deployment: Deployment) -> None:
    """error.json names the child's own job, log stream and streams."""
    run = deployment.run(
        SHARDS.replace("max_retries: 1", "max_retries: 0"), "n=20", "bad=7", fails=True
    )
    cause = run.error["cause"]
    assert cause["exit_status"] == 3
    assert Path(cause["stderr_file"]).read_text() == "err 7 0\n"
    job = deployment.batch.describe(cause["jobId"])
    assert job["container"]["exitCode"] == 3
    assert cause["logStreamName"] == job["container"]["logStreamName"]


def test_off_by_setting(deployment: Deployment) -> None:
    """With array_jobs_min 0 every shard is a job of its own."""
    run = deployment.run(SHARDS, "n=20", env={"MINIWDL__AWS__ARRAY_JOBS_MIN": "0"})
    assert len(run.outputs["w.said"]) == 20
    jobs = deployment.submissions("shard")
    assert len(jobs) == 20
    assert not any("arrayProperties" in job for job in jobs)
