"""Faults of jobs: what the scheduler asks before it moves one on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..executors.base import ContainerSpec
from .endings import BLOCKED, CANCELED, ENDINGS, Ending
from .filesystem import disturbed
from .injector import FaultInjector

CANCELED_AFTER_S = 1.0
LOGS_LATE_S = 5.0


@dataclass(frozen=True)
class Hold:
    """A job is kept RUNNABLE.

    Parameters
    ----------
    status_reason
        What it shows meanwhile.
    seconds
        How long; ``None`` for ever.
    canceled
        What it then fails with; ``None`` lets it go on.
    """

    status_reason: str
    seconds: float | None
    canceled: str | None = None


@dataclass(frozen=True)
class PlannedEnding:
    """How an attempt will end.

    Parameters
    ----------
    ending
        How.
    missed
        To be called if it has ended by itself before.
    """

    ending: Ending
    missed: Callable[[], None]


class JobFaults:
    """What the plan has in store for jobs.

    Parameters
    ----------
    injector
        Holds the plan.
    here
        Whether jobs are processes of this machine, to which something else can be mounted.
    """

    def __init__(self, injector: FaultInjector, here: bool = False) -> None:
        self._injector = injector
        self._here = here

    def hold(self, name: str, queue: str, attempt: int) -> Hold | None:
        """Whether a job that became RUNNABLE stays so."""
        fault = self._injector.choose("runnable", _facts(name, queue, attempt))
        if fault is None:
            return None
        rule = fault.rule
        if rule.fault == "blocked":
            return Hold(BLOCKED[rule.spelling], rule.seconds)
        seconds = CANCELED_AFTER_S if rule.seconds is None else rule.seconds
        return Hold(BLOCKED[rule.spelling], seconds, CANCELED[rule.spelling])

    def ending(self, name: str, queue: str, attempt: int) -> PlannedEnding | None:
        """How an attempt that is about to start will end, if not by itself."""
        fault = self._injector.choose("launched", _facts(name, queue, attempt))
        if fault is None:
            return None
        rule = fault.rule
        chosen = fault
        given = {
            member: getattr(rule, member)
            for member in ("stage", "seconds", "exit_code", "reason", "status_reason")
            if getattr(rule, member) is not None
        }
        ending = dataclasses.replace(ENDINGS[rule.fault].spelled(rule.spelling), **given)
        return PlannedEnding(ending, lambda: self._injector.missed(chosen))

    def mounted(self, spec: ContainerSpec, name: str, queue: str, attempt: int) -> ContainerSpec:
        """What an attempt runs, once its shared filesystem is as the plan wants it."""
        if not (self._here and spec.mounts and spec.command):
            return spec
        fault = self._injector.choose("mounted", _facts(name, queue, attempt))
        if fault is None:
            return spec
        return disturbed(spec, fault.rule.spelling, fault.rule.seconds)

    def log_delay_s(self, name: str, queue: str, attempt: int) -> float:
        """Seconds by which an attempt's log is late; infinite for a log that never comes."""
        fault = self._injector.choose("logging", _facts(name, queue, attempt))
        if fault is None:
            return 0.0
        if fault.rule.fault == "logs_missing":
            return math.inf
        return LOGS_LATE_S if fault.rule.seconds is None else fault.rule.seconds


def _facts(name: str, queue: str, attempt: int) -> Mapping[str, Any]:
    return {"name": name, "queue": queue, "attempt": attempt}
