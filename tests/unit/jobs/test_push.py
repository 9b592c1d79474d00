"""Events wake the dispatcher: stepped by hand, and the listener's thread by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from test_dispatcher import Clock, Inline, Service, World, news_of

from miniwdl_cloud.errors import AccessDenied, Throttled, Unreachable
from miniwdl_cloud.jobs.dispatcher import Dispatcher
from miniwdl_cloud.jobs.handle import Cancelled, Changed, Ended, JobHandle, News, Submitted
from miniwdl_cloud.jobs.options import DispatchOptions
from miniwdl_cloud.jobs.push import BULK, CROWD, EXPIRED, JobEvent, Listener
from miniwdl_cloud.jobs.request import Definition, JobRequest, JobSnapshot, JobState

RUNNING, SUCCEEDED, FAILED = JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED


class Source:
    """An event source in memory; an exception among the batches is raised."""

    def __init__(self, *batches: Sequence[JobEvent] | Exception) -> None:
        self.batches = list(batches)
        self.ours: list[JobEvent] = []
        self.others: list[JobEvent] = []
        self.receives = 0
        self.settled = threading.Event()
        self.flushed = threading.Event()
        self.idle = threading.Event()

    def receive(self, wait_s: int) -> Sequence[JobEvent]:
        self.receives += 1
        if not self.batches:
            self.idle.wait(0.01)
            return ()
        batch = self.batches.pop(0)
        if isinstance(batch, Exception):
            raise batch
        return batch

    def settle(self, ours: Sequence[JobEvent], others: Sequence[JobEvent]) -> None:
        self.ours += ours
        self.others += others
        self.settled.set()

    def flush(self) -> None:
        self.flushed.set()


def event(job_id: str, state: JobState, name: str, **more: Any) -> JobEvent:
    return JobEvent(JobSnapshot(job_id, state, **more), name, f"{job_id}-{state.value}")


class PushWorld(World):
    """A world whose events the test sends."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.service = Service()
        self.cancelled = False
        self.dispatcher = Dispatcher(
            self.service, DispatchOptions(**options), self.clock, Inline(), events=Source()
        )

    def send(self, *events: JobEvent) -> list[JobEvent]:
        """Hand events over; returns those that were not wanted."""
        others: list[JobEvent] = []
        take = self.dispatcher._watcher.take
        self.dispatcher._inbox.put(lambda: others.extend(take(events)))
        self.dispatcher.step()
        return others

    def change(self, job_id: str, state: JobState, name: str) -> None:
        """A job changes, and an event tells of it."""
        self.service.set(job_id, state)
        assert self.send(event(job_id, state, name)) == []

    def looks(self, seconds: float) -> int:
        """DescribeJobs calls while time passes."""
        before = self.service.count("describe")
        self.pass_time(seconds)
        return self.service.count("describe") - before


@pytest.fixture
def world() -> PushWorld:
    return PushWorld()


def _states(handle: JobHandle) -> list[JobState]:
    return [n.snapshot.state for n in news_of(handle) if isinstance(n, (Changed, Ended))]


def test_events_tell_of_a_job_without_a_look(world: PushWorld) -> None:
    """A job's start and end reach its task by events alone."""
    handle = world.submit("a")
    world.pass_time(0.01)
    looks = world.service.count("describe")
    world.change("id-0", RUNNING, "a")
    world.change("id-0", SUCCEEDED, "a")
    assert _states(handle) == [RUNNING, SUCCEEDED]
    assert world.service.count("describe") == looks


def test_late_doubled_and_disordered_events(world: PushWorld) -> None:
    """An ended job stays ended, a state is told once, and an earlier one not after a later."""
    handle = world.submit("a")
    world.pass_time(0.01)
    world.change("id-0", RUNNING, "a")
    assert world.send(event("id-0", RUNNING, "a"), event("id-0", JobState.STARTING, "a")) == []
    end = event("id-0", FAILED, "a", exit_code=3)
    assert world.send(end, end, event("id-0", RUNNING, "a"), event("id-0", SUCCEEDED, "a")) == []
    assert _states(handle) == [RUNNING, FAILED]


def test_children_of_an_array_are_told_by_events(world: PushWorld) -> None:
    """Each child's event, under the array's name, reaches its own task."""
    handles = [world.submit(f"s{i}", may_coalesce=True) for i in range(20)]
    world.pass_time(0.5)
    for i in range(20):
        world.change(f"id-0:{i}", FAILED if i == 7 else SUCCEEDED, "s0")
    assert world.send(event("id-0", FAILED, "s0")) == []
    ends = [_states(handle)[-1] for handle in handles]
    assert [i for i, state in enumerate(ends) if state is FAILED] == [7]
    assert ends.count(SUCCEEDED) == 19


def test_an_event_faster_than_the_submission_is_kept(world: PushWorld) -> None:
    """Events that overtake the answer of SubmitJob are told after it, the end in any case."""
    handle = world.submit("a")
    assert world.send(event("id-0", SUCCEEDED, "a"), event("id-0", RUNNING, "a")) == []
    world.pass_time(0.01)
    news: list[News] = news_of(handle)
    assert news[0] == Submitted("id-0")
    assert [type(item) for item in news[1:]] == [Ended]


def test_events_of_other_processes_are_handed_back(world: PushWorld) -> None:
    """Events of jobs that this process did not submit are not taken."""
    world.submit("a")
    world.pass_time(0.01)
    foreign = event("id-9", SUCCEEDED, "b")
    assert world.send(event("id-0", RUNNING, "a"), foreign) == [foreign]


def test_a_cancelled_job_is_not_ended_by_its_event(world: PushWorld) -> None:
    """The failure that termination makes is told as the termination that it is."""
    handle = world.submit("a")
    world.pass_time(0.01)
    world.cancelled = True
    world.dispatcher._check_cancelled(world.clock.now + 1)
    # The event comes before the answer of TerminateJob, which waits in the inbox.
    world.dispatcher._watcher.take([event("id-0", FAILED, "a")])
    world.dispatcher.step()
    assert news_of(handle)[-1] == Cancelled("id-0")


def test_while_events_arrive_looks_are_rare(world: PushWorld) -> None:
    """Polling becomes a reconciliation, every ten periods."""
    world.submit("first")
    handle = world.submit("a")
    world.pass_time(5)
    assert world.looks(30) >= 25
    world.change("id-0", RUNNING, "first")
    assert world.looks(30) <= 4
    world.service.set("id-1", SUCCEEDED)
    world.pass_time(11)
    assert _states(handle)[-1] is SUCCEEDED


@pytest.mark.parametrize(("period", "most"), [(5.0, 5), (60.0, 3)])
def test_looks_never_become_more_often_by_events(period: float, most: int) -> None:
    """Reconciliation is at most 30 s apart, unless the period itself is longer."""
    world = PushWorld(describe_period=period)
    world.submit("a")
    world.pass_time(300)
    world.change("id-0", RUNNING, "a")
    world.pass_time(60)
    assert 2 <= world.looks(120) <= most


def test_a_missed_end_brings_polling_back(
    world: PushWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """When no event tells of an end that polling saw, polling goes on as before; said once."""
    for name in ("a", "b", "c"):
        world.submit(name)
    world.pass_time(1)
    world.change("id-0", RUNNING, "a")
    world.service.set("id-0", SUCCEEDED)
    world.pass_time(25)
    assert world.looks(10) >= 9
    world.change("id-1", RUNNING, "b")
    assert world.looks(10) >= 9, "one event soon after is not enough"
    world.pass_time(60)
    world.change("id-1", SUCCEEDED, "b")
    assert world.looks(30) <= 4, "after a minute, events are relied on again"
    world.service.set("id-2", SUCCEEDED)
    world.pass_time(25)
    for seconds in (30, 60):
        world.pass_time(seconds)
        world.change("id-1", SUCCEEDED, "b")
    handle = world.submit("d")
    world.pass_time(20)
    assert world.looks(10) >= 9, "the second time, a minute is not enough"
    assert isinstance(news_of(handle)[-1], Changed)
    warnings = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "id-0" in warnings[0]


def test_a_late_event_is_not_a_missed_one(
    world: PushWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """An event some seconds after polling saw the end is no reason to distrust."""
    handle = world.submit("a")
    world.submit("b")
    world.pass_time(1)
    world.service.set("id-0", SUCCEEDED)
    world.pass_time(2)
    assert _states(handle)[-1] is SUCCEEDED
    assert world.send(event("id-0", SUCCEEDED, "a")) == []
    world.pass_time(20)
    assert world.looks(30) <= 4
    assert caplog.records == []


def test_while_events_lag_behind_looking_goes_on(
    world: PushWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """When more events come than can be received in time, polling does not wait for them, and
    nobody complains; once they are fresh again they are relied on again."""
    for name in ("a", "b"):
        world.submit(name)
    world.pass_time(30)
    world.change("id-0", RUNNING, "a")
    late = JobEvent(JobSnapshot("id-0", RUNNING), "a", "r", age_s=5.0)
    assert world.send(late) == []
    assert world.looks(20) >= 15
    world.service.set("id-0", SUCCEEDED)
    assert world.looks(20) >= 15
    world.send(event("id-1", RUNNING, "b"))
    world.pass_time(2)
    assert world.looks(30) <= 4
    assert caplog.records == []


def test_events_that_never_come_cost_nothing_but_a_warning(
    world: PushWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a single event a run goes on as by polling alone, with one warning."""
    handles = [world.submit(name) for name in ("a", "b")]
    world.pass_time(1)
    world.service.set("id-0", SUCCEEDED)
    world.pass_time(30)
    world.service.set("id-1", SUCCEEDED)
    world.pass_time(2)
    assert [_states(handle)[-1] for handle in handles] == [SUCCEEDED, SUCCEEDED]
    assert len(caplog.records) == 1


def test_events_of_very_many_jobs_are_left_alone(
    world: PushWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Above a number of jobs looking costs less; events are received again when those that were
    left alone have expired."""
    wanted = world.dispatcher._listener._wanted  # type: ignore[union-attr]
    first = world.submit("first")
    world.pass_time(1)
    assert wanted.is_set()
    world.change("id-0", RUNNING, "first")
    for i in range(BULK):
        world.submit(f"s{i}", may_coalesce=True)
    world.pass_time(5)
    assert not wanted.is_set()
    assert world.looks(25) >= 9, "children of an array are looked at as ever"
    for job_id in ["id-0", *(f"id-1:{i}" for i in range(BULK))]:
        world.service.set(job_id, SUCCEEDED)
    world.pass_time(10)
    assert _states(first)[-1] is SUCCEEDED
    last = world.submit("last")
    world.pass_time(EXPIRED - 20)
    assert not wanted.is_set()
    world.pass_time(30)
    assert wanted.is_set()
    world.change("id-2", SUCCEEDED, "last")
    assert _states(last)[-1] is SUCCEEDED
    assert caplog.records == []


def test_a_crowd_of_others_events_brings_looking_back(world: PushWorld) -> None:
    """When the source is full of others' events, ours are late: looking does not wait for them."""
    world.submit("a")
    world.pass_time(30)
    world.change("id-0", RUNNING, "a")
    assert world.looks(30) <= 4
    foreign = [event(f"x{n}", RUNNING, "x") for n in range(CROWD)]
    assert world.send(*foreign) == foreign
    assert world.looks(20) >= 15


# The listener's thread


def _heard(events: Sequence[JobEvent]) -> list[JobEvent]:
    return [e for e in events if e.name != "mine"]


def test_the_listener_settles_what_it_received() -> None:
    """Ours and others' events are told apart to the source."""
    mine, other = event("1", RUNNING, "mine"), event("2", RUNNING, "theirs")
    source = Source([mine, other])
    listener = Listener(source, _heard, lambda exn: None)
    listener.start()
    listener.want(True)
    assert source.settled.wait(10)
    listener.close()
    assert listener.join(10)
    assert (source.ours, source.others) == ([mine], [other])


def test_the_listener_receives_only_while_events_are_wanted() -> None:
    """Without jobs, events are left to other processes; an idle listener ends at once."""
    source = Source()
    listener = Listener(source, _heard, lambda exn: None)
    listener.start()
    listener.close()
    assert listener.join(10)
    assert source.receives == 0


def test_the_listener_pauses_in_a_crowd() -> None:
    """Events that are all others' are not received again and again; closing ends the pause."""
    crowd = [event(str(n), RUNNING, "theirs") for n in range(CROWD)]
    source = Source(*(crowd for _ in range(100)))
    listener = Listener(source, lambda events: events, lambda exn: None)
    listener.start()
    listener.want(True)
    assert source.settled.wait(10)
    assert source.receives <= 20
    listener.close()
    assert listener.join(10)


def test_the_listener_does_what_was_put_off_when_events_are_not_wanted() -> None:
    """Without jobs, nothing is left to be deleted."""
    source = Source([event("1", RUNNING, "mine")])
    listener = Listener(source, _heard, lambda exn: None)
    listener.start()
    listener.want(True)
    assert source.settled.wait(10)
    listener.want(False)
    assert source.flushed.wait(10)
    listener.close()
    assert listener.join(10)


def test_the_listener_gives_up_for_want_of_permission() -> None:
    """What will not pass ends the thread, after telling of it once."""
    errors: list[Exception] = []
    listener = Listener(Source(AccessDenied("may not")), _heard, errors.append)
    listener.start()
    listener.want(True)
    assert listener.join(10)
    assert [str(error) for error in errors] == ["may not"]


@pytest.mark.parametrize("error", [Unreachable("no route"), Throttled("slow down")])
def test_the_listener_tries_again_after_trouble_that_passes(error: Exception) -> None:
    """An unreachable service is tried again; closing does not wait for that."""
    source = Source(error, [event("1", RUNNING, "mine")])
    errors: list[Exception] = []
    listener = Listener(source, _heard, errors.append)
    listener.start()
    listener.want(True)
    assert source.settled.wait(30)
    listener.close()
    assert listener.join(10)
    assert errors == [error]


def test_a_dispatcher_that_does_not_look_settles_nothing() -> None:
    """Events that the dispatcher had no time for are neither deleted nor given back."""
    source = Source([event("1", RUNNING, "mine")])
    seen = threading.Event()

    def no_time(events: Sequence[JobEvent]) -> None:
        seen.set()

    listener = Listener(source, no_time, lambda exn: None)
    listener.start()
    listener.want(True)
    assert seen.wait(10)
    listener.close()
    assert listener.join(10)
    assert source.ours == source.others == []


def test_a_dispatcher_with_its_threads_hears_of_the_end() -> None:
    """With threads of its own, a dispatcher gives its listener's events to the waiting task."""
    service, source = Service(), Source()
    dispatcher = Dispatcher(service, DispatchOptions(describe_period=600), events=source).start()
    try:
        handle = dispatcher.submit(JobRequest("a", "q", Definition.of({})), lambda: False)
        assert handle.next(10) == Submitted("id-0")
        source.batches.append([event("id-0", SUCCEEDED, "a"), event("x", RUNNING, "x")])
        news = handle.next(10)
        while isinstance(news, Changed):
            news = handle.next(10)
        assert isinstance(news, Ended)
        assert source.settled.wait(10)
        assert [e.name for e in source.others] == ["x"]
    finally:
        dispatcher.close()
