"""What a report tells of a run."""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..costs.quote import Quote
from ..costs.usage import Usage
from .cost import Basis, quote_of

MIB = 2**20
TIGHT = 0.9
"""Share of the memory asked for above which a peak is called close to the limit."""
ROOMY = 0.6
"""Share below which advice to ask for less is given."""
HEADROOM = 1.25
"""What advice leaves between the highest peak and the memory to ask for, and between the CPUs that
the busiest task used on average and those to ask for."""
MEMORY_STEP_MIB = 256


class TaskState(str, enum.Enum):
    """How a task stands."""

    SUCCEEDED = "succeeded"
    CACHED = "cached"
    """Its outputs came from the call cache; no job ran."""
    FAILED = "failed"
    STOPPED = "stopped"
    """It was ended because the run was."""
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Attempt:
    """One job of a task.

    Parameters
    ----------
    created, started, ended
        Seconds since the epoch; ``None`` where nothing says.
    ok
        Whether the command ended well; ``None`` while it has not ended.
    reason
        Why it failed.
    peak_bytes
        Highest memory use of the container.
    platform
        ``EC2`` or ``FARGATE``, where known.
    interrupted
        Whether it failed without the task's fault: its machine was taken away, or AWS failed.
    usage
        What it used, by samples.
    price
        What the engine noted of its price and machine.
    billed_s
        For how long it is paid for, where that is not `seconds`.
    """

    number: int
    job_id: str | None = None
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    ok: bool | None = None
    exit_code: int | None = None
    reason: str | None = None
    log_stream: str | None = None
    vcpus: float | None = None
    memory_mib: int | None = None
    gpus: int = 0
    peak_bytes: int | None = None
    platform: str | None = None
    interrupted: bool = False
    usage: Usage | None = None
    price: Quote | None = None
    billed_s: float | None = None

    @property
    def used_bytes(self) -> int | None:
        """Memory that it needed: by samples, without what the page cache could give back; else the
        highest use, all included."""
        return self.usage.peak_memory_bytes if self.usage else self.peak_bytes

    @property
    def cpus(self) -> float | None:
        """CPUs that it used on average."""
        return self.usage.cpus if self.usage else None

    @property
    def seconds(self) -> float | None:
        """How long it ran; ``None`` if it never did, or nothing says."""
        if self.started is None or self.ended is None:
            return None
        return max(0.0, self.ended - self.started)

    @property
    def cost(self) -> float | None:
        """Estimate in US dollars; see `report.cost`."""
        quote = self.price or quote_of(self.vcpus, self.memory_mib, self.gpus, self.platform)
        seconds = self.seconds if self.billed_s is None else self.billed_s
        return None if quote is None or seconds is None else quote.cost(seconds)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "attempt": self.number,
            "jobId": self.job_id,
            "created": self.created,
            "started": self.started,
            "ended": self.ended,
            "ok": self.ok,
            "exitCode": self.exit_code,
            "reason": self.reason,
            "logStream": self.log_stream,
            "vcpus": self.vcpus,
            "memoryMiB": self.memory_mib,
            "gpus": self.gpus,
            "peakMemoryBytes": self.peak_bytes,
            "platform": self.platform,
            "interrupted": self.interrupted,
            "usage": self.usage.as_json() if self.usage else None,
            "price": self.price.as_json() if self.price else None,
            "costUSD": self.cost,
        }


@dataclass(frozen=True)
class TaskRecord:
    """One task of the run.

    Parameters
    ----------
    call
        Name of its call, with those of the subworkflows before it: ``prepare.align``.
    shard
        Indices of its scatters, with labels; empty if there are none.
    directory
        Relative to the run directory.
    ready, ended
        When miniwdl took it up and was done with it, in seconds since the epoch.
    error
        What miniwdl says of its failure.
    log_tail
        The end of its standard error, if it failed.
    """

    call: str
    shard: str
    directory: str
    state: TaskState
    attempts: tuple[Attempt, ...] = ()
    ready: float | None = None
    ended: float | None = None
    error: str | None = None
    log_tail: str | None = None

    @property
    def label(self) -> str:
        """Call and shard."""
        return f"{self.call}[{self.shard}]" if self.shard else self.call

    @property
    def reason(self) -> str | None:
        """Why it failed: the last attempt's word, else miniwdl's."""
        last = self.attempts[-1].reason if self.attempts else None
        return (last or self.error) if self.state is TaskState.FAILED else None

    @property
    def running_s(self) -> float | None:
        """Seconds that its jobs ran, all attempts together."""
        return _sum(attempt.seconds for attempt in self.attempts)

    @property
    def cost(self) -> float | None:
        """Of all attempts."""
        return _sum(attempt.cost for attempt in self.attempts)

    @property
    def peak_bytes(self) -> int | None:
        """Most memory that an attempt needed."""
        return max((a.used_bytes for a in self.attempts if a.used_bytes is not None), default=None)

    @property
    def cpus(self) -> float | None:
        """CPUs that the last attempt which tells used on average."""
        return next((a.cpus for a in reversed(self.attempts) if a.cpus is not None), None)

    @property
    def machine(self) -> str | None:
        """What the last attempt ran on, in words."""
        price = self.attempts[-1].price if self.attempts else None
        return price.machine.name if price and price.machine else None

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "call": self.call,
            "shard": self.shard or None,
            "directory": self.directory,
            "state": self.state.value,
            "ready": self.ready,
            "ended": self.ended,
            "runningSeconds": self.running_s,
            "costUSD": self.cost,
            "peakMemoryBytes": self.peak_bytes,
            "cpus": self.cpus,
            "reason": self.reason,
            "logTail": self.log_tail,
            "attempts": [attempt.as_json() for attempt in self.attempts],
        }


@dataclass(frozen=True)
class CallSummary:
    """All tasks of one call together; see `summarise`."""

    name: str
    tasks: int
    states: dict[TaskState, int]
    retries: int
    median_s: float | None
    longest_s: float | None
    vcpus: float | None
    memory_mib: int | None
    peak_bytes: int | None
    cpus: float | None
    cost: float | None
    wasted: float | None
    advice: str | None

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name,
            "tasks": self.tasks,
            "states": {state.value: number for state, number in self.states.items()},
            "retries": self.retries,
            "medianSeconds": self.median_s,
            "longestSeconds": self.longest_s,
            "vcpus": self.vcpus,
            "memoryMiB": self.memory_mib,
            "peakMemoryBytes": self.peak_bytes,
            "cpus": self.cpus,
            "costUSD": self.cost,
            "wastedUSD": self.wasted,
            "advice": self.advice,
        }


@dataclass(frozen=True)
class Report:
    """The whole report.

    Parameters
    ----------
    state
        ``succeeded``, ``failed`` or ``unfinished``.
    error
        What miniwdl says of the run's failure.
    missing
        What could not be told, and why, a sentence each.
    basis
        What the costs rest on.
    made
        When the report was made, in seconds since the epoch.
    """

    name: str
    directory: str
    state: str
    started: float | None
    ended: float | None
    error: str | None
    tasks: Sequence[TaskRecord]
    missing: Sequence[str]
    made: float
    basis: Basis = field(default_factory=Basis)

    @property
    def calls(self) -> list[CallSummary]:
        """A summary a call, in the order in which the calls began."""
        groups: dict[str, list[TaskRecord]] = {}
        for task in self.tasks:
            groups.setdefault(task.call, []).append(task)
        return [summarise(name, group) for name, group in groups.items()]

    @property
    def failures(self) -> list[TaskRecord]:
        """The tasks that failed by themselves."""
        return [task for task in self.tasks if task.state is TaskState.FAILED]

    @property
    def retries(self) -> int:
        """Attempts after the first ones."""
        return sum(max(0, len(task.attempts) - 1) for task in self.tasks)

    @property
    def vcpu_hours(self) -> float:
        """What all jobs reserved, for as long as they ran."""
        return sum(
            (attempt.seconds or 0.0) * (attempt.vcpus or 0.0) / 3600
            for task in self.tasks
            for attempt in task.attempts
        )

    @property
    def cost(self) -> float | None:
        """Of all attempts, estimated."""
        return _sum(task.cost for task in self.tasks)

    @property
    def wasted(self) -> float | None:
        """The part of it that failed attempts took."""
        return _wasted(self.tasks)

    @property
    def interrupted(self) -> float | None:
        """The part of that which interruptions took."""
        return _sum(a.cost for task in self.tasks for a in task.attempts if a.interrupted)

    def count(self, state: TaskState) -> int:
        """How many tasks are in a state."""
        return sum(1 for task in self.tasks if task.state is state)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``; times in seconds since the epoch. ``version`` changes when a member
        changes its meaning or goes."""
        return {
            "version": 1,
            "run": {
                "name": self.name,
                "directory": self.directory,
                "state": self.state,
                "started": self.started,
                "ended": self.ended,
                "error": self.error,
            },
            "made": self.made,
            "totals": {
                "tasks": len(self.tasks),
                **{state.value: self.count(state) for state in TaskState},
                "retries": self.retries,
                "vcpuHours": self.vcpu_hours,
                "costUSD": self.cost,
                "wastedUSD": self.wasted,
                "interruptedUSD": self.interrupted,
            },
            "cost": self.basis.as_json(),
            "missing": list(self.missing),
            "calls": [call.as_json() for call in self.calls],
            "tasks": [task.as_json() for task in self.tasks],
        }


def summarise(name: str, tasks: Sequence[TaskRecord]) -> CallSummary:
    """The tasks of one call together."""
    spans = [task.running_s for task in tasks if task.running_s is not None]
    attempts = [attempt for task in tasks for attempt in task.attempts]
    peaks = [a.used_bytes for a in attempts if a.used_bytes is not None]
    told = [a.usage for a in attempts if a.usage is not None and a.usage.cpus is not None]
    span = sum(usage.seconds for usage in told)
    vcpus = max((a.vcpus for a in attempts if a.vcpus), default=None)
    busiest = max((usage.cpus or 0.0 for usage in told), default=None)
    # What the task asked for: a later attempt may have got more, after it ran out.
    firsts = [task.attempts[0] for task in tasks if task.attempts]
    memory = max((a.memory_mib for a in firsts if a.memory_mib), default=None)
    states: dict[TaskState, int] = {}
    for task in tasks:
        states[task.state] = states.get(task.state, 0) + 1
    return CallSummary(
        name=name,
        tasks=len(tasks),
        states=states,
        retries=sum(max(0, len(task.attempts) - 1) for task in tasks),
        median_s=statistics.median(spans) if spans else None,
        longest_s=max(spans, default=None),
        vcpus=vcpus,
        memory_mib=memory,
        peak_bytes=max(peaks, default=None),
        cpus=sum(usage.cpu_seconds for usage in told) / span if span else None,
        cost=_sum(task.cost for task in tasks),
        wasted=_wasted(tasks),
        advice=_advice(max(peaks, default=None), memory, busiest, vcpus),
    )


def _advice(
    peak_bytes: int | None, memory_mib: int | None, cpus: float | None, vcpus: float | None
) -> str | None:
    advice, known = [], False
    if peak_bytes is not None and memory_mib:
        known = True
        share = peak_bytes / MIB / memory_mib
        wanted = math.ceil(peak_bytes / MIB * HEADROOM / MEMORY_STEP_MIB) * MEMORY_STEP_MIB
        if share >= TIGHT:
            advice.append(f"close to its limit: ask for {wanted:,} MiB")
        elif share < ROOMY and wanted < memory_mib:
            advice.append(f"could ask for {wanted:,} MiB")
    if cpus is not None and vcpus:
        known = True
        least = max(1, math.ceil(cpus * HEADROOM))
        if cpus < ROOMY * vcpus and least < vcpus:
            advice.append(f"could ask for {least} {'CPU' if least == 1 else 'CPUs'}")
    return "; ".join(advice) or ("fits" if known else None)


def _wasted(tasks: Iterable[TaskRecord]) -> float | None:
    return _sum(a.cost for task in tasks for a in task.attempts if a.ok is False)


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
