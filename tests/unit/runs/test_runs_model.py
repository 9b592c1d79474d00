"""Runs: names, collecting within a bound on calls, and what the screen shows."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from miniwdl_cloud.accounting.tagged import PARENT_TAG
from miniwdl_cloud.errors import NotFound, UsageError
from miniwdl_cloud.jobs.request import JobState
from miniwdl_cloud.runs import view
from miniwdl_cloud.runs.collect import Collector
from miniwdl_cloud.runs.logs import parse_span, pick
from miniwdl_cloud.runs.model import Counts, Run, parse_job_name
from miniwdl_cloud.runs.retry import request_again

RUN_ID = "00000000-0000-0000-0000-000000000001"
NOW = 2_000.0


class Listing:
    """Batch with jobs, which counts calls as it would page them."""

    def __init__(self, jobs: list[dict[str, Any]]) -> None:
        self.calls = 0
        self._jobs = {job["jobId"]: job for job in jobs}

    def jobs(self, queue: str, status: str) -> list[dict[str, Any]]:
        """As BatchListing."""
        found = [j for j in self._jobs.values() if j["status"] == status and j["queue"] == queue]
        self.calls += max(1, -(-len(found) // 1000))
        return [{k: v for k, v in job.items() if k not in ("tags", "queue")} for job in found]

    def children(self, array_id: str, status: str) -> list[dict[str, Any]]:
        """As BatchListing: all of them have succeeded."""
        size = self._jobs[array_id]["arrayProperties"]["size"] if status == "SUCCEEDED" else 0
        self.calls += max(1, -(-size // 1000))
        return [
            {
                **job("SUCCEEDED", array_id, job_id=f"{array_id}:{index}"),
                "arrayProperties": {"index": index},
            }
            for index in range(size)
        ]

    def describe(self, ids: Any) -> dict[str, dict[str, Any]]:
        """As BatchListing."""
        wanted = list(ids)
        self.calls += -(-len(wanted) // 100)
        return {job_id: self._jobs[job_id] for job_id in wanted if job_id in self._jobs}


def job(status: str, name: str, created: float = 1_000.0, **more: Any) -> dict[str, Any]:
    """A task job."""
    return {
        "jobId": more.pop("job_id", name),
        "jobName": name,
        "queue": "tasks",
        "status": status,
        "createdAt": created * 1000,
        "tags": {PARENT_TAG: more.pop("parent", RUN_ID)},
        **more,
    }


WORKFLOW = {
    "jobId": RUN_ID,
    "jobName": "miniwdl_run_w-abcdefgh",
    "jobQueue": "arn:aws:batch:us-east-1:1:job-queue/workflows",
    "status": "RUNNING",
    "createdAt": 900_000,
    "startedAt": 950_000,
}
TAGS = {"DefaultTaskQueue": "tasks"}


def collected(*jobs: dict[str, Any]) -> tuple[Run, Listing]:
    """The run that these jobs are of."""
    listing = Listing(list(jobs))
    return Collector(listing, lambda path: None).run(WORKFLOW, TAGS), listing  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("align-abcdefgh", ("align", "", 1)),
        ("align-3-sampleA-try2-abcdefgh", ("align", "3-sampleA", 2)),
        ("align-0-try-x-abcdefgh", ("align", "0-try-x", 1)),
        ("somebody_else", ("somebody_else", "", 1)),
    ],
)
def test_job_names_tell_call_shard_and_attempt(name: str, parts: tuple[str, str, int]) -> None:
    """The name of a task's job is read as the engine wrote it."""
    assert parse_job_name(name) == parts


def test_names_are_those_that_the_engine_makes() -> None:
    """What the engine names, the operator's view understands."""
    from miniwdl_cloud.engines.task_job import unique_job_name

    assert parse_job_name(unique_job_name("call-sort_bam-12-x", 3)) == ("sort_bam", "12-x", 3)


def test_jobs_of_other_runs_and_earlier_ones_are_left_out() -> None:
    """A job belongs to the run that its tag names, if it was there in its time."""
    run, _ = collected(
        job("RUNNING", "a-abcdefgh"),
        job("RUNNING", "b-abcdefgh", parent="another"),
        job("SUCCEEDED", "c-abcdefgh", created=100, stoppedAt=200_000),
        # It began under a former run, and was adopted.
        job("RUNNING", "d-abcdefgh", created=100),
    )
    assert sorted(run.counts) == ["a", "d"]


def test_a_retry_stands_in_the_place_of_a_failure() -> None:
    """A failed attempt with a successor is no failed task."""
    run, _ = collected(
        job("FAILED", "a-0-abcdefgh"),
        job("RUNNING", "a-0-try2-abcdefgh", created=1_100.0),
        job("FAILED", "a-1-abcdefgh"),
    )
    assert run.counts["a"] == Counts(running=1, failed=1)
    assert [len(task.attempts) for task in run.tasks] == [2, 1]


def test_five_thousand_tasks_take_few_calls() -> None:
    """Calls grow with pages and hundreds, not with tasks; looking again asks for no tags."""
    lone = [job("RUNNING", f"lone-{i}-abcdefgh") for i in range(2_000)]
    arrays = [
        job(
            "SUCCEEDED",
            f"many-{i}-abcdefgh",
            arrayProperties={"size": 1_000, "statusSummary": {"SUCCEEDED": 1_000}},
            stoppedAt=1_500_000,
        )
        for i in range(3)
    ]
    listing = Listing([*lone, *arrays])
    collector = Collector(listing, lambda path: None)  # type: ignore[arg-type]
    run = collector.run(WORKFLOW, TAGS)
    assert run.total == Counts(done=3_000, running=2_000) and len(run.tasks) == 5_000
    # 8 pages of jobs, 21 DescribeJobs, 3 pages of children
    assert listing.calls == 32
    again = collector.run(WORKFLOW, TAGS)
    assert again.total == run.total and listing.calls == 32 + 8


def frame(run: Run, everything: bool = False) -> str:
    """What a terminal shows."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=220, color_system=None)
    console.print(view.run_tree(run, NOW, everything))
    return screen.getvalue()


def test_a_frame_of_the_screen() -> None:
    """The tree shows what needs attention one by one, and the rest in numbers."""
    run, _ = collected(
        *[job("SUCCEEDED", f"align-{i}-abcdefgh") for i in range(30)],
        job(
            "FAILED",
            "align-30-[red]x-abcdefgh",
            startedAt=1_500_000,
            stoppedAt=1_560_000,
            container={"exitCode": 137, "reason": "OutOfMemoryError: Container killed"},
        ),
        *[job("RUNNING", f"sort-{i}-abcdefgh", startedAt=1_900_000) for i in range(40)],
        job("RUNNABLE", "call-abcdefgh", statusReason="MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"),
    )
    text = frame(run)
    assert "30 done, 1 failed" in text and "[30-[red]x]" in text and "1m 00s" in text
    assert "raise the task's `memory`" in text
    assert "and 30 done (--all shows each)" in text
    assert "40 running" in text and "and 20 running (--all shows each)" in text
    assert "no instance type of the queue" in text
    assert "3 calls, 30 done, 40 running, 1 waiting, 1 failed" in text
    assert len(frame(run, everything=True).splitlines()) > 72


def test_a_watched_tree_fits_the_screen() -> None:
    """A terminal that is watched shows some tasks of each call, not all of the first."""
    run, _ = collected(
        *[job("RUNNING", f"{call}-{i}-abcdefgh") for call in "abcd" for i in range(90)]
    )
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=110, height=40, color_system=None)
    console.print(view.run_tree(run, NOW, most=view.tasks_that_fit(run, console.height)))
    lines = screen.getvalue().splitlines()
    assert len(lines) <= 40 and sum("90 running" in line for line in lines) == 4
    assert view.tasks_that_fit(run, 4) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (5, "5s"), (185, "3m 05s"), (7_800, "2h 10m"), (356_400, "4d 03h")],
)
def test_durations(seconds: float | None, text: str) -> None:
    """A time span is told in its two largest units."""
    assert view.duration(seconds) == text


@pytest.mark.parametrize(
    ("wanted", "number", "job_id"),
    [
        ("lone", None, "lone-abcdefgh"),
        ("align[3]", None, "align-03-x-try2-abcdefgh"),
        ("align[3]", 1, "align-03-x-abcdefgh"),
        ("align[13-y]", None, "align-13-y-abcdefgh"),
    ],
)
def test_picking_an_attempt(wanted: str, number: int | None, job_id: str) -> None:
    """A shard is named by its index or in full, and its latest attempt is meant."""
    run, _ = collected(
        job("SUCCEEDED", "lone-abcdefgh"),
        job("FAILED", "align-03-x-abcdefgh"),
        job("RUNNING", "align-03-x-try2-abcdefgh"),
        job("RUNNING", "align-13-y-abcdefgh"),
    )
    assert pick(run, wanted, number).job_id == job_id
    with pytest.raises(UsageError):
        pick(run, "align", None)
    with pytest.raises(UsageError):
        pick(run, "align[3", None)
    with pytest.raises(NotFound):
        pick(run, "align[]", None)


def test_time_spans() -> None:
    """A span is a number and a unit."""
    assert parse_span("90s") == 90 and parse_span("1.5h") == 5_400
    with pytest.raises(UsageError, match="write it as"):
        parse_span("10")


def test_the_same_request_again() -> None:
    """Command, variables, size, tags and definition are those of the first submission."""
    earlier = {
        **WORKFLOW,
        "status": "FAILED",
        "jobDefinition": "arn:definition:3",
        "tags": {"MiniwdlCloudWdl00-x": "y", "MiniwdlCloudCostUSD": "1.00", "aws:batch:z": "no"},
        "timeout": {"attemptDurationSeconds": 600},
        "container": {
            "command": ["miniwdl-run-s3upload", "@shipped-wdl"],
            "environment": [
                {"name": "MINIWDL_CLOUD_WDL", "value": "text"},
                {"name": "AWS_BATCH_X", "value": "1"},
            ],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}],
        },
    }
    assert request_again(earlier, "hgfedcba") == {
        "jobName": "miniwdl_run_w-hgfedcba",
        "jobQueue": WORKFLOW["jobQueue"],
        "jobDefinition": "arn:definition:3",
        "containerOverrides": {
            "command": ["miniwdl-run-s3upload", "@shipped-wdl"],
            "environment": [{"name": "MINIWDL_CLOUD_WDL", "value": "text"}],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}],
        },
        "tags": {"MiniwdlCloudWdl00-x": "y"},
        "timeout": {"attemptDurationSeconds": 600},
    }
    with pytest.raises(UsageError, match="has not ended"):
        request_again({**earlier, "status": JobState.RUNNING.value}, "hgfedcba")


@pytest.mark.parametrize(
    ("tag", "shown"), [("12.34", "cost so far about $12.34"), ("nan", ""), (None, "")]
)
def test_cost_so_far(tag: str | None, shown: str) -> None:
    """What a run has cost is told by a tag of its workflow job."""
    tags = {} if tag is None else {"MiniwdlCloudCostUSD": tag}
    workflow = {**WORKFLOW, "queue": "workflows", "tags": tags}
    listing = Listing([workflow])
    collector = Collector(listing, lambda path: None)  # type: ignore[arg-type]
    queue_tags = {"DefaultTaskQueue": "tasks"}
    one = collector.run(workflow, queue_tags)
    (listed,) = collector.runs([WORKFLOW], {"workflows": queue_tags})
    assert one.cost == listed.cost == (12.34 if shown else None)
    text = next(view.run_lines(one, 1_000.0))
    assert shown in text and ("cost" in text) is bool(shown)
