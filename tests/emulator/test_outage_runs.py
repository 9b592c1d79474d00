"""Whole runs through outages of the embedded AWS: every call fails for a while, in each way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_helper import Batch, wait_until
from engine_runs import Deployment

from miniwdl_cloud.emulator.faults.plan import FaultPlan, parse_plan
from miniwdl_cloud.emulator.server import LocalCloud

SOURCE = """
    version 1.1
    workflow w {
      scatter (i in range(2)) { call t { input: i } }
      output { Array[Int] squares = t.square }
    }
    task t {
      input { Int i }
      command <<<
        touch "$FLAG.~{i}.waits"; while [ ! -e "$FLAG" ]; do sleep 0.1; done
        echo ~{i} >> ../ran; echo $((~{i} * ~{i}))
      >>>
      output { Int square = read_int(stdout()) }
    }
    """
SIGNED_BY_RUN = ["batch", "elasticfilesystem", "ec2", "s3"]


@pytest.fixture
def deployment(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Iterator[Deployment]:
    """Queues and a directory of the shared filesystem for one test."""
    made = Deployment(cloud, batch, tmp_path)
    yield made
    made.close()
    cloud.faults.replace(FaultPlan())


def _fail(cloud: LocalCloud, **fault: Any) -> None:
    rules = [{**fault, "match": {"service": service}} for service in SIGNED_BY_RUN]
    cloud.faults.replace(parse_plan({"rules": rules}))


def _fired(cloud: LocalCloud) -> int:
    return sum(rule["fired"] for rule in cloud.faults.as_dict()["rules"])


def test_a_run_survives_outages(cloud: LocalCloud, deployment: Deployment) -> None:
    """No answer when the engine starts and while jobs are submitted, errors and expired credentials
    while they run and end: every command runs once, and the run ends well."""
    flag = deployment.root / "flag"
    _fail(cloud, fault="reset_before")
    # One attempt a call: whatever passes is waited for by us, not by botocore.
    retries = json.dumps({"max_attempts": 1, "mode": "standard"})
    process = deployment.start(
        SOURCE, "--env", f"FLAG={flag}", env={"MINIWDL__AWS__BOTO3_RETRIES": retries}
    )
    wait_until(lambda: _fired(cloud) >= 3, "the engine to try three times")
    cloud.faults.replace(FaultPlan())
    wait_until(
        lambda: all(Path(f"{flag}.{i}.waits").exists() for i in range(2)), "both commands to run"
    )
    _fail(cloud, fault="server_error", status=503)
    wait_until(lambda: _fired(cloud) >= 3, "three looks to fail")
    flag.touch()
    _fail(cloud, fault="expired_token")
    wait_until(lambda: _fired(cloud) >= 3, "three looks with expired credentials")
    cloud.faults.replace(FaultPlan())
    run = deployment.finish(process)
    assert run.outputs["w.squares"] == [0, 1]
    ran = [path.read_text().split() for path in run.directory.rglob("ran")]
    assert sorted(ran) == [["0"], ["1"]]
    assert "the queue service does not answer as it should" in run.stderr
    assert "the queue service answers again" in run.stderr
