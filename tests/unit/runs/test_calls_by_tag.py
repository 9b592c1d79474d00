"""Whose call a job is of, by its tag: without the filesystem, and however long its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from miniwdl_cloud.runs.collect import Collector

WORKFLOW = "00000000-0000-4000-8000-000000000000"


class Listing:
    """One queue's jobs, as AWS Batch tells of them."""

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self._jobs = jobs

    def jobs(self, queue: str, state: str) -> list[dict[str, Any]]:
        """ListJobs: no tags."""
        found = self._jobs if queue == "extra" else ()
        return [{**job, "tags": None} for job in found if job["status"] == state]

    def describe(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """DescribeJobs."""
        return {job["jobId"]: job for job in self._jobs if job["jobId"] in set(ids)}

    def children(self, array_id: str, state: str) -> list[dict[str, Any]]:
        """Not asked for counts."""
        raise AssertionError

    def tasks(self, cluster: str) -> Sequence[dict[str, Any]]:
        """No ECS."""
        return ()


def _job(number: int, name: str, call: str | None, **more: Any) -> dict[str, Any]:
    tags = {"AWS_BATCH_PARENT_JOB_ID": WORKFLOW}
    if call is not None:
        tags["miniwdl-cloud-call"] = call
    return {
        "jobId": f"job-{number}",
        "jobName": f"{name}-abcdefgh",
        "status": "RUNNING",
        "createdAt": 1000 + number,
        "tags": tags,
        **more,
    }


def test_counts_are_by_the_tag() -> None:
    """The tag counts where there is one; jobs of earlier releases have their names alone."""
    array = {"arrayProperties": {"size": 3, "statusSummary": {"RUNNING": 1, "SUCCEEDED": 2}}}
    long = "a" * 200
    listing = Listing(
        _job(1, "align-0", "align", **array),
        _job(2, long[:119], long),
        _job(3, "index", None),
    )
    workflow = {
        "jobId": WORKFLOW,
        "jobName": "w",
        "jobQueue": "workflows",
        "status": "RUNNING",
        "createdAt": 1000,
        "container": {
            "environment": [
                {"name": "MINIWDL__AWS__TASK_QUEUE", "value": "tasks"},
                {"name": "MINIWDL__AWS__TASK_QUEUES", "value": "more, extra"},
            ]
        },
    }
    (run,) = Collector(cast(Any, listing)).runs([workflow], {})
    assert {call: counts.as_json() for call, counts in run.counts.items()} == {
        "align": {"done": 2, "running": 1, "waiting": 0, "failed": 0},
        long: {"done": 0, "running": 1, "waiting": 0, "failed": 0},
        "index": {"done": 0, "running": 1, "waiting": 0, "failed": 0},
    }
