"""Steps that wait while AWS does not answer."""

from __future__ import annotations

import pytest

from miniwdl_cloud.errors import AccessDenied, Unreachable
from miniwdl_cloud.patience import OUTAGE_MOST, patiently


class World:
    """A clock that sleeping moves, and a look-up that fails so many times."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.now = 0.0
        self.failures = failures
        self.error = error or Unreachable("AWS did not answer")
        self.told: list[Unreachable] = []
        self.cancelled = False
        self.cancelled_at = float("inf")

    def look_up(self) -> str:
        if self.failures > 0:
            self.failures -= 1
            raise self.error
        return "found"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self) -> str:
        return patiently(
            self.look_up,
            lambda: self.cancelled or self.now >= self.cancelled_at,
            self.told.append,
            lambda: self.now,
            self.sleep,
        )


def test_an_outage_of_minutes_is_waited_for() -> None:
    """Ten failures in a row cost minutes and one line in the log, not the run."""
    world = World(10)
    assert world.run() == "found"
    assert 60 < world.now < 300
    assert len(world.told) == 1


def test_waiting_has_a_bound() -> None:
    """An outage that does not end is an error after half an hour."""
    world = World(10_000)
    with pytest.raises(Unreachable):
        world.run()
    assert OUTAGE_MOST - 30 < world.now <= OUTAGE_MOST


def test_a_run_that_is_being_ended_does_not_wait() -> None:
    """After a termination signal the error comes at once."""
    world = World(10)
    world.cancelled = True
    with pytest.raises(Unreachable):
        world.run()
    assert world.now == 0


def test_other_errors_are_not_waited_for() -> None:
    """What will not pass by itself is raised at once."""
    world = World(1, AccessDenied("may not"))
    with pytest.raises(AccessDenied):
        world.run()
    assert world.now == 0


def test_an_end_in_the_middle_of_a_pause_is_noticed() -> None:
    """A termination signal does not have to wait for the pause to pass."""
    world = World(10_000)
    world.cancelled_at = 100.2
    with pytest.raises(Unreachable):
        world.run()
    assert world.now <= 101
