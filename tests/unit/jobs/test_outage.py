"""Three minutes in which every call fails, at each state of a job, on a clock that is only told."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from test_dispatcher import Service, World, news_of

from miniwdl_cloud.errors import CredentialsExpired, Unreachable
from miniwdl_cloud.jobs.handle import Changed, Ended, JobHandle, Refused, Submitted
from miniwdl_cloud.jobs.request import JobState
from miniwdl_cloud.patience import OUTAGE_MOST

OUTAGE = 180.0


class FailingService(Service):
    """Fails while it is told to; a submission may take effect all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.accepts = False

    def _maybe_fail(self, method: str) -> None:
        if self.error is not None and not (method == "submit" and self.accepts):
            raise self.error

    def submit(self, requests, definition_handle):  # type: ignore[no-untyped-def]
        """Accept the first submission of an outage, and lose the answer."""
        job_id = super().submit(requests, definition_handle)
        if self.error is not None:
            self.accepts = False
            raise self.error
        return job_id

    def find(self, request):  # type: ignore[no-untyped-def]
        """Fails like everything else."""
        self._maybe_fail("find")
        return super().find(request)


@pytest.fixture
def world() -> World:
    """A dispatcher over such a service."""
    made = World()
    made.service = FailingService()
    dispatcher = made.dispatcher
    dispatcher._service = dispatcher._submitter._service = dispatcher._watcher._service = (
        made.service
    )
    return made


def _before_submission(world: World) -> list[JobHandle]:
    return []


def _submitting(world: World) -> list[JobHandle]:
    handles = [world.submit(f"early{i}") for i in range(3)]
    handles += [world.submit(f"shard{i}", may_coalesce=True) for i in range(20)]
    return handles


def _waiting(world: World) -> list[JobHandle]:
    handles = _submitting(world)
    world.pass_time(5)
    return handles


def _running(world: World) -> list[JobHandle]:
    handles = _waiting(world)
    for job_id in [j for j in world.service.jobs if j not in world.service.arrays]:
        world.service.set(job_id, JobState.RUNNING)
    world.pass_time(5)
    return handles


@pytest.mark.parametrize("ends", ["during", "after"])
@pytest.mark.parametrize("accepts", [False, True])
@pytest.mark.parametrize("begin", [_before_submission, _submitting, _waiting, _running])
def test_nothing_fails_in_an_outage(
    world: World,
    begin: Callable[[World], list[JobHandle]],
    accepts: bool,
    ends: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever a job was at, it ends as it would have; one name is submitted once; the log says
    twice what happens."""
    assert isinstance(world.service, FailingService)
    caplog.set_level(logging.WARNING, "miniwdl-cloud.dispatcher")
    handles = begin(world)
    world.service.error, world.service.accepts = Unreachable("connection refused"), accepts
    handles += [world.submit(f"late{i}") for i in range(3)]
    world.pass_time(OUTAGE / 2)
    if ends == "during":
        _end(world)
    world.pass_time(OUTAGE / 2)
    world.service.error = None
    world.pass_time(60)
    _end(world)
    world.pass_time(60)
    for handle in handles:
        news = news_of(handle)
        assert sum(isinstance(n, Submitted) for n in news) == 1
        assert isinstance(news[-1], Ended)
        assert all(isinstance(n, (Submitted, Changed)) for n in news[:-1])
    names = list(world.service.names)
    assert len(names) == len(set(names))
    assert len([j for j in world.service.jobs if j not in world.service.arrays]) == len(handles)
    begun = [r for r in caplog.records if "does not answer as it should" in r.getMessage()]
    assert 1 <= len(begun) <= 2


def _end(world: World) -> None:
    for job_id in [j for j in world.service.jobs if j not in world.service.arrays]:
        world.service.set(job_id, JobState.SUCCEEDED)


def test_an_outage_of_hours_costs_a_call_now_and_then(world: World) -> None:
    """While nothing answers, calls become rare; the tasks wait for as long as it takes."""
    assert isinstance(world.service, FailingService)
    handles = _running(world)
    world.service.error = Unreachable("connection refused")
    before = len(world.service.calls)
    world.pass_time(4 * 3600)
    assert len(world.service.calls) - before <= 4 * 3600 + 10
    world.service.error = None
    _end(world)
    world.pass_time(60)
    assert all(isinstance(news_of(handle)[-1], Ended) for handle in handles)


@pytest.mark.parametrize("begin", [_submitting, _running])
def test_credentials_that_are_renewed_cost_nothing(
    world: World, begin: Callable[[World], list[JobHandle]], caplog: pytest.LogCaptureFixture
) -> None:
    """Expired credentials are waited for with one notice that says what to do."""
    assert isinstance(world.service, FailingService)
    caplog.set_level(logging.WARNING, "miniwdl-cloud.dispatcher")
    handles = begin(world)
    world.service.error = CredentialsExpired("the credentials have expired; renew them")
    world.pass_time(OUTAGE_MOST - 60)
    assert len([r for r in caplog.records if "renew them" in r.getMessage()]) == 1
    world.service.error = None
    world.pass_time(60)
    _end(world)
    world.pass_time(60)
    assert all(isinstance(news_of(handle)[-1], Ended) for handle in handles)


@pytest.mark.parametrize("begin", [_submitting, _running])
def test_credentials_that_nobody_renews_are_an_error(
    world: World, begin: Callable[[World], list[JobHandle]]
) -> None:
    """After half an hour the tasks fail, with the reason."""
    assert isinstance(world.service, FailingService)
    handles = begin(world)
    error = world.service.error = CredentialsExpired("the credentials have expired; renew them")
    world.pass_time(OUTAGE_MOST + 60)
    assert all(news_of(handle)[-1] == Refused(error) for handle in handles)
