"""What tasks cost: machines, prices, the budget, on the embedded AWS, whose prices are known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_helper import Batch
from engine_runs import Deployment, Run
from fargate_runs import FargateDeployment

from miniwdl_cloud.aws.pricing import Prices
from miniwdl_cloud.aws.session import AwsSession
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.report.collect import collect

TASK = """
version 1.0
workflow w {
  call one
  call two { input: after = one.out }
}
task one {
  command { sleep 1 }
  output { Int out = 1 }
  runtime { docker: "ubuntu:20.04"  cpu: 2  memory: "2 GiB" }
}
task two {
  input { Int after }
  command { true }
  runtime { docker: "ubuntu:20.04"  cpu: 1  memory: "1 GiB" }
}
"""


@pytest.fixture
def session(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> AwsSession:
    """A session on the embedded AWS."""
    for name, value in {
        "AWS_ENDPOINT_URL": cloud.endpoint_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }.items():
        monkeypatch.setenv(name, value)
    return AwsSession(cloud.region)


def test_prices(session: AwsSession) -> None:
    """Prices are read from AWS's answers; what has none, has none."""
    prices = Prices(session)
    assert prices.on_demand("m5.large") == pytest.approx(0.1)
    assert prices.on_demand("m5.absurd") is None
    assert prices.spot("m5.large", "us-east-1a", 1_790_000_000.0) == pytest.approx(0.04)
    assert prices.spot("m5.absurd", "us-east-1a", 1_790_000_000.0) is None
    fargate = prices.fargate()
    assert fargate is not None
    assert (fargate.vcpu_hour, fargate.arm_gib_hour, fargate.storage_gib_hour) == (
        0.04,
        0.003,
        0.0001,
    )


@pytest.fixture
def deployment(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Iterator[Deployment]:
    """Queues and a directory of the shared filesystem for one test."""
    made = Deployment(cloud, batch, tmp_path)
    yield made
    made.close()


@pytest.fixture
def fargate(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Iterator[FargateDeployment]:
    """A cluster, and a directory of the shared filesystem for one test."""
    made = FargateDeployment(cloud, batch, tmp_path)
    yield made
    made.close()


def _noted(run: Run, call: str) -> dict[str, Any]:
    (path,) = [
        path
        for path in (run.directory / f"call-{call}").glob("*.json")
        if path.name.startswith(("awsBatchJobDetail", "ecsTask"))
    ]
    return dict(json.loads(path.read_text())["miniwdlCloud"])


@pytest.mark.parametrize(
    ("lifecycle", "source", "hourly"),
    [("spot", "Spot price history", 0.04), ("on-demand", "price list, On-Demand", 0.1)],
)
def test_batch_jobs_have_machines_and_prices(
    deployment: Deployment, lifecycle: str, source: str, hourly: float
) -> None:
    """Instance type, zone, lifecycle and price of each attempt are kept with it, the workflow job
    is tagged with the cost, and the report counts with them."""
    batch = deployment.batch
    workflow_queue = batch.queue()
    workflow_job = batch.submit(batch.definition("sleep", "600"), workflow_queue)
    variables = {"AWS_BATCH_JOB_ID": workflow_job}
    if lifecycle == "on-demand":
        variables["MINIWDL__AWS__TASK_QUEUE"] = batch.queue(batch.environment(type="EC2"))
    run = deployment.run(TASK, env=variables)
    price = _noted(run, "one")["price"]
    assert price["machine"]["kind"] == "EC2" and price["machine"]["lifecycle"] == lifecycle
    assert price["machine"]["availabilityZone"] == "us-east-1a"
    assert "." in price["machine"]["instanceType"]
    assert price["source"] == source
    # The whole of an instance of two vCPUs.
    assert price["usdPerHour"] == pytest.approx(hourly)
    report = collect(run.directory)
    one = next(task for task in report.tasks if task.call == "one")
    (attempt,) = one.attempts
    assert attempt.seconds is not None and attempt.seconds >= 1
    assert one.cost == pytest.approx(attempt.seconds / 3600 * hourly)
    assert dict(report.basis.sources) == {source: 2}
    assert report.basis.sentence.count(source) == 1
    job = batch.describe(workflow_job)
    assert job["tags"]["MiniwdlCloudCostUSD"] == "0.00"
    (shown,) = _status(deployment, workflow_queue)["runs"]
    assert shown["costUSD"] == 0.0
    assert _status(deployment, workflow_queue, workflow_job)["run"]["costUSD"] == 0.0
    batch.api.terminate_job(jobId=workflow_job, reason="enough")


def test_fargate_tasks_have_prices(fargate: FargateDeployment) -> None:
    """Fargate is paid by size, from the image's download on, and a minute at least."""
    run = fargate.run(TASK)
    price = _noted(run, "one")["price"]
    assert price["machine"]["kind"] == "FARGATE"
    assert price["source"].startswith("price list")
    report = collect(run.directory)
    one = next(task for task in report.tasks if task.call == "one")
    assert one.attempts[0].vcpus == 2
    hourly = 2 * 0.04 + (one.attempts[0].memory_mib or 0) / 1024 * 0.004
    assert price["usdPerHour"] == pytest.approx(hourly)
    assert one.cost == pytest.approx(hourly / 60)


def test_the_budget_stops_submissions(deployment: Deployment) -> None:
    """Once the tasks have cost what they may, the next one is not submitted, whatever its
    maxRetries; the run's error says so, and a warning came before."""
    source = TASK.replace('cpu: 1  memory: "1 GiB"', 'cpu: 1  memory: "1 GiB"  maxRetries: 3')
    run = deployment.run(source, env={"MINIWDL__AWS__BUDGET": "0.00001"}, fails=True)
    assert "budget" in json.dumps(run.error)
    assert "no more tasks are submitted" in json.dumps(run.error)
    assert "of a budget of $0.000010" in run.stderr
    assert len(deployment.jobs("one")) == 1 and deployment.jobs("two") == []


def test_within_the_budget(deployment: Deployment) -> None:
    """A budget that is not reached changes nothing."""
    assert deployment.run(TASK, env={"MINIWDL__AWS__BUDGET": "5"}).exit_code == 0


@pytest.mark.parametrize("budget", ["0", "-3", "nan", "much"])
def test_wrong_budgets(deployment: Deployment, budget: str) -> None:
    """A budget that is none is refused before anything is submitted."""
    run = deployment.run(TASK, env={"MINIWDL__AWS__BUDGET": budget}, fails=True)
    assert "budget" in run.stderr and deployment.jobs("one") == []


def _status(deployment: Deployment, queue: str, *arguments: str) -> dict[str, Any]:
    command = Path(sys.executable).with_name("miniwdl-cloud")
    done = subprocess.run(
        [str(command), "status", *arguments, "--workflow-queue", queue, "--json"],
        env=deployment.environ(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
