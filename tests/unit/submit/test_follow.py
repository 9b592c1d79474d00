"""Waiting for a workflow job, on a clock that is only told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from miniwdl_cloud.aws.logs import LogEvent
from miniwdl_cloud.errors import NotFound, ServiceError, Throttled, Unreachable
from miniwdl_cloud.patience import OUTAGE_MOST
from miniwdl_cloud.submit import follow
from miniwdl_cloud.submit.follow import Follower

END = "-- END --"


class World:
    """A clock, a job whose state follows from the time, and its log."""

    def __init__(self) -> None:
        self.now = 0.0
        self.states: list[tuple[float, dict[str, Any] | Exception | None]] = []
        self.log: list[tuple[float, str]] = []
        self.log_error_until = 0.0
        self.lines: list[str] = []
        self.looks = 0
        self._read = 0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def describe_jobs(self, ids: list[str]) -> dict[str, Any]:
        self.looks += 1
        state = [state for since, state in self.states if since <= self.now][-1]
        if isinstance(state, Exception):
            raise state
        return {ids[0]: state} if state else {}

    def open_stream(self, group: str, name: str) -> Any:
        self.group, self.name = group, name
        return self

    def new_events(self) -> Iterator[LogEvent]:
        if self.now < self.log_error_until:
            raise Throttled("slow down")
        while self._read < len(self.log) and self.log[self._read][0] <= self.now:
            self._read += 1
            yield LogEvent(0, self.log[self._read - 1][1])

    def follow(self, log: bool = True, marker: str | None = END) -> int:
        return Follower(
            self,
            "job-1",
            self.lines.append,
            self.open_stream if log else None,
            marker,
            self.clock,
            self.sleep,
        ).wait()


@pytest.fixture
def world() -> World:
    """A world with a job in no state yet."""
    return World()


def job(status: str, code: int | None = None, reason: str = "", **container: Any) -> dict[str, Any]:
    """A job as DescribeJobs shows it."""
    if status not in ("SUBMITTED", "RUNNABLE", "STARTING"):
        container["logStreamName"] = "stream"
    if code is not None:
        container["exitCode"] = code
    return {"status": status, "statusReason": reason, "container": container}


def test_success_with_its_log(world: World) -> None:
    """Status changes and log lines are shown once, in order; the end marker is not."""
    world.states = [(0, job("RUNNABLE")), (5, job("RUNNING")), (20, job("SUCCEEDED", 0))]
    world.log = [(6, "one"), (12, "two"), (21, "three"), (22, END)]
    assert world.follow() == 0
    shown = [line for line in world.lines if not line.startswith(("workflow job", "log stream"))]
    assert shown == ["one", "two", "three"]
    assert [line for line in world.lines if line.startswith("workflow job")] == [
        "workflow job job-1: RUNNABLE",
        "workflow job job-1: RUNNING",
        "workflow job job-1: SUCCEEDED",
    ]
    assert (world.group, world.name) == ("/aws/batch/job", "stream")
    assert world.now < 20 + follow.PERIOD_MAX_S + follow.MARKER_WAIT_S


def test_end_marker_ends_the_waiting(world: World) -> None:
    """With the end marker seen, nothing is awaited after the job's end."""
    world.states = [(0, job("RUNNING")), (10, job("SUCCEEDED", 0))]
    world.log = [(1, "one"), (2, END)]
    assert world.follow() == 0
    assert world.now <= 10 + follow.PERIOD_MAX_S


def test_a_talkative_job_is_not_asked_all_the_time(world: World) -> None:
    """While lines come a look every second and a half is enough; the end is seen at once."""
    world.states = [(0, job("RUNNING")), (1000.4, job("SUCCEEDED", 0))]
    world.log = [(n / 10, f"line {n}") for n in range(10_000)] + [(1000, END)]
    assert world.follow() == 0
    assert sum(line.startswith("line") for line in world.lines) == 10_000
    assert world.looks < 1000 / follow.PERIOD_BUSY_S + 100
    assert world.now <= 1000.4 + follow.PERIOD_BUSY_S + follow.PERIOD_MIN_S


def test_a_short_job_is_seen_at_once(world: World) -> None:
    """In the first seconds nobody waits for a line."""
    world.states = [(0, job("RUNNING")), (4, job("SUCCEEDED", 0))]
    world.log = [(n / 10, f"line {n}") for n in range(40)] + [(4, END)]
    assert world.follow() == 0
    assert world.now <= 4 + 2 * follow.PERIOD_MIN_S


@pytest.mark.parametrize("code", [1, 2, 123, 130, 143, 255])
def test_exit_code_is_the_containers(world: World, code: int) -> None:
    """The exit code of a failed run is passed on."""
    world.states = [(0, job("FAILED", code, "Essential container in task exited"))]
    assert world.follow(log=False) == code


def test_no_exit_code_is_an_error_with_the_reasons(world: World) -> None:
    """A job that never started says why, both of Batch's reasons."""
    failed = {
        "status": "FAILED",
        "statusReason": "Task failed to start",
        "container": {"reason": "CannotPullContainerError: no such image"},
    }
    world.states = [(0, failed)]
    with pytest.raises(ServiceError, match=r"Task failed to start; CannotPull.*image") as error:
        world.follow()
    assert error.value.exit_code == 70


def test_missing_marker_is_waited_for_and_told(world: World) -> None:
    """A log without end marker is given a bounded time, then its stream is named."""
    world.states = [(0, job("RUNNING")), (5, job("FAILED", 137))]
    world.log = [(1, "one")]
    assert world.follow() == 137
    assert "stream" in world.lines[-1]
    assert world.now <= 5 + follow.PERIOD_MAX_S + follow.MARKER_WAIT_S + 1


def test_log_without_marker_is_drained(world: World) -> None:
    """Of the self-test, which writes no marker, late lines are shown until it is quiet."""
    world.states = [(0, job("RUNNING")), (5, job("SUCCEEDED", 0))]
    world.log = [(1, "one"), (7, "two"), (9, "three")]
    assert world.follow(marker=None) == 0
    assert [line for line in world.lines if line in ("one", "two", "three")] == [
        "one",
        "two",
        "three",
    ]


def test_blockage_is_shown(world: World) -> None:
    """The reason why a job waits is shown when Batch gives one."""
    reason = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - too large"
    world.states = [
        (0, job("RUNNABLE")),
        (60, job("RUNNABLE", reason=reason)),
        (90, job("SUCCEEDED", 0)),
    ]
    assert world.follow(log=False) == 0
    assert f"workflow job job-1: RUNNABLE ({reason})" in world.lines


def test_pace(world: World) -> None:
    """Looks become rarer while nothing changes: an hour of waiting takes some 400 calls."""
    world.states = [(0, job("RUNNABLE")), (3600, job("SUCCEEDED", 0))]
    assert world.follow(log=False) == 0
    assert world.looks < 450
    assert world.now <= 3600 + follow.PERIOD_MAX_S


def test_outages_are_sat_out(world: World) -> None:
    """Throttling and outages of minutes do not end the waiting, for job or log."""
    world.states = [
        (0, job("RUNNING")),
        (5, Unreachable("no answer")),
        (300, Throttled("slow down")),
        (600, job("RUNNING")),
        (610, job("SUCCEEDED", 0)),
    ]
    world.log = [(1, "one"), (602, END)]
    world.log_error_until = 600
    assert world.follow() == 0
    assert "one" in world.lines


def test_long_outage_is_given_up(world: World) -> None:
    """After a quarter of an hour without an answer the error says where to look."""
    world.states = [(0, job("RUNNING")), (5, Unreachable("no answer"))]
    with pytest.raises(Unreachable, match="miniwdl-cloud status job-1"):
        world.follow()
    assert world.now < 5 + OUTAGE_MOST + 30


def test_job_not_visible_yet(world: World) -> None:
    """Batch may not know a job for some time after it took it."""
    world.states = [(0, None), (30, job("RUNNING")), (40, job("SUCCEEDED", 0))]
    assert world.follow(log=False) == 0


def test_unknown_job(world: World) -> None:
    """A job that Batch never knows is an error."""
    world.states = [(0, None)]
    with pytest.raises(NotFound, match="does not know the workflow job job-1"):
        world.follow()


def test_log_group_of_the_definition(world: World) -> None:
    """A log group that the job definition names is used."""
    options = {"options": {"awslogs-group": "mine"}}
    world.states = [(0, job("RUNNING", logConfiguration=options)), (1, job("SUCCEEDED", 0))]
    world.log = [(0, END)]
    assert world.follow() == 0
    assert world.group == "mine"
