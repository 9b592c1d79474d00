"""The same scatter and the same sleeps with tasks on Fargate, beside what they are on Batch."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from . import scatter, sleeps
from .harness import OURS, Bed, Figure, Result, percentile

ENGINE = {"MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_fargate"}
SHARED = {**ENGINE, "MINIWDL__AWS__ISOLATION": "shared"}
STRICT = {**ENGINE, "MINIWDL__AWS__ISOLATION": "strict"}
LAUNCHES_PER_S = 20
"""Tasks that ECS starts a second for an account, and calls of RunTask (ECS developer guide, "AWS
Fargate throttling quotas"); the embedded AWS keeps to it."""
DEFINITIONS_BURST = 20


def measure(bed: Bed, result: Result, shards: int, isolated: int, jobs: int, times: int) -> None:
    """All rows.

    Parameters
    ----------
    shards
        Tasks of the scatter that see the whole filesystem.
    isolated
        Tasks of the scatter that are isolated, of which ECS lets one a second start.
    jobs
        Sleeps, for the notice latency.
    times
        How often the first is run.
    """
    result.title = "Tasks on Fargate"
    _scatter(bed, result, shards, times, "shared", SHARED, shards / LAUNCHES_PER_S)
    _scatter(bed, result, isolated, 1, "isolated", STRICT, max(0, isolated - DEFINITIONS_BURST))
    _latency(bed, result, jobs)


def _scatter(
    bed: Bed,
    result: Result,
    shards: int,
    times: int,
    how: str,
    env: Mapping[str, str],
    least_s: float,
) -> None:
    flow = scatter.workflow(shards)
    who = f"{OURS}, Fargate, {how}"
    row = result.add(flow, who, times, functools.partial(bed.ours, extra_env=env))
    if row is None:
        return
    throttled = sum(scatter.failed_attempts(run.directory) for run in row.runs)
    result.figures += [
        Figure(
            f"{shards:,} shards on Fargate, {how}, wall",
            f"(ECS's quotas alone {least_s:.0f} s)",
            f"{row.wall_s:.1f} s",
            None,
        ),
        Figure(
            f"{shards:,} shards on Fargate, {how}: throttling",
            "reaches no task",
            f"{throttled} failed attempts",
            throttled == 0,
        ),
        Figure(
            f"{shards:,} shards on Fargate, {how}: API calls and engine CPU a task",
            "(none)",
            f"{row.calls_a_task:.2f} calls, {1000 * row.cpu_s / shards:.1f} ms",
            None,
        ),
    ]


def _latency(bed: Bed, result: Result, jobs: int) -> None:
    base, step = sleeps.LATENCY_BASE_MS, sleeps.LATENCY_STEP_MS
    flow = sleeps.workflow(jobs, base, step, f"{jobs} sleeps")
    logged = {**SHARED, "MINIWDL__LOGGING__JSON": "true"}
    who = f"{OURS}, Fargate, polling"
    row = result.add(flow, who, 1, functools.partial(bed.ours, extra_env=logged))
    if row is None:
        return
    found = sleeps.latencies(row.runs[0].directory)
    if len(found) != jobs:
        raise RuntimeError(f"{len(found)} of {jobs} tasks have a notice latency")
    result.figures.append(
        Figure(
            f"notice latency of {jobs} tasks on Fargate, polling: p50 / p95",
            "0.6 / 1.2 s",
            f"{percentile(found, 0.5):.2f} / {percentile(found, 0.95):.2f} s"
            f" (largest {max(found):.2f} s)",
            None,
        )
    )
