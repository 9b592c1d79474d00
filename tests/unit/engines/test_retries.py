"""What the next attempt is to be like."""

from __future__ import annotations

import random

import pytest

from miniwdl_cloud.engines.retries import BACKOFF_MOST, Attempts
from miniwdl_cloud.jobs.outcome import JobOutcome, Verdict


def _outcome(verdict: Verdict) -> JobOutcome:
    return JobOutcome(verdict, None, "message")


def test_memory_is_raised_up_to_the_largest_instance() -> None:
    """Twice as much each time, never more than the queue can give; then raising ends."""
    attempts = Attempts()
    assert attempts.raise_memory(1000, 2.0, 5000)
    assert attempts.memory_mib == 2000
    assert attempts.raise_memory(2000, 2.0, 5000)
    assert attempts.raise_memory(4000, 2.0, 5000)
    assert attempts.memory_mib == 5000
    assert not attempts.raise_memory(5000, 2.0, 5000)


def test_memory_is_not_raised_where_that_is_turned_off() -> None:
    """A factor of 1 leaves the request as it is."""
    assert not Attempts().raise_memory(2000, 1.0, 5000)


def test_the_fallback_queue_takes_over_after_preemptible_interruptions() -> None:
    """Two interruptions of a task with preemptible 2, by whatever cause, are enough."""
    attempts = Attempts(preemptible=2)
    attempts.note(_outcome(Verdict.INTERRUPTED))
    assert not attempts.wants_fallback
    attempts.note(_outcome(Verdict.INFRASTRUCTURE))
    assert attempts.wants_fallback
    assert not Attempts(preemptible=0).wants_fallback


def test_what_miniwdl_has_left() -> None:
    """Interruptions beyond `preemptible` count against `maxRetries`, as miniwdl counts them."""
    attempts = Attempts(max_retries=1, preemptible=1)
    attempts.note(_outcome(Verdict.INTERRUPTED))
    assert not attempts.interruptions_left
    assert attempts.retries_left
    attempts.note(_outcome(Verdict.INTERRUPTED))
    assert not attempts.retries_left


def test_spot_losses_and_failures_wait_the_fixed_time() -> None:
    """The pause of the setting holds where nothing is wrong with the infrastructure."""
    attempts = Attempts()
    for verdict in (Verdict.INTERRUPTED, Verdict.COMMAND_FAILED, Verdict.OUT_OF_MEMORY):
        attempts.note(_outcome(verdict))
        assert attempts.pause(20.0) == 20.0


def test_trouble_with_the_infrastructure_backs_off_with_jitter() -> None:
    """Twice as long each time within bounds, and a success of another kind starts anew."""
    attempts = Attempts(rng=random.Random(1))
    for expected in (20, 40, 80, 160, 320, BACKOFF_MOST, BACKOFF_MOST):
        attempts.note(_outcome(Verdict.INFRASTRUCTURE))
        assert expected * 0.5 <= attempts.pause(20.0) <= expected * 1.5
    assert len({attempts.pause(20.0) for _ in range(5)}) > 1
    attempts.note(_outcome(Verdict.INTERRUPTED))
    assert attempts.pause(20.0) == 20.0


@pytest.mark.parametrize("verdict", list(Verdict))
def test_no_wait_where_none_is_asked(verdict: Verdict) -> None:
    """retry_wait 0 never waits."""
    attempts = Attempts()
    attempts.note(_outcome(verdict))
    assert attempts.pause(0.0) == 0.0
