"""The dispatcher, stepped by hand: a fake queue service and clock, and lanes without threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from miniwdl_cloud.errors import AccessDenied, Throttled, Unreachable
from miniwdl_cloud.jobs.dispatcher import Dispatcher
from miniwdl_cloud.jobs.handle import (
    Cancelled,
    Changed,
    Ended,
    JobHandle,
    Lost,
    News,
    Refused,
    Submitted,
)
from miniwdl_cloud.jobs.options import DispatchOptions
from miniwdl_cloud.jobs.request import Definition, JobRequest, JobSnapshot, JobState
from miniwdl_cloud.jobs.service import DefinitionNotVisible


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Inline(Executor):
    """Runs what is submitted at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


class Service:
    """A queue service in memory; `fail` holds errors to raise, by method, first come first."""

    describe_max = 100
    array_max = 10_000

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.jobs: dict[str, JobSnapshot] = {}
        self.names: dict[str, str] = {}
        self.arrays: dict[str, int] = {}
        self.fail: dict[str, list[Exception]] = {}
        self.accept_then_fail = False
        self.hidden: set[str] = set()

    def _maybe_fail(self, method: str) -> None:
        if self.fail.get(method):
            raise self.fail[method].pop(0)

    def count(self, method: str) -> int:
        return sum(1 for name, _ in self.calls if name == method)

    def ensure_definition(self, definition: Definition) -> str:
        self.calls.append(("ensure_definition", definition.name))
        self._maybe_fail("ensure_definition")
        return f"arn:{definition.name}:1"

    def submit(self, requests: Sequence[JobRequest], definition_handle: str) -> str:
        name = requests[0].name
        self.calls.append(("submit", name if len(requests) == 1 else (name, len(requests))))
        if not self.accept_then_fail:
            self._maybe_fail("submit")
        job_id = f"id-{len(self.names)}"
        self.names[name] = job_id
        self.jobs[job_id] = JobSnapshot(job_id, JobState.SUBMITTED)
        if len(requests) > 1:
            self.arrays[job_id] = len(requests)
            for i in range(len(requests)):
                self.jobs[f"{job_id}:{i}"] = JobSnapshot(f"{job_id}:{i}", JobState.SUBMITTED)
        if self.accept_then_fail:
            self._maybe_fail("submit")
        return job_id

    def find(self, request: JobRequest) -> str | None:
        self.calls.append(("find", request.name))
        return self.names.get(request.name)

    def describe(self, ids: Sequence[str]) -> Mapping[str, JobSnapshot]:
        self.calls.append(("describe", list(ids)))
        self._maybe_fail("describe")
        assert len(ids) <= self.describe_max
        return {id_: self._look(id_) for id_ in ids if id_ not in self.hidden}

    def _look(self, job_id: str) -> JobSnapshot:
        if job_id not in self.arrays:
            return self.jobs[job_id]
        states = [self.jobs[f"{job_id}:{i}"].state for i in range(self.arrays[job_id])]
        ended = all(state.ended for state in states)
        state = JobState.SUCCEEDED if ended else JobState.PENDING
        if ended and JobState.FAILED in states:
            state = JobState.FAILED
        return JobSnapshot(job_id, state, children=Counter(states))

    def child_id(self, array_id: str, index: int) -> str:
        return f"{array_id}:{index}"

    def retire(self, definition: Definition) -> None:
        self.calls.append(("retire", definition.name))
        self._maybe_fail("retire")

    def list_children(self, array_id: str, state: JobState) -> Sequence[str]:
        self.calls.append(("list_children", (array_id, state)))
        self._maybe_fail("list_children")
        ids = [f"{array_id}:{i}" for i in range(self.arrays[array_id])]
        return [id_ for id_ in ids if self.jobs[id_].state is state]

    def terminate(self, job_id: str, reason: str) -> None:
        self.calls.append(("terminate", job_id))
        self._maybe_fail("terminate")

    def set(self, job_id: str, state: JobState, **more: Any) -> None:
        self.jobs[job_id] = JobSnapshot(job_id, state, **more)


class World:
    """A dispatcher with all that it needs, stepped through time."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.service = Service()
        self.cancelled = False
        self.dispatcher = Dispatcher(self.service, DispatchOptions(**options), self.clock, Inline())

    def submit(
        self,
        name: str,
        image: str = "ubuntu:20.04",
        may_coalesce: bool = False,
        cancelled: Callable[[], bool] | None = None,
    ) -> JobHandle:
        request = JobRequest(
            name, "queue", Definition.of({"image": image}), may_coalesce=may_coalesce
        )
        return self.dispatcher.submit(request, cancelled or (lambda: self.cancelled))

    def pass_time(self, seconds: float) -> None:
        end = self.clock.now + seconds
        for _ in range(100_000):
            wake = self.dispatcher.step()
            if not self.dispatcher._inbox.empty():
                continue
            if wake >= end:
                break
            self.clock.now = max(wake, self.clock.now)
        else:
            raise AssertionError("the dispatcher never rests")
        self.clock.now = end
        self.dispatcher.step()


def news_of(handle: JobHandle) -> list[News]:
    ans: list[News] = []
    while (news := handle.next(0.001)) is not None:
        ans.append(news)
    return ans


@pytest.fixture
def world() -> World:
    return World()


def test_a_job_is_submitted_watched_and_ended(world: World) -> None:
    """A task's thread hears of submission, each change of state, and the end."""
    handle = world.submit("a")
    world.pass_time(1)
    world.service.set("id-0", JobState.RUNNING, log_stream="stream")
    world.pass_time(2)
    world.service.set("id-0", JobState.SUCCEEDED, exit_code=0)
    world.pass_time(2)
    news = news_of(handle)
    assert news[0] == Submitted("id-0")
    assert [n.snapshot.state for n in news if isinstance(n, Changed)] == [
        JobState.SUBMITTED,
        JobState.RUNNING,
    ]
    assert isinstance(news[-1], Ended)
    assert news[-1].snapshot.state is JobState.SUCCEEDED


def test_definitions_are_registered_once(world: World) -> None:
    """Jobs that differ only in what overrides can say share one definition."""
    for i in range(20):
        world.submit(f"a{i}", image="one")
        world.submit(f"b{i}", image="two")
    world.pass_time(5)
    assert world.service.count("ensure_definition") == 2
    assert world.service.count("submit") == 40


def test_jobs_are_described_in_batches(world: World) -> None:
    """250 running jobs cost three calls a round, not 250."""
    for i in range(250):
        world.submit(f"a{i}")
    world.pass_time(60)
    before = world.service.count("describe")
    world.pass_time(10)
    calls = world.service.count("describe") - before
    assert 20 <= calls <= 40


def test_a_lone_young_job_is_noticed_soon(world: World) -> None:
    """A job that ends at once is noticed within a fraction of the describe period."""
    handle = world.submit("a")
    world.pass_time(0.01)
    world.service.set("id-0", JobState.SUCCEEDED)
    world.pass_time(0.25)
    assert isinstance(news_of(handle)[-1], Ended)


def test_submissions_are_paced() -> None:
    """`submit_period` holds between any two submissions."""
    world = World(submit_period=1.0)
    for i in range(10):
        world.submit(f"a{i}")
    world.pass_time(4.5)
    assert 4 <= world.service.count("submit") <= 6


def test_throttling_slows_down_and_fails_nothing(world: World) -> None:
    """Throttled submissions are sent again later, at a lower rate, and all get through."""
    world.service.fail["submit"] = [Throttled("slow down") for _ in range(5)]
    handles = [world.submit(f"a{i}") for i in range(10)]
    world.pass_time(60)
    assert world.service.count("submit") == 15
    assert len(world.service.jobs) == 10
    assert not any(isinstance(n, Refused) for h in handles for n in news_of(h))


def test_a_lost_answer_does_not_make_two_jobs(world: World) -> None:
    """A submission that took effect although its answer was lost is found by name, not repeated."""
    world.service.accept_then_fail = True
    world.service.fail["submit"] = [Unreachable("connection reset")]
    handle = world.submit("a")
    world.pass_time(30)
    assert world.service.count("submit") == 1
    assert world.service.count("find") == 1
    assert news_of(handle)[0] == Submitted("id-0")


def test_a_list_that_lags_does_not_make_two_jobs(world: World) -> None:
    """A job that its name finds only after some seconds is not submitted again."""
    world.service.accept_then_fail = True
    world.service.fail["submit"] = [Unreachable("connection reset")]
    handle = world.submit("a")
    world.pass_time(0.5)
    hidden, world.service.names = world.service.names, {}
    world.pass_time(8)
    world.service.names = hidden
    world.pass_time(20)
    assert world.service.count("submit") == 1
    assert news_of(handle)[0] == Submitted("id-0")


def test_a_request_that_never_arrived_is_sent_again(world: World) -> None:
    """A doubtful submission that no job of its name came from is repeated."""
    world.service.fail["submit"] = [Unreachable("connection refused")]
    handle = world.submit("a")
    world.pass_time(10)
    assert world.service.count("submit") == 1
    world.pass_time(20)
    assert world.service.count("submit") == 2
    assert news_of(handle)[0] == Submitted("id-0")


def test_a_refused_submission_reaches_the_task(world: World) -> None:
    """An error that will not pass is the task's, at once."""
    error = AccessDenied("may not")
    world.service.fail["submit"] = [error]
    handle = world.submit("a")
    world.pass_time(1)
    assert news_of(handle) == [Refused(error)]


def test_a_refused_definition_reaches_every_task_that_waits_for_it(world: World) -> None:
    """Tasks that wait for the same definition all hear that it was refused."""
    error = AccessDenied("may not")
    world.service.fail["ensure_definition"] = [error]
    handle = world.submit("a")
    world.pass_time(1)
    assert news_of(handle) == [Refused(error)]


def test_a_definition_not_visible_yet_is_waited_for(world: World) -> None:
    """SubmitJob that does not know a new definition yet is tried again shortly."""
    world.service.fail["submit"] = [DefinitionNotVisible(), DefinitionNotVisible()]
    handle = world.submit("a")
    world.pass_time(10)
    assert news_of(handle)[0] == Submitted("id-0")


def test_looking_may_fail_for_minutes(world: World) -> None:
    """While DescribeJobs fails nothing is lost; the end is noticed once it answers again."""
    handle = world.submit("a")
    world.pass_time(1)
    world.service.fail["describe"] = [Unreachable("no route") for _ in range(100)]
    world.service.set("id-0", JobState.SUCCEEDED)
    world.pass_time(90)
    assert not any(isinstance(n, Ended) for n in news_of(handle))
    world.service.fail["describe"] = []
    world.pass_time(5)
    assert isinstance(news_of(handle)[-1], Ended)


def test_a_job_left_out_of_an_answer_is_asked_for_again(world: World) -> None:
    """A job that DescribeJobs omits is lost only after minutes."""
    handle = world.submit("a")
    world.service.hidden.add("id-0")
    world.pass_time(200)
    assert not any(isinstance(n, Lost) for n in news_of(handle))
    world.service.hidden.clear()
    world.pass_time(5)
    assert isinstance(news_of(handle)[-1], Changed)
    world.service.hidden.add("id-0")
    world.pass_time(400)
    assert news_of(handle)[-1] == Lost("id-0")


def test_a_stale_answer_does_not_turn_time_back(world: World) -> None:
    """After RUNNING was seen, an answer that says RUNNABLE is not reported."""
    handle = world.submit("a")
    world.pass_time(1)
    world.service.set("id-0", JobState.RUNNING)
    world.pass_time(3)
    world.service.set("id-0", JobState.RUNNABLE)
    world.pass_time(3)
    assert [n.snapshot.state for n in news_of(handle) if isinstance(n, Changed)] == [
        JobState.SUBMITTED,
        JobState.RUNNING,
    ]


def test_cancelling_terminates_what_runs_and_drops_what_waits() -> None:
    """On termination running jobs are terminated and waiting ones never submitted."""
    world = World(submit_period=10.0)
    first, second = world.submit("a"), world.submit("b")
    world.pass_time(1)
    world.cancelled = True
    world.pass_time(1)
    assert news_of(first)[-1] == Cancelled("id-0")
    assert news_of(second) == [Cancelled()]
    assert world.service.count("submit") == 1
    assert world.service.count("terminate") == 1


def test_a_job_accepted_during_shutdown_is_terminated(world: World) -> None:
    """A doubtful submission that turns out to have made a job ends in that job's termination."""
    world.service.accept_then_fail = True
    world.service.fail["submit"] = [Unreachable("connection reset")]
    handle = world.submit("a")
    world.pass_time(0.1)
    world.cancelled = True
    world.pass_time(10)
    assert news_of(handle)[-1] == Cancelled("id-0")
    assert ("terminate", "id-0") in world.service.calls


def test_a_doubtful_submission_is_not_repeated_during_shutdown(world: World) -> None:
    """A cancelled task whose submission never arrived is not submitted any more."""
    world.service.fail["submit"] = [Unreachable("connection refused")]
    handle = world.submit("a")
    world.pass_time(0.1)
    world.cancelled = True
    world.pass_time(30)
    assert news_of(handle) == [Cancelled()]
    assert world.service.count("submit") == 1


# Array jobs


def _shards(world: World, count: int) -> list[JobHandle]:
    return [world.submit(f"s{i}", may_coalesce=True) for i in range(count)]


def _ids(handles: list[JobHandle]) -> list[str]:
    first = [handle.next(0.001) for handle in handles]
    return [news.job_id for news in first if isinstance(news, Submitted)]


def _verdict(handle: JobHandle) -> JobState | None:
    news = news_of(handle)
    return news[-1].snapshot.state if news and isinstance(news[-1], Ended) else None


def test_shards_go_out_as_one_array_job(world: World) -> None:
    """Jobs of one kind that wait together are one submission, and each knows its child."""
    handles = _shards(world, 500)
    world.pass_time(1)
    assert world.service.calls[1] == ("submit", ("s0", 500))
    assert world.service.count("submit") == 1
    assert _ids(handles) == [f"id-0:{i}" for i in range(500)]


@pytest.mark.parametrize(("count", "calls"), [(7, 7), (8, 1)])
def test_a_few_go_out_one_by_one(world: World, count: int, calls: int) -> None:
    """Below the threshold jobs are submitted one by one."""
    _shards(world, count)
    world.pass_time(2)
    assert world.service.count("submit") == calls


def test_array_jobs_can_be_turned_off() -> None:
    """With array_min 0 every job is submitted by itself."""
    world = World(array_min=0)
    _shards(world, 20)
    world.pass_time(2)
    assert world.service.count("submit") == 20


def test_only_jobs_of_one_kind_share_an_array(world: World) -> None:
    """Jobs of two images make two arrays; one that may not coalesce goes by itself."""
    for i in range(10):
        world.submit(f"a{i}", image="one", may_coalesce=True)
        world.submit(f"b{i}", image="two", may_coalesce=True)
    world.submit("alone")
    world.pass_time(2)
    submitted = {call for name, call in world.service.calls if name == "submit"}
    assert submitted == {("a0", 10), ("b0", 10), "alone"}


def test_a_lone_job_waits_a_tenth_of_a_second_at_most(world: World) -> None:
    """Company is not waited for any longer."""
    world.submit("a", may_coalesce=True)
    world.pass_time(0.1)
    assert world.service.count("submit") == 1


def test_an_array_holds_at_most_ten_thousand(world: World) -> None:
    """More are split: Batch takes arrays of 2 to 10,000."""
    world.service.array_max = 100
    _shards(world, 250)
    world.pass_time(2)
    sizes = sorted(call[1] for name, call in world.service.calls if name == "submit")
    assert sizes == [50, 100, 100]


def test_each_shard_hears_its_own_end(world: World) -> None:
    """A failed child is its own task's failure, no sibling's."""
    handles = _shards(world, 10)
    world.pass_time(2)
    for i in range(10):
        state = JobState.FAILED if i == 3 else JobState.SUCCEEDED
        world.service.set(f"id-0:{i}", state, exit_code=int(i == 3))
    world.pass_time(3)
    verdicts = [_verdict(handle) for handle in handles]
    assert verdicts.count(JobState.SUCCEEDED) == 9
    assert verdicts[3] is JobState.FAILED


def test_one_ended_child_of_many_is_noticed(world: World) -> None:
    """While its siblings run for hours, a child that ended is told within seconds."""
    handles = _shards(world, 1000)
    world.pass_time(2)
    for i in range(1000):
        world.service.set(f"id-0:{i}", JobState.RUNNING)
    world.pass_time(600)
    world.service.set("id-0:777", JobState.FAILED, exit_code=1)
    world.pass_time(4)
    assert _verdict(handles[777]) is JobState.FAILED
    assert _verdict(handles[776]) is None


def test_a_thousand_long_shards_cost_few_calls(world: World) -> None:
    """While 1,000 children run and none ends, only the array itself is looked at."""
    _shards(world, 1000)
    world.pass_time(2)
    for i in range(1000):
        world.service.set(f"id-0:{i}", JobState.RUNNING)
    world.pass_time(60)
    before = len(world.service.calls)
    world.pass_time(100)
    assert len(world.service.calls) - before <= 110


@pytest.mark.parametrize("count", [20, 500])
def test_a_blocked_array_is_noticed(world: World, count: int) -> None:
    """Why the first waiting child of an array cannot start is known within two minutes, and that
    it can after all as well; it costs a call a minute."""
    handles = _shards(world, count)
    world.pass_time(1)
    for i in range(count):
        world.service.set(f"id-0:{i}", JobState.RUNNABLE)
    world.service.set("id-0:0", JobState.RUNNABLE, status_reason="MISCONFIGURATION:X")
    before = world.service.count("describe")
    world.pass_time(120)
    assert world.service.count("describe") - before <= 130
    (seen,) = [n.snapshot for n in news_of(handles[0]) if isinstance(n, Changed)]
    assert (seen.state, seen.status_reason) == (JobState.RUNNABLE, "MISCONFIGURATION:X")
    world.service.set("id-0:0", JobState.RUNNABLE)
    world.pass_time(120)
    (seen,) = [n.snapshot for n in news_of(handles[0]) if isinstance(n, Changed)]
    assert seen.status_reason is None


def test_a_blocked_child_among_running_ones_is_noticed(world: World) -> None:
    """The child that Batch diagnoses need not be the first of its array."""
    handles = _shards(world, 300)
    world.pass_time(1)
    for i in range(300):
        world.service.set(f"id-0:{i}", JobState.RUNNING if i < 250 else JobState.RUNNABLE)
    world.service.set("id-0:250", JobState.RUNNABLE, status_reason="CAPACITY:X")
    world.pass_time(120)
    changes = [n.snapshot for n in news_of(handles[250]) if isinstance(n, Changed)]
    assert changes[-1].status_reason == "CAPACITY:X"


def test_shards_that_end_one_by_one_cost_few_calls(world: World) -> None:
    """1,000 children that end over 30 seconds cost less than a tenth of a call each."""
    handles = _shards(world, 1000)
    world.pass_time(1)
    for i in range(1000):
        world.service.set(f"id-0:{i}", JobState.SUCCEEDED)
        world.pass_time(0.03)
    world.pass_time(10)
    assert all(_verdict(handle) is JobState.SUCCEEDED for handle in handles)
    assert len(world.service.calls) <= 100


def test_termination_ends_the_array_with_one_call(world: World) -> None:
    """When a run is terminated its array is terminated as a whole."""
    handles = _shards(world, 300)
    world.pass_time(2)
    world.cancelled = True
    world.pass_time(1)
    assert [c for name, c in world.service.calls if name == "terminate"] == ["id-0"]
    assert [news_of(h)[-1] for h in handles] == [Cancelled(f"id-0:{i}") for i in range(300)]


def test_one_cancelled_shard_leaves_the_others(world: World) -> None:
    """Cancelling one task terminates its child alone."""
    stop = False
    first = world.submit("s0", may_coalesce=True, cancelled=lambda: stop)
    others = _shards(world, 20)
    world.pass_time(2)
    stop = True
    world.pass_time(1)
    assert [c for name, c in world.service.calls if name == "terminate"] == ["id-0:0"]
    assert news_of(first)[-1] == Cancelled("id-0:0")
    for i in range(1, 21):
        world.service.set(f"id-0:{i}", JobState.SUCCEEDED)
    world.pass_time(5)
    assert all(_verdict(handle) is JobState.SUCCEEDED for handle in others)


def test_an_array_whose_answer_was_lost_is_found(world: World) -> None:
    """A doubtful array submission is looked up by name; its children keep their places."""
    world.service.accept_then_fail = True
    world.service.fail["submit"] = [Unreachable("connection reset")]
    handles = _shards(world, 10)
    world.pass_time(10)
    assert world.service.count("submit") == 1
    assert _ids(handles) == [f"id-0:{i}" for i in range(10)]


def test_under_throttling_later_shards_join(world: World) -> None:
    """While submissions must wait their turn, jobs gather into larger arrays."""
    world = World(submit_period=5.0)
    world.submit("first")
    world.pass_time(0.5)
    for i in range(30):
        world.submit(f"s{i}", may_coalesce=True)
        world.pass_time(0.1)
    world.pass_time(10)
    assert [c for name, c in world.service.calls if name == "submit"] == ["first", ("s0", 30)]


def test_the_thread_carries_a_job_to_its_end() -> None:
    """With its own thread and lanes, the dispatcher needs nobody to step it."""
    service = Service()
    dispatcher = Dispatcher(service).start()
    try:
        handle = dispatcher.submit(JobRequest("a", "q", Definition.of({})), lambda: False)
        assert handle.next(10) == Submitted("id-0")
        service.set("id-0", JobState.SUCCEEDED)
        news = handle.next(10)
        while isinstance(news, Changed):
            news = handle.next(10)
        assert isinstance(news, Ended)
    finally:
        dispatcher.close()
    assert dispatcher.closed
