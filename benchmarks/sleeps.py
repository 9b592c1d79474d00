"""Tasks that only wait: how many at a time one engine drives, and how soon it sees them end."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .harness import (
    HERE,
    OURS,
    PEER_TUNED,
    PEER_TUNING,
    POLLING,
    Bed,
    Figure,
    Result,
    Workflow,
    WrongOutputs,
    percentile,
)

AIM_SLEEPERS, AIM_SLEEP_S = 2000, 60.0
AIM_LATENCY_JOBS = 100
LATENCY_BASE_MS, LATENCY_STEP_MS = 5000, 200
"""Each task ends a moment after the one before, so that each end has to be noticed by itself."""


def workflow(tasks: int, base_ms: int, step_ms: int, what: str) -> Workflow:
    """So many sleeps at a time."""
    inputs = (f"tasks={tasks}", f"base_ms={base_ms}", f"step_ms={step_ms}")
    return Workflow(what, HERE / "sleeps.wdl", inputs, tasks, functools.partial(check, tasks=tasks))


def check(outputs: Mapping[str, Any], tasks: int) -> None:
    """The tasks' numbers."""
    if outputs["sleeps.numbers"] != list(range(tasks)):
        raise WrongOutputs("the sleeps' outputs are wrong")


def measure(bed: Bed, result: Result, tasks: int, seconds: float) -> None:
    """One wide scatter of long sleeps."""
    what = f"{tasks:,} sleeps of {seconds:g} s"
    result.title = f"{what} at a time"
    row = result.add(workflow(tasks, round(seconds * 1000), 0, what), OURS, 1, bed.ours)
    if row is None:
        return
    at_aim = (tasks, seconds) == (AIM_SLEEPERS, AIM_SLEEP_S)
    peak = row.runs[0].peak_bytes / 2**20
    result.figures += [
        Figure(
            f"{what}, wall",
            "at most 120 s",
            f"{row.wall_s:.1f} s",
            row.wall_s <= 120 if at_aim else None,
        ),
        Figure(
            f"{what}, memory of the engine's process",
            "at most 1,024 MiB",
            f"{peak:.0f} MiB",
            peak <= 1024 if at_aim else None,
        ),
    ]


def measure_latency(bed: Bed, result: Result, jobs: int) -> None:
    """How long after a job's end its task's thread knows of it, by polling and by push."""
    result.title = "From a job's end to the engine's notice"
    for way, median, slowest, env in (("polling", 0.6, 1.2, POLLING), ("push", 0.2, 0.5, {})):
        flow = workflow(jobs, LATENCY_BASE_MS, LATENCY_STEP_MS, f"{jobs} sleeps, {way}")
        # Its log lines as JSON have milliseconds.
        logged = {**env, "MINIWDL__LOGGING__JSON": "true"}
        row = result.add(flow, OURS, 1, functools.partial(bed.ours, extra_env=logged))
        if row is None:
            continue
        found = latencies(row.runs[0].directory)
        if len(found) != jobs:
            raise RuntimeError(f"{len(found)} of {jobs} jobs have a notice latency")
        half, most = percentile(found, 0.5), percentile(found, 0.95)
        result.figures.append(
            Figure(
                f"notice latency of {jobs} jobs, {way}: p50 / p95",
                f"{median} / {slowest} s",
                f"{half:.2f} / {most:.2f} s (largest {max(found):.2f} s)",
                half <= median and most <= slowest if jobs == AIM_LATENCY_JOBS else None,
            )
        )
    if bed.peer_bin:
        flow = workflow(jobs, LATENCY_BASE_MS, LATENCY_STEP_MS, f"{jobs} sleeps")
        tuned = functools.partial(bed.peer, extra_env=PEER_TUNING)
        result.add(flow, PEER_TUNED, 1, tuned)


def latencies(run_dir: Path) -> list[float]:
    """Seconds from each job's end, by AWS, to the task's log line that says so."""
    found = []
    for name in ("awsBatchJobDetail", "ecsTask"):
        for detail in run_dir.glob(f"call-*/{name}.*.json"):
            job_id, ended = _end(json.loads(detail.read_text()))
            for line in (detail.parent / "task.log.json").read_text().splitlines():
                entry = json.loads(line)
                over = entry.get("status") in ("SUCCEEDED", "FAILED")
                if over and entry.get("jobId") == job_id:
                    found.append(entry["timestamp"] - ended)
    return found


def _end(detail: Mapping[str, Any]) -> tuple[str, float]:
    """Id, and seconds since the epoch at which it ended, of a Batch job or an ECS task."""
    if "taskArn" in detail:
        stopped = datetime.datetime.fromisoformat(detail["stoppedAt"])
        return detail["taskArn"], stopped.timestamp()
    return detail["jobId"], detail["stoppedAt"] / 1000
