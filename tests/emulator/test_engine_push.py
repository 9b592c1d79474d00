"""Runs whose tasks are told of by events, on the embedded AWS with the shipped template."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_helper import Batch, make_client, wait_until
from engine_runs import Deployment, Run

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.infra.deploy import deploy_stack, template_text

SCATTER = """
    version 1.0
    workflow many {
        input { Int n }
        scatter (i in range(n)) { call one { input: i = i } }
        call last { input: numbers = one.out }
        output { Array[Int] out = one.out  Int sum = last.sum }
    }
    task one {
        input { Int i }
        command { echo ~{i} }
        output { Int out = read_int(stdout()) }
        runtime { docker: "busybox" }
    }
    task last {
        input { Array[Int] numbers }
        command { echo $(( ~{sep=" + " numbers} )) }
        output { Int sum = read_int(stdout()) }
        runtime { docker: "busybox" }
    }
"""
# Once events arrive, looks are as rare as this: a run that depended on them would not end in time.
RARELY = {"MINIWDL__AWS__DESCRIBE_PERIOD": "600"}


class Deployed(Deployment):
    """The shipped template, deployed; the engine is configured by the workflow queue's tags."""

    def __init__(self, cloud: LocalCloud, root: Path) -> None:
        session = LocalSession(cloud.endpoint_url, cloud.region)
        deploy_stack(session, template_text(), "push", {}, {})
        super().__init__(cloud, Batch(cloud), root)
        queues = self.batch.api.describe_job_queues(jobQueues=["push-workflow"])["jobQueues"]
        tags = queues[0]["tags"]
        self.queue, self.fallback = tags["DefaultTaskQueue"], tags["DefaultTaskQueueFallback"]
        self.fsap, self.event_queue = tags["DefaultFsap"], tags["DefaultEventQueueUrl"]
        self.sqs = make_client(cloud, "sqs")

    def environ(self, **more: str) -> dict[str, str]:
        """The environment that a workflow job would have."""
        return super().environ(**{"MINIWDL__AWS__EVENT_QUEUE": self.event_queue, **more})

    def calls(self, operation: str) -> int:
        """How often SQS was called so far."""
        counts: dict[str, int] = self.cloud.calls.as_dict().get("sqs", {})
        return counts.get(operation, 0)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """An embedded AWS of its own, so that the queue has no other events."""
    root = tmp_path_factory.mktemp("push")
    with LocalCloud(root / "state", root / "filesystem", stop_grace_s=1.0) as cloud:
        deployed = Deployed(cloud, root)
        yield deployed
        deployed.close()


def _warnings(run: Run) -> list[str]:
    return [line for line in run.stderr.splitlines() if "polling instead" in line]


def _messages(deployed: Deployed) -> int:
    attributes = deployed.sqs.get_queue_attributes(
        QueueUrl=deployed.event_queue, AttributeNames=["All"]
    )["Attributes"]
    return sum(
        int(attributes[name])
        for name in ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    )


def test_a_scatter_ends_by_events_alone(deployed: Deployed) -> None:
    """Thirty shards as an array job, and the task after them, are told of by events, which are
    deleted by tens."""
    before = {name: deployed.calls(name) for name in ("ReceiveMessage", "DeleteMessageBatch")}
    run = deployed.run(SCATTER, "n=30", env=RARELY)
    assert run.outputs == {"many.out": list(range(30)), "many.sum": sum(range(30))}
    assert _warnings(run) == []
    received = deployed.calls("ReceiveMessage") - before["ReceiveMessage"]
    deleted = deployed.calls("DeleteMessageBatch") - before["DeleteMessageBatch"]
    # 31 jobs and the array itself tell of their start and end.
    assert 1 <= deleted <= 64
    assert deleted <= received


def test_two_runs_share_the_queue(deployed: Deployed) -> None:
    """Each of two runs at once gets the events of its own tasks."""
    runs = [deployed.start(SCATTER, f"n={n}") for n in (9, 11)]
    sums = [deployed.finish(run).outputs["many.sum"] for run in runs]
    assert sums == [sum(range(9)), sum(range(11))]


def test_anothers_events_are_given_back(deployed: Deployed) -> None:
    """The end of a job that nobody here submitted stays in the queue for whom it concerns."""
    go = deployed.root / "go"
    process = deployed.start(
        """
        version 1.0
        task wait {
            input { String go }
            command { until [ -e ~{go} ]; do sleep 0.2; done }
            runtime { docker: "busybox" }
        }
        """,
        f"go={go}",
    )
    try:
        before = deployed.calls("ChangeMessageVisibilityBatch")
        # Its own events first, so that it is certain to listen.
        wait_until(
            lambda: deployed.calls("DeleteMessageBatch") and deployed.jobs("wait"), "the task"
        )
        foreign = deployed.batch.submit(deployed.batch.definition("true"), deployed.queue)
        deployed.batch.wait(foreign, "SUCCEEDED")
        wait_until(
            lambda: deployed.calls("ChangeMessageVisibilityBatch") > before, "an event given back"
        )

        def look() -> bool:
            answer: dict[str, Any] = deployed.sqs.receive_message(
                QueueUrl=deployed.event_queue, MaxNumberOfMessages=10, VisibilityTimeout=1
            )
            details = [json.loads(m["Body"])["detail"] for m in answer.get("Messages", [])]
            return any(d["jobId"] == foreign for d in details)

        wait_until(look, "the foreign job's event in the queue")
    finally:
        go.touch()
        deployed.finish(process)


def test_without_the_queue_polling_goes_on(deployed: Deployed) -> None:
    """A queue that does not exist costs one warning, and nothing else."""
    run = deployed.run(
        SCATTER, "n=9", env={"MINIWDL__AWS__EVENT_QUEUE": deployed.event_queue + "-gone"}
    )
    assert run.outputs["many.sum"] == sum(range(9))
    assert len(_warnings(run)) == 1


def test_without_the_rule_polling_goes_on(deployed: Deployed) -> None:
    """A queue that no rule sends to costs one warning at most."""
    url = deployed.sqs.create_queue(QueueName="silent")["QueueUrl"]
    run = deployed.run(SCATTER, "n=9", env={"MINIWDL__AWS__EVENT_QUEUE": url})
    assert run.outputs["many.sum"] == sum(range(9))
    assert len(_warnings(run)) <= 1


def test_nothing_is_left_in_the_queue(deployed: Deployed) -> None:
    """After a run its events are gone, but for a few that came after its last look."""
    deployed.sqs.purge_queue(QueueUrl=deployed.event_queue)
    deployed.run(SCATTER, "n=30", env=RARELY)
    assert _messages(deployed) <= 10
