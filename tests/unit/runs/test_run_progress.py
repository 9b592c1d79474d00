"""Showing the progress of a run that somebody waits for, on a clock that is only told."""

from __future__ import annotations

import io
import sys

import pytest

from miniwdl_cloud.errors import AccessDenied, NotFound, Throttled, Unreachable
from miniwdl_cloud.jobs.request import JobState
from miniwdl_cloud.runs import progress
from miniwdl_cloud.runs.model import Attempt, Counts, Run, Task
from miniwdl_cloud.runs.progress import EVENTS_SHOWN, Events, Progress


def run(*tasks: Task) -> Run:
    """A run of these tasks."""
    counts: dict[str, Counts] = {}
    for task in tasks:
        counts.setdefault(task.call, Counts()).add(task.last.state)
    return Run("id", "name", "queue", JobState.RUNNING, counts=counts, tasks=tasks)


def task(shard: str, *states: str, stopped: float | None = None) -> Task:
    """A task of the call `align`, with an attempt in each of these states."""
    attempts = [
        Attempt(
            f"job-{shard}-{number}",
            "queue",
            number,
            JobState[state],
            reason=f"it was shard {shard}" if state == "FAILED" else None,
            created=1.0,
            stopped=stopped,
        )
        for number, state in enumerate(states, 1)
    ]
    return Task("align", shard, True, tuple(attempts))


def texts(events: Events) -> list[str]:
    """The events without their times of day."""
    return [event.partition(" ")[2] for event in events.latest]


def test_events_are_what_has_changed() -> None:
    """Beginnings, ends and retries, once each, in the order of their times."""
    events = Events()
    events.note(run(task("0", "RUNNABLE"), task("1", "RUNNING")))
    assert texts(events) == ["align[1] runs"]
    events.note(run(task("0", "FAILED", stopped=9), task("1", "SUCCEEDED", stopped=8)))
    events.note(run(task("0", "FAILED", "RUNNABLE"), task("1", "SUCCEEDED", stopped=8)))
    assert texts(events)[1:] == [
        "align[1] is done",
        "align[0] failed: it was shard 0",
        "align[0]: attempt 2, after: it was shard 0",
    ]
    events.note(run(*[task(str(i), "RUNNING") for i in range(100, 150)]))
    assert len(events.latest) == EVENTS_SHOWN


class World:
    """A clock, and what AWS answers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answer: Run | Exception = run(task("0", "RUNNING"))
        self.looks = 0
        self.lines: list[str] = []

    def clock(self) -> float:
        return self.now

    def look(self) -> Run:
        self.looks += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_pace_and_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on a terminal a line is shown when the counts change, every ten seconds at
    most, and a short run takes no call at all."""
    world = World()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.shown(world.look, False, world.lines.append) as (shown, say):
        assert shown is not None and say == world.lines.append
    with progress.shown(world.look, True, world.lines.append) as (nothing, _):
        assert nothing is None
    ticking = Progress(
        world.look, progress._Changes(world.lines.append), say, 10, 10, clock=world.clock
    )
    for second in range(41):
        world.now = float(second)
        if second == 25:
            world.answer = run(task("0", "FAILED", "SUCCEEDED"), task("1", "RUNNING"))
        ticking()
    ticking.finish()
    assert world.looks == 4
    assert world.lines == ["1 call, 1 running", "1 call, 1 done, 1 running, 1 retry"]


@pytest.mark.parametrize("error", [Unreachable("gone"), Throttled("slow"), NotFound("what")])
def test_outages_are_left_to_who_waits(error: Exception) -> None:
    """Nothing is shown of calls that failed for the moment, and looking goes on."""
    world, shown = World(), []
    world.answer = error
    ticking = Progress(
        world.look, lambda run, _: shown.append(run), world.lines.append, 5, clock=world.clock
    )
    ticking()
    assert world.lines == shown == []
    world.now, world.answer = 5.0, run()
    ticking()
    assert len(shown) == 1


def test_who_may_not_look_is_told_once() -> None:
    """Waiting needs fewer permissions than progress; without them it goes on without."""
    world = World()
    world.answer = AccessDenied("You may not batch:ListJobs.")
    ticking = Progress(
        world.look, lambda *_: None, world.lines.append, 5, at_end=True, clock=world.clock
    )
    for world.now in (0.0, 5.0, 10.0):
        ticking()
    ticking.finish()
    assert world.looks == 1
    assert world.lines == ["progress is not shown: You may not batch:ListJobs."]
