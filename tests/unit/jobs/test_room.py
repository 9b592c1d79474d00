"""Queues without room for jobs of some size, and definitions that are paced, in a stepped
dispatcher."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from miniwdl_cloud.errors import NoCapacity, Throttled
from miniwdl_cloud.jobs.dispatcher import Dispatcher
from miniwdl_cloud.jobs.handle import Cancelled, JobHandle, News, Submitted, Waiting
from miniwdl_cloud.jobs.options import DispatchOptions
from miniwdl_cloud.jobs.request import Definition, JobRequest, JobSnapshot, JobState, Resources


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Inline(Executor):
    """Runs what is submitted at once."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Service:
    """A queue service with queues that are full, and quotas of definitions."""

    describe_max, array_max = 100, 1

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.full: set[tuple[str, float]] = set()
        self.submitted: list[str] = []
        self.tries: list[float] = []
        self.changes: list[tuple[float, str, str]] = []
        self.throttle_definitions = 0

    def ensure_definition(self, definition: Definition) -> str:
        self.changes.append((self.clock.now, "register", definition.name))
        if self.throttle_definitions:
            self.throttle_definitions -= 1
            raise Throttled("slow down")
        return definition.name

    def retire(self, definition: Definition) -> None:
        self.changes.append((self.clock.now, "retire", definition.name))

    def submit(self, requests: Sequence[JobRequest], definition_handle: str) -> str:
        (request,) = requests
        if (request.queue, request.resources.vcpus) in self.full:
            self.tries.append(self.clock.now)
            raise NoCapacity("no room")
        self.submitted.append(request.name)
        return request.name

    def find(self, request: JobRequest) -> str | None:
        return None

    def describe(self, ids: Sequence[str]) -> Mapping[str, JobSnapshot]:
        return {id_: JobSnapshot(id_, JobState.RUNNING) for id_ in ids}

    def child_id(self, array_id: str, index: int) -> str:
        raise AssertionError

    def list_children(self, array_id: str, state: JobState) -> Sequence[str]:
        raise AssertionError

    def terminate(self, job_id: str, reason: str) -> None:
        pass


class World:
    """A dispatcher with all that it needs, stepped through time."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.service = Service(self.clock)
        self.unwanted: set[str] = set()
        given = DispatchOptions(array_min=0, submit_period=0.05, **options)
        self.dispatcher = Dispatcher(self.service, given, self.clock, Inline())

    def submit(self, name: str, queue: str = "spot", vcpus: float = 1, own: bool = False) -> Any:
        definition = Definition.of({"image": name if own else "any"})
        request = JobRequest(name, queue, definition, Resources(vcpus))
        handle: JobHandle = self.dispatcher.submit(request, lambda: name in self.unwanted)
        return handle

    def pass_time(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.dispatcher.step()
            self.clock.now += 0.05
        self.dispatcher.step()


def news_of(handle: JobHandle) -> list[News]:
    found = []
    while (news := handle.next(0.001)) is not None:
        found.append(news)
    return found


@pytest.fixture
def world() -> World:
    return World()


def test_a_full_queue_holds_up_nobody_else(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Jobs of other queues and other sizes go at full pace; of those without room one is tried now
    and then; the log tells once."""
    world.service.full = {("spot", 1)}
    for i in range(50):
        world.submit(f"spot{i}")
    others = [f"other{i}" for i in range(40)]
    for i, name in enumerate(others):
        world.submit(name, queue="on demand" if i % 2 else "spot", vcpus=1 if i % 2 else 2)
    with caplog.at_level(logging.WARNING):
        world.pass_time(10)
    assert sorted(world.service.submitted) == sorted(others)
    # At the start those that were under way; then twice as long between any two.
    assert 4 <= len(world.service.tries) <= 14
    assert caplog.text.count("no room in spot") == 1


def test_room_is_found_and_all_go(world: World) -> None:
    """Once one gets through, all that waited follow at the usual pace."""
    world.service.full = {("spot", 1)}
    handles = [world.submit(f"spot{i}") for i in range(30)]
    world.pass_time(20)
    world.service.full = set()
    world.pass_time(5 + 30 / 20 + 1)
    assert len(world.service.submitted) == 30
    for handle in handles:
        kinds = [type(news) for news in news_of(handle)]
        assert kinds[:2] == [Waiting, Submitted]
        assert kinds.count(Waiting) == 1


def test_who_waits_for_room_can_be_cancelled(world: World) -> None:
    """A task that does not want to wait is let go, and never submitted."""
    world.service.full = {("spot", 1)}
    handle = world.submit("a")
    world.pass_time(3)
    world.unwanted.add("a")
    world.pass_time(1)
    world.service.full = set()
    world.pass_time(10)
    assert [type(news) for news in news_of(handle)] == [Waiting, Cancelled]
    assert world.service.submitted == []


def test_definitions_are_paced_and_registering_comes_first() -> None:
    """So many at once and then one a second, whoever waits to run before whoever cleans up."""
    world = World(definition_period=1.0, definition_burst=5)
    for i in range(12):
        world.submit(f"a{i}", own=True)
    world.pass_time(3)
    for i in range(4):
        world.dispatcher.retire(Definition.of({"image": f"a{i}"}))
    world.pass_time(20)
    assert len(world.service.submitted) == 12
    kinds = [kind for _, kind, _ in world.service.changes]
    assert kinds == ["register"] * 12 + ["retire"] * 4
    began = world.service.changes[0][0]
    for count, (at, _, _) in enumerate(world.service.changes, 1):
        assert count <= 5 + (at - began) + 1


def test_throttled_definitions_slow_definitions_down_alone() -> None:
    """They are registered again, slower; submissions keep their pace."""
    world = World(definition_period=0.1, definition_burst=1)
    world.service.throttle_definitions = 2
    world.submit("own", own=True)
    world.pass_time(30)
    for i in range(40):
        world.submit(f"a{i}")
    world.pass_time(4)
    assert len(world.service.submitted) == 41


def test_what_was_never_registered_is_not_retired() -> None:
    """A job that is let go while its definition waits its turn leaves nothing to be cleaned up."""
    world = World(definition_period=10.0, definition_burst=1)
    world.submit("first", own=True)
    world.submit("second", own=True)
    world.pass_time(1)
    world.unwanted.add("second")
    world.pass_time(1)
    world.dispatcher.retire(Definition.of({"image": "second"}))
    world.pass_time(60)
    second = Definition.of({"image": "second"}).name
    assert second not in {name for _, _, name in world.service.changes}


def test_the_end_tells_what_stays(caplog: pytest.LogCaptureFixture) -> None:
    """At its end the dispatcher retires what the quota allows, and says how many it leaves."""
    world = World(definition_period=1.0, definition_burst=2)
    world.pass_time(1)
    for i in range(5):
        definition = Definition.of({"image": str(i)}, "miniwdl-cloud-alone-abcdefgh")
        world.dispatcher.retire(definition)
    with caplog.at_level(logging.WARNING):
        world.dispatcher.close()
    assert [kind for _, kind, _ in world.service.changes] == ["retire"] * 2
    assert "3 definitions of isolated tasks stay" in caplog.text
    assert "miniwdl-cloud-alone" in caplog.text
