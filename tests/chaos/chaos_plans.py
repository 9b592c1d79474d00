"""Fault plans drawn at random, and what a run under one may end in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from miniwdl_cloud.emulator.faults.endings import BLOCKED, ENDINGS
from miniwdl_cloud.emulator.faults.wire import THROTTLING

BEYOND_DOUBT = 60
"""Seconds for which a job is in no list: longer than a submission in doubt is looked for."""
FATAL_PULLS = ("not found", "manifest unknown", "unauthorized", "denied", "no repository")

WORKFLOW = """
    version 1.1
    workflow chaos {
      input { Int n }
      scatter (i in range(n)) {
        call make { input: i }
        call square { input: side = make.number }
      }
      call total { input: numbers = square.number }
      output { File sum = total.sum  Array[File] squares = square.number }
    }
    task make {
      input { Int i }
      command <<< echo "making ~{i}" >&2; sleep 0.2; echo ~{i} > number >>>
      output { File number = "number" }
      runtime { maxRetries: 2  preemptible: 2 }
    }
    task square {
      input { File side }
      command <<< n=$(cat "~{side}"); sleep 0.2; echo $((n * n)) > number >>>
      output { File number = "number" }
      runtime { maxRetries: 2  preemptible: 2 }
    }
    task total {
      input { Array[File] numbers }
      command <<< cat ~{sep(" ", quote(numbers))} | paste -sd+ | tee sum >>>
      output { File sum = "sum" }
      runtime { maxRetries: 2  preemptible: 2 }
    }
    """


def _rule(fault: str, **members: Any) -> st.SearchStrategy[dict[str, Any]]:
    drawn = {
        name: value if isinstance(value, st.SearchStrategy) else st.just(value)
        for name, value in members.items()
    }
    return st.fixed_dictionaries({"fault": st.just(fault), **drawn})


_chance = st.sampled_from([0.05, 0.2, 0.5, 1.0])
_few = st.integers(1, 3)
_later = st.integers(0, 6)
_short = st.sampled_from([0.1, 0.5, 1.5])
_batch = st.sampled_from(
    [
        {"service": "batch"},
        *(
            {"service": "batch", "operation": operation}
            for operation in ("SubmitJob", "DescribeJobs", "RegisterJobDefinition", "TerminateJob")
        ),
    ]
)
_submit = {"service": "batch", "operation": "SubmitJob"}
_stage = st.sampled_from(["before_start", "running", "after_command"])

CALLS = st.one_of(
    _rule(
        "throttle",
        match=_batch,
        spelling=st.sampled_from([*THROTTLING, "any"]),
        probability=st.sampled_from([0.05, 0.2]),
        count=st.integers(1, 20),
    ),
    _rule("server_error", match=_batch, status=st.sampled_from([500, 502, 503]), count=_few),
    _rule("reset_before", match=_batch, skip=_later, count=_few),
    _rule("reset_after", match=_batch, skip=_later, count=_few),
    _rule("reset_after", match=_submit, skip=_later, count=_few),
    _rule("slow", match=_batch, seconds=_short, probability=0.2, count=_few),
    _rule("expired_token", match=_batch, skip=_later, count=_few),
    _rule("unlisted", seconds=st.sampled_from([0.5, 1.5, BEYOND_DOUBT]), probability=_chance),
    _rule("omitted", seconds=_short, probability=_chance),
    _rule("stale", seconds=_short, probability=_chance),
    _rule("unknown_definition", seconds=_short, count=_few),
)
JOBS = st.one_of(
    _rule(
        "spot", stage=_stage, seconds=st.sampled_from([0, 0.05]), probability=_chance, count=_few
    ),
    _rule(
        "cannot_pull",
        spelling=st.sampled_from(["timeout", "no space left", "5xx"]),
        count=_few,
        probability=_chance,
    ),
    _rule("cannot_inspect", probability=_chance, count=_few),
    _rule("docker_timeout", spelling="any", probability=_chance, count=_few),
    _rule("efs_mount", probability=_chance, count=_few),
    _rule(
        "out_of_memory",
        seconds=0,
        exit_code=st.sampled_from([137, 0, 2]),
        probability=_chance,
        count=_few,
    ),
    _rule("blocked", spelling=st.sampled_from(list(BLOCKED)), seconds=_short, probability=_chance),
    _rule("canceled", seconds=0.1, probability=_chance, count=_few),
    _rule("logs_missing", probability=_chance),
    _rule("logs_late", seconds=_short, probability=_chance),
)
RARE = st.one_of(
    _rule("cannot_pull", spelling=st.sampled_from(FATAL_PULLS), skip=_later, count=1),
    _rule("cannot_start", skip=_later, count=1),
    _rule("configuration", spelling="any", skip=_later, count=1),
    _rule("timeout", seconds=0, skip=_later, count=_few),
)
PLANS = st.builds(
    lambda seed, calls, jobs, rare: {"seed": seed, "rules": calls + jobs + rare},
    st.integers(0, 9999),
    st.lists(CALLS, min_size=1, max_size=3),
    st.lists(JOBS, min_size=1, max_size=3),
    st.lists(RARE, max_size=1),
)

EVERYTHING = {
    "seed": 11,
    "rules": [
        {
            "fault": "throttle",
            "match": {"service": "batch"},
            "spelling": "any",
            "probability": 0.1,
            "count": 20,
        },
        {"fault": "reset_after", "match": _submit, "count": 2},
        {"fault": "unknown_definition", "seconds": 0.5, "count": 1},
        {"fault": "omitted", "seconds": 1.0},
        {"fault": "stale", "seconds": 0.5, "probability": 0.3},
        {"fault": "spot", "stage": "before_start", "probability": 0.2, "count": 1},
        {"fault": "spot", "stage": "after_command", "probability": 0.2, "count": 1},
        {"fault": "spot", "seconds": 0, "probability": 0.2, "count": 1},
        {"fault": "cannot_inspect", "probability": 0.2, "count": 1},
    ],
}
"""A plan of everything that a run survives."""


_ECS_OPERATIONS = {
    "SubmitJob": "RunTask",
    "DescribeJobs": "DescribeTasks",
    "RegisterJobDefinition": "RegisterTaskDefinition",
    "TerminateJob": "StopTask",
}
_WITHOUT_ECS = ("unknown_definition", "timeout")
"""Faults that ECS does not have."""


def on_ecs(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The same plan over ECS: calls of its own, and tasks that are not placed in place of jobs that
    cannot start."""
    rules = []
    for rule in plan["rules"]:
        match = rule.get("match", {})
        if rule["fault"] in _WITHOUT_ECS:
            continue
        if rule["fault"] in ("blocked", "canceled"):
            spelling = "capacity" if rule["fault"] == "blocked" else "limit"
            refused = {"probability": rule["probability"], "count": rule.get("count", 5)}
            rules.append({"fault": "not_placed", "spelling": spelling, **refused})
        elif "service" in match:
            match = {**match, "service": "ecs"}
            if "operation" in match:
                match["operation"] = _ECS_OPERATIONS[match["operation"]]
            rules.append({**rule, "match": match})
        else:
            rules.append(rule)
    return {**plan, "rules": rules}


def may_make_twins(rules: list[Mapping[str, Any]]) -> bool:
    """Whether a submission whose answer was lost may have been sent again, although its job was
    there; see `allowed_verdicts`."""

    def fired(fault: str) -> bool:
        return any(rule["fired"] for rule in rules if rule["fault"] == fault)

    hidden = any(rule.get("seconds") == BEYOND_DOUBT for rule in rules if rule["fired"])
    return hidden and fired("unlisted") and fired("reset_after")


def allowed_verdicts(rules: list[Mapping[str, Any]]) -> set[str]:
    """Verdicts that a run may fail with, after what fired.

    Parameters
    ----------
    rules
        The rules as the emulator shows them, with their counts.
    """

    def fired(*faults: str) -> int:
        return sum(rule["fired"] for rule in rules if rule["fault"] in faults)

    fatal = fired("cannot_start", "configuration") + sum(
        rule["fired"]
        for rule in rules
        if rule["fault"] == "cannot_pull" and rule["spelling"] in FATAL_PULLS
    )
    allowed = {"fatal"} if fatal else set()
    # A task has two attempts more for interruptions and two for anything else, so what makes it
    # fail has happened three times at least, if it counts against the latter alone.
    if fired(*ENDINGS, "canceled") >= 3:
        allowed |= {"interrupted", "interrupted by infrastructure"}
        allowed |= {"timeout"} if fired("timeout") else set()
        allowed |= {"out of memory"} if fired("out_of_memory") else set()
    return allowed
