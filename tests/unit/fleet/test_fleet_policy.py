"""Every decision of a worker, line by line: above all each that ends a machine."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from miniwdl_cloud.fleet.policy import (
    Action,
    Availability,
    Decision,
    Limits,
    Notice,
    Observation,
    decide,
)

LIMITS = Limits(idle_s=1800, orphan_s=1200, drain_s=60, rejoin_s=90, pause_s=70)
BURST = dataclasses.replace(LIMITS, burst=True)
STAY, JOIN, REJOIN, SHUTDOWN = Action.STAY, Action.JOIN, Action.REJOIN, Action.SHUTDOWN
ACTIVE, PAUSE, DRAIN = Availability.ACTIVE, Availability.PAUSE, Availability.DRAIN
SPOT, SCALE_IN = Notice.SPOT, Notice.SCALE_IN


def seen(**what: object) -> Observation:
    """What a member without tasks sees, but for this."""
    return dataclasses.replace(Observation(), **what)  # type: ignore[arg-type]


def _row(name: str, limits: Limits, what: dict[str, object], *expected: object) -> object:
    return pytest.param(limits, seen(**what), expected, id=name)


# What is seen, and what follows: action, wish, replaced by another machine, part of the reason.
TABLE = [
    _row("a busy member stays", LIMITS, {"tasks": 3}, STAY, ACTIVE, False, ""),
    _row("an idle persistent member stays", LIMITS, {"idle_s": 1e6}, STAY, ACTIVE, False, ""),
    # idle
    _row("idle, not long enough", BURST, {"idle_s": 1799}, STAY, ACTIVE, False, ""),
    _row("long idle: pause first", BURST, {"idle_s": 1800}, STAY, PAUSE, False, "idle"),
    _row(
        "long idle, paused: the end",
        BURST,
        {"idle_s": 1810, "availability": PAUSE, "wish": PAUSE, "wish_s": 10},
        *(SHUTDOWN, PAUSE, False, "idle"),
    ),
    _row(
        "long idle, drained by a person: the end",
        BURST,
        {"idle_s": 1810, "availability": DRAIN},
        *(SHUTDOWN, PAUSE, False, "idle"),
    ),
    _row(
        "long idle, asked in vain for a while",
        BURST,
        {"idle_s": 1869, "wish": PAUSE, "wish_s": 69},
        *(STAY, PAUSE, False, "idle"),
    ),
    _row(
        "long idle, asked in vain for long: the end",
        BURST,
        {"idle_s": 1870, "wish": PAUSE, "wish_s": 70},
        *(SHUTDOWN, PAUSE, False, "idle"),
    ),
    _row(
        "a task came before the pause: it goes on",
        BURST,
        {"idle_s": 0, "tasks": 1, "availability": PAUSE, "wish": PAUSE, "wish_s": 80},
        *(STAY, ACTIVE, False, ""),
    ),
    _row(
        "tasks and a long idle time cannot both be, tasks count",
        BURST,
        {"idle_s": 1e6, "tasks": 1},
        *(STAY, ACTIVE, False, ""),
    ),
    # notices
    _row("spot notice, no tasks: the end", LIMITS, {"notice": SPOT}, SHUTDOWN, DRAIN, True, "spot"),
    _row(
        "spot notice, tasks: drain",
        LIMITS,
        {"notice": SPOT, "tasks": 2},
        *(STAY, DRAIN, False, "spot"),
    ),
    _row(
        "spot notice, tasks drain",
        LIMITS,
        {"notice": SPOT, "tasks": 2, "wish": DRAIN, "wish_s": 59},
        *(STAY, DRAIN, False, "spot"),
    ),
    _row(
        "spot notice, tasks that do not end: the end",
        LIMITS,
        {"notice": SPOT, "tasks": 2, "wish": DRAIN, "wish_s": 60},
        *(SHUTDOWN, DRAIN, True, "spot"),
    ),
    _row(
        "spot notice after a long pause: the drain has its own time",
        BURST,
        {"notice": SPOT, "tasks": 1, "wish": PAUSE, "wish_s": 600},
        *(STAY, DRAIN, False, "spot"),
    ),
    _row(
        "the group ends it: drain",
        LIMITS,
        {"notice": SCALE_IN, "tasks": 1},
        *(STAY, DRAIN, False, "auto scaling group"),
    ),
    _row(
        "the group ends it, no tasks: the end",
        LIMITS,
        {"notice": SCALE_IN},
        *(SHUTDOWN, DRAIN, True, "auto scaling group"),
    ),
    _row(
        "spot notice outside of the swarm: the end, no join",
        LIMITS,
        {"notice": SPOT, "docker": "inactive", "listed": None},
        *(SHUTDOWN, DRAIN, True, "spot"),
    ),
    # rebalance
    _row(
        "rebalance, tasks: pause",
        LIMITS,
        {"rebalance": True, "tasks": 1},
        *(STAY, PAUSE, False, "rebalance"),
    ),
    _row(
        "rebalance, tasks go on however long",
        LIMITS,
        {"rebalance": True, "tasks": 1, "availability": PAUSE, "wish": PAUSE, "wish_s": 1e6},
        *(STAY, PAUSE, False, "rebalance"),
    ),
    _row(
        "rebalance, last task ended: the end",
        LIMITS,
        {"rebalance": True, "availability": PAUSE, "wish": PAUSE, "wish_s": 30},
        *(SHUTDOWN, PAUSE, True, "rebalance"),
    ),
    _row(
        "rebalance, idle burst worker: idle, no other machine",
        BURST,
        {"rebalance": True, "idle_s": 1800, "availability": PAUSE},
        *(SHUTDOWN, PAUSE, False, "idle"),
    ),
    # joining
    _row("not yet in", LIMITS, {"docker": "inactive", "listed": None}, JOIN, ACTIVE, False, "not"),
    _row(
        "join under way",
        LIMITS,
        {"docker": "pending", "listed": None},
        *(STAY, ACTIVE, False, "pending"),
    ),
    _row(
        "no shared filesystem: no join",
        LIMITS,
        {"docker": "inactive", "shared": False, "listed": None},
        *(STAY, ACTIVE, False, "shared filesystem"),
    ),
    _row(
        "not listed for a moment",
        LIMITS,
        {"listed": False, "since_member_s": 89},
        *(STAY, ACTIVE, False, "waiting"),
    ),
    _row(
        "not listed for long: join anew",
        LIMITS,
        {"listed": False, "since_member_s": 90},
        *(REJOIN, ACTIVE, False, "does not know"),
    ),
    _row(
        "not listed yet after a join",
        LIMITS,
        {"listed": False, "since_member_s": 1000, "since_join_s": 89},
        *(STAY, ACTIVE, False, "waiting"),
    ),
    _row(
        "Docker in error: join anew",
        LIMITS,
        {"docker": "error", "listed": None, "since_member_s": 90},
        *(REJOIN, ACTIVE, False, "does not know"),
    ),
    _row(
        "no list, the manager answers: a member",
        LIMITS,
        {"listed": None, "since_member_s": 0},
        *(STAY, ACTIVE, False, ""),
    ),
    _row(
        "no list, the manager does not answer: wait, a join would fail",
        LIMITS,
        {"listed": None, "manager_answers": False, "since_member_s": 1199},
        *(STAY, ACTIVE, False, "waiting"),
    ),
    # orphans
    _row(
        "never got in: the end",
        LIMITS,
        {"docker": "inactive", "listed": None, "since_member_s": 1200},
        *(SHUTDOWN, ACTIVE, False, "orphaned"),
    ),
    _row(
        "manager lost: the end",
        LIMITS,
        {"listed": None, "manager_answers": False, "since_member_s": 1200},
        *(SHUTDOWN, ACTIVE, False, "orphaned"),
    ),
    _row(
        "manager lost, its tasks are nobody's: the end",
        LIMITS,
        {"listed": None, "manager_answers": False, "since_member_s": 1200, "tasks": 5},
        *(SHUTDOWN, ACTIVE, False, "orphaned"),
    ),
    _row(
        "Docker Engine dead: the end",
        LIMITS,
        {"docker": "unknown", "listed": None, "since_member_s": 1200},
        *(SHUTDOWN, ACTIVE, False, "orphaned"),
    ),
    _row(
        "shared filesystem lost: the end",
        LIMITS,
        {"shared": False, "listed": None, "since_member_s": 1200},
        *(SHUTDOWN, ACTIVE, False, "orphaned"),
    ),
    _row(
        "removed from the swarm and never taken again: the end",
        LIMITS,
        {"listed": False, "since_member_s": 1200},
        *(SHUTDOWN, ACTIVE, False, "orphaned"),
    ),
    # stress
    _row(
        "induced, busy: the end",
        LIMITS,
        {"induced": True, "tasks": 4},
        *(SHUTDOWN, ACTIVE, True, "induced"),
    ),
]


@pytest.mark.parametrize(("limits", "what", "expected"), TABLE)
def test_decision(limits: Limits, what: Observation, expected: tuple[object, ...]) -> None:
    """What is seen leads to what the table says."""
    action, wish, replace, words = expected
    decision = decide(limits, what)
    assert (decision.action, decision.wish, decision.replace) == (action, wish, replace)
    assert str(words) in decision.reason
    assert bool(decision.reason) == bool(words)


def test_a_loss_for_a_stress_test_is_abrupt_and_no_other_end_is() -> None:
    """Only an induced shutdown skips leaving the swarm."""
    ends = [decide(row.values[0], row.values[1]) for row in TABLE]  # type: ignore[attr-defined]
    abrupt = {end.reason for end in ends if end.action is SHUTDOWN and end.abrupt}
    assert abrupt == {"induced"}


def _all() -> list[tuple[Limits, Observation, Decision]]:
    """Every combination of what can be seen, at times before and after each limit."""
    times = (0.0, 1e5)
    combinations = itertools.product(
        (LIMITS, BURST),
        ("inactive", "active", "unknown"),
        (True, False),
        (True, False, None),
        (True, False),
        times,
        (0, 2),
        times,
        (ACTIVE, PAUSE, None),
        ((ACTIVE, 0.0), (PAUSE, 1e5), (DRAIN, 1e5)),
        (None, SPOT),
        (True, False),
    )
    found = []
    for (
        limits,
        docker,
        shared,
        listed,
        answers,
        since,
        tasks,
        idle,
        av,
        wish,
        *rest,
    ) in combinations:
        what = Observation(
            docker, shared, listed, answers, since, since, tasks, idle, av, *wish, *rest
        )
        found.append((limits, what, decide(limits, what)))
    return found


def test_no_machine_ends_without_one_of_the_known_reasons() -> None:
    """Whatever is seen: a worker that is in the swarm and has tasks ends only after a notice that
    the tasks had their time to heed; none that is healthy and persistent ends at all."""
    for limits, what, decision in _all():
        if decision.action is not SHUTDOWN:
            continue
        assert decision.reason in ("spot interruption notice", "orphaned", "idle") or (
            decision.reason == "rebalance recommendation"
        )
        if decision.reason == "orphaned":
            assert not what.member
            assert what.since_member_s >= limits.orphan_s
        if what.member and what.tasks:
            assert what.notice
            assert what.wish is DRAIN
        if what.member and not (what.notice or what.rebalance):
            assert limits.burst
            assert what.idle_s >= limits.idle_s


def test_a_machine_that_is_to_be_replaced_is_never_an_idle_one_nor_an_orphan() -> None:
    """Otherwise its auto scaling group would start machines that nobody needs, for ever."""
    for _, _, decision in _all():
        if decision.reason in ("idle", "orphaned") and decision.action is SHUTDOWN:
            assert not decision.replace
