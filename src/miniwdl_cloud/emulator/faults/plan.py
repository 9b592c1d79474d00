"""Fault plans: what goes wrong, where, how often. A plan is JSON::

{"seed": 7,
 "rules": [{"fault": "throttle", "match": {"service": "batch", "operation": "Describe*"},
            "probability": 0.05},
           {"fault": "spot", "match": {"name": "^align"}, "stage": "running", "seconds": 2}]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import UsageError
from .endings import BLOCKED, CANCELED, ENDINGS, NOT_PLACED, STAGES
from .filesystem import SPELLINGS
from .wire import THROTTLING

_JOB = frozenset({"name", "queue", "attempt"})
_CALL = frozenset({"service", "operation"})
_ENDING = frozenset({"stage", "seconds", "exit_code", "reason", "status_reason"})


@dataclass(frozen=True)
class Kind:
    """What a fault's name means.

    Parameters
    ----------
    moment
        When the emulator asks for it; one rule at most acts at each.
    match
        What its rules can be narrowed down by.
    members
        Further members of its rules.
    spellings
        Values of its member ``spelling``; the first is the default.
    """

    moment: str
    match: frozenset[str]
    members: frozenset[str] = frozenset()
    spellings: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    "throttle": Kind("called", _CALL, spellings=tuple(THROTTLING)),
    "server_error": Kind("called", _CALL, frozenset({"status"})),
    "slow_down": Kind("called", _CALL),
    "expired_token": Kind("called", _CALL),
    "slow": Kind("called", _CALL, frozenset({"seconds"})),
    "reset_before": Kind("called", _CALL),
    "reset_after": Kind("called", _CALL),
    "unknown_definition": Kind("registered", frozenset({"name"}), frozenset({"seconds"})),
    "omitted": Kind("submitted", frozenset({"name", "queue"}), frozenset({"seconds"})),
    "unlisted": Kind("listed", frozenset({"name", "queue"}), frozenset({"seconds"})),
    "stale": Kind("described", frozenset({"name", "queue"}), frozenset({"seconds"})),
    "blocked": Kind("runnable", _JOB, frozenset({"seconds"}), tuple(BLOCKED)),
    "canceled": Kind("runnable", _JOB, frozenset({"seconds"}), tuple(CANCELED)),
    "not_placed": Kind(
        "placed", frozenset({"name", "queue", "provider"}), spellings=tuple(NOT_PLACED)
    ),
    "filesystem": Kind("mounted", _JOB, frozenset({"seconds"}), SPELLINGS),
    "logs_missing": Kind("logging", _JOB),
    "logs_late": Kind("logging", _JOB, frozenset({"seconds"})),
    **{
        name: Kind("launched", _JOB, _ENDING, tuple(ending.reasons))
        for name, ending in ENDINGS.items()
    },
}
ANY = "any"
_COMMON = frozenset({"fault", "match", "probability", "count", "skip", "spelling"})
_NUMBERS = ("seconds", "probability", "count", "skip", "status", "exit_code")


@dataclass(frozen=True)
class Rule:
    """One rule of a plan.

    Parameters
    ----------
    fault
        A name in `KINDS`.
    match
        What it is narrowed down by: ``service`` and ``operation`` (with ``*``) of calls; ``name``
        (a regular expression, found anywhere), ``queue`` and ``attempt`` of jobs; ``provider``,
        FARGATE or FARGATE_SPOT, of tasks that are to be placed.
    probability
        Chance that it acts on what it matches.
    count
        How often it acts at most.
    skip
        How many matches it lets pass first.
    spelling
        Which of the fault's texts; ``any`` draws one each time.
    seconds, status, stage, exit_code, reason, status_reason
        As the fault needs; ``None`` leaves it to the fault.
    """

    fault: str
    match: Mapping[str, Any] = field(default_factory=dict)
    probability: float = 1.0
    count: int | None = None
    skip: int = 0
    spelling: str = ""
    seconds: float | None = None
    status: int | None = None
    stage: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    status_reason: str | None = None

    @property
    def kind(self) -> Kind:
        """What its fault means."""
        return KINDS[self.fault]


@dataclass(frozen=True)
class FaultPlan:
    """A seed, and rules in order: of those that match, the first that acts is the one."""

    seed: int = 0
    rules: tuple[Rule, ...] = ()


def read_plan(path: Path) -> FaultPlan:
    """The plan in a file.

    Raises
    ------
    UsageError
        There is no such file, or it is not a plan.
    """
    try:
        plan = json.loads(path.read_text())
    except OSError as exn:
        raise UsageError(f"The fault plan {path} cannot be read: {exn.strerror}.") from None
    except ValueError:
        raise UsageError(f"The fault plan {path} is not JSON.") from None
    return parse_plan(plan)


def parse_plan(plan: object) -> FaultPlan:
    """The plan that JSON describes.

    Raises
    ------
    UsageError
        It is not a plan; the message names the rule, counted from 0.
    """
    if not isinstance(plan, dict) or not set(plan) <= {"seed", "rules"}:
        raise UsageError('A fault plan is a JSON object {"seed": …, "rules": […]}.')
    seed, rules = plan.get("seed", 0), plan.get("rules", [])
    if not isinstance(seed, int) or not isinstance(rules, list):
        raise UsageError("In a fault plan, seed is an integer and rules is a list.")
    return FaultPlan(seed, tuple(_rule(i, rule) for i, rule in enumerate(rules)))


def _rule(number: int, rule: object) -> Rule:
    where = f"Rule {number} of the fault plan"
    if not isinstance(rule, dict) or rule.get("fault") not in KINDS:
        raise UsageError(f"{where} needs a fault, one of: {', '.join(KINDS)}.")
    kind = KINDS[rule["fault"]]
    unknown = set(rule) - _COMMON - kind.members
    if unknown:
        raise UsageError(f"{where} has members that {rule['fault']} does not: {sorted(unknown)}.")
    for name in _NUMBERS:
        value = rule.get(name)
        number_like = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number_like and value >= 0):
            raise UsageError(f"{where} needs a number for {name}.")
    match = rule.get("match", {})
    if not isinstance(match, dict) or not set(match) <= kind.match:
        raise UsageError(f"{where} can match by {', '.join(sorted(kind.match))} only.")
    try:
        re.compile(str(match.get("name", "")))
    except re.error as exn:
        raise UsageError(f"{where} has a name that is no regular expression: {exn}.") from None
    spelling = rule.get("spelling", kind.spellings[0] if kind.spellings else "")
    if spelling and spelling not in (*kind.spellings, ANY):
        raise UsageError(f"{where} needs a spelling, one of: {', '.join(kind.spellings)}, any.")
    if rule.get("stage") not in (None, *STAGES):
        raise UsageError(f"{where} needs a stage, one of: {', '.join(STAGES)}.")
    return Rule(**{**rule, "spelling": spelling})
