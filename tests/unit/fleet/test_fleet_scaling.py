"""How many burst workers are asked for, line by line."""

from __future__ import annotations

import dataclasses

import pytest

from miniwdl_cloud.fleet.scaling import Capacity, Demand, Scaler, Scaling, Shortage, shortage

GIB = 2**30


def cap(cpus: float, gib: float) -> Capacity:
    """So many CPUs and GiB."""
    return Capacity(round(cpus * 1e9), round(gib * GIB))


WORKER = cap(4, 16)
NOTHING = Demand((), (), WORKER, desired=0, bound=10, coming=0)


def demand(**what: object) -> Demand:
    """No demand, but for this."""
    return dataclasses.replace(NOTHING, **what)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "workers", "tasks", "too_large"),
    [
        pytest.param({}, 0, 0, 0, id="nothing waits"),
        pytest.param({"waiting": [cap(1, 1)]}, 1, 1, 0, id="one task"),
        pytest.param({"waiting": [cap(1, 1)] * 9}, 3, 9, 0, id="four tasks to a worker"),
        pytest.param({"waiting": [cap(1, 8)] * 4}, 2, 4, 0, id="memory counts too"),
        pytest.param({"waiting": [cap(3, 1), cap(1, 1)] * 2}, 2, 4, 0, id="packed, largest first"),
        pytest.param({"waiting": [cap(0, 0)] * 500}, 1, 500, 0, id="tasks that reserve nothing"),
        pytest.param({"waiting": [cap(2, 2)], "free": [cap(2, 2)]}, 0, 0, 0, id="room is there"),
        pytest.param({"waiting": [cap(2, 2)] * 2, "free": [cap(3, 9)]}, 1, 1, 0, id="room for one"),
        pytest.param({"waiting": [cap(2, 2)], "free": [cap(1, 9)] * 9}, 1, 1, 0, id="in pieces"),
        pytest.param({"waiting": [cap(1, 1)] * 4, "coming": 1}, 0, 0, 0, id="one is coming"),
        pytest.param({"waiting": [cap(1, 1)] * 9, "coming": 1}, 2, 5, 0, id="one of three coming"),
        pytest.param({"waiting": [cap(5, 1)]}, 0, 0, 1, id="too many CPUs"),
        pytest.param({"waiting": [cap(1, 17), cap(1, 1)]}, 1, 1, 1, id="one too large"),
        pytest.param({"waiting": [cap(8, 1)], "free": [cap(9, 9)]}, 0, 0, 0, id="a larger worker"),
        pytest.param({"waiting": [cap(1, 1)] * 9, "worker": None}, 1, 9, 0, id="size unknown"),
        pytest.param(
            {"waiting": [cap(1, 1)], "worker": None, "coming": 1}, 0, 1, 0, id="first one"
        ),
    ],
)
def test_shortage(what: dict[str, object], workers: int, tasks: int, too_large: int) -> None:
    """What waits needs as many workers as the table says."""
    assert shortage(demand(**what)) == Shortage(workers, tasks, too_large)


WAITING = (cap(4, 1),) * 3
"""Three workers' worth."""


def run(wait_s: float, *steps: tuple[float, Demand]) -> list[Scaling]:
    """The decisions at these times; each change is made."""
    scaler = Scaler(wait_s)
    found = []
    for now, asked in steps:
        decision = scaler.decide(now, asked)
        if decision.desired is not None:
            scaler.changed(now)
        found.append(decision)
    return found


def desired(*args: object) -> list[int | None]:
    """The new capacities alone."""
    return [decision.desired for decision in run(*args)]  # type: ignore[arg-type]


def test_only_what_waits_for_a_while_counts() -> None:
    """No machine is asked for before the time is over, and then all that are needed at once."""
    asked = demand(waiting=WAITING, desired=1)
    assert desired(60, (0, asked), (59, asked), (60, asked)) == [None, None, 4]


def test_a_moment_without_shortage_begins_the_wait_anew() -> None:
    """Tasks that come and go between others' ends start no machine."""
    asked = demand(waiting=WAITING)
    steps = [(0, asked), (50, NOTHING), (60, asked), (110, asked), (120, asked)]
    assert desired(60, *steps) == [None, None, None, None, 3]


def test_machines_that_are_coming_are_not_asked_for_twice() -> None:
    """After the change, the same tasks wait until the machines are there, and nothing happens."""
    asked = demand(waiting=WAITING)
    after = demand(waiting=WAITING, desired=3, coming=3)
    steps = [(0, asked), (60, asked), *((t, after) for t in range(70, 1000, 10))]
    assert [one for one in desired(60, *steps) if one] == [3]


def test_what_is_more_than_what_is_coming_is_asked_for_after_another_wait() -> None:
    """A second scatter on top of the first gets its machines, not sooner than the wait allows."""
    first = demand(waiting=WAITING)
    second = demand(waiting=WAITING * 2, desired=3, coming=3)
    steps = [(0, first), (60, first), (70, second), (119, second), (130, second)]
    assert desired(60, *steps) == [None, 3, None, None, 6]


def test_the_bound_holds_and_the_reason_says_so() -> None:
    """No more than the bound, however much waits; at the bound nothing changes."""
    asked = demand(waiting=WAITING * 10, bound=5)
    steps = [(0, asked), (60, asked), (200, dataclasses.replace(asked, desired=5, coming=0))]
    decisions = run(60, *steps)
    assert [one.desired for one in decisions] == [None, 5, None]
    assert "5 is the bound" in decisions[2].reason


def test_it_never_asks_for_fewer() -> None:
    """An empty fleet is left alone: idle workers leave by themselves."""
    for left in range(10):
        for free in ([], [WORKER] * left):
            assert desired(0, (0, demand(desired=left, free=free))) == [None]


def test_without_success_the_change_is_tried_again() -> None:
    """A change that was not made (dry run, or refused) does not begin a wait."""
    scaler, asked = Scaler(60), demand(waiting=WAITING)
    found = [scaler.decide(now, asked).desired for now in (0, 60, 61)]
    assert found == [None, 3, 3]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({}, "nothing waits"),
        ({"waiting": [cap(1, 1)], "free": [WORKER]}, "1 waiting tasks have room"),
        ({"waiting": [cap(1, 1)], "coming": 1}, "1 of which are coming"),
        ({"waiting": [cap(9, 1)]}, "1 waiting tasks are too large for any burst worker"),
    ],
)
def test_a_decision_to_do_nothing_has_its_reason(what: dict[str, object], words: str) -> None:
    """The log tells why nothing happens."""
    (decision,) = run(60, (0, demand(**what)))
    assert decision.desired is None
    assert words in decision.reason
