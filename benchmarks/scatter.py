"""A scatter of trivial tasks: what they cost is what the way to them costs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .harness import (
    FLOOR,
    HERE,
    OURS,
    PEER,
    PEER_TUNED,
    PEER_TUNING,
    Bed,
    Figure,
    Result,
    Row,
    Workflow,
    WrongOutputs,
    embedded_aws,
    run_floor,
)

AIM_SHARDS = 1000
"""The aims are for so many shards."""
ALLOWED_CALLS = 50
"""Batch calls a second in the throttled benchmark."""


def workflow(shards: int) -> Workflow:
    """The scatter of so many tasks."""
    inputs = (f"shards={shards}",)
    return Workflow(
        f"{shards:,} shards",
        HERE / "scatter.wdl",
        inputs,
        shards,
        functools.partial(check, shards=shards),
    )


def check(outputs: Mapping[str, Any], shards: int) -> None:
    """The shards' numbers squared."""
    if outputs["scatter_shards.squares"] != [n * n for n in range(shards)]:
        raise WrongOutputs("the scatter's outputs are wrong")


def measure(
    bed: Bed,
    result: Result,
    sizes: Sequence[int],
    times: int,
    peer_sizes: Sequence[int] = (),
    tuned_sizes: Sequence[int] = (),
) -> None:
    """All rows.

    Parameters
    ----------
    result
        Gets them.
    sizes
        Numbers of shards.
    times
        How often the floor and we run each.
    peer_sizes, tuned_sizes
        Those that the peer runs too, once: as it is, a second for each shard; and tuned.
    """
    result.title = "Scatter of trivial tasks"
    for shards in sorted({*sizes, *peer_sizes, *tuned_sizes}):
        flow = workflow(shards)
        if shards in sizes:
            floor = result.add(
                flow, FLOOR, times, lambda w, name: run_floor(w, bed.scratch / FLOOR, name)
            )
            ours = result.add(flow, OURS, times, bed.ours)
            if floor and ours:
                result.figures += _figures(shards, floor, ours)
        if bed.peer_bin and shards in tuned_sizes:
            tuned = functools.partial(bed.peer, extra_env=PEER_TUNING)
            result.add(flow, PEER_TUNED, 1, tuned)
        if bed.peer_bin and shards in peer_sizes:
            result.add(flow, PEER, 1, bed.peer)


def _figures(shards: int, floor: Row, ours: Row) -> list[Figure]:
    at_aim = shards == AIM_SHARDS
    wall, cpu = ours.wall_s / floor.wall_s, ours.cpu_s / floor.cpu_s
    all_calls = ours.median(lambda run: sum(run.calls.values()))
    engine = ours.median(lambda run: run.engine_s) / floor.median(lambda run: run.engine_s)
    return [
        Figure(
            f"{shards:,} shards, wall",
            "at most 2.5 x floor",
            f"{wall:.2f} x ({ours.wall_s:.1f} s, floor {floor.wall_s:.1f} s; the engine's process"
            f" alone {engine:.2f} x)",
            wall <= 2.5 if at_aim else None,
        ),
        Figure(
            f"API calls a task at {shards:,} shards",
            "at most 0.1",
            f"{ours.calls_a_task:.3f} (with those of submitting and following"
            f" {all_calls / shards:.3f})",
            ours.calls_a_task <= 0.1 if at_aim else None,
        ),
        Figure(
            f"engine CPU a task at {shards:,} shards",
            "at most 1.5 x floor",
            f"{cpu:.2f} x ({1000 * ours.cpu_s / shards:.1f} ms,"
            f" floor {1000 * floor.cpu_s / shards:.1f} ms)",
            cpu <= 1.5 if at_aim else None,
        ),
    ]


def measure_throttled(scratch: Path, result: Result, shards: int) -> None:
    """The same where Batch answers no more than `ALLOWED_CALLS` calls a second."""
    result.title = f"{shards:,} shards, Batch answers {ALLOWED_CALLS} calls a second"
    options = ("--allow-calls-per-second", str(ALLOWED_CALLS))
    with embedded_aws(scratch, False, *options) as bed:
        row = result.add(workflow(shards), OURS, 1, bed.ours)
    if row is None:
        return
    failed = failed_attempts(row.runs[0].directory)
    result.figures.append(
        Figure(
            f"{shards:,} shards at {ALLOWED_CALLS} calls a second",
            "completes, no throttling error reaches a task",
            f"completed in {row.wall_s:.0f} s, {failed} failed attempts",
            failed == 0,
        )
    )


def failed_attempts(run_dir: Path) -> int:
    """Attempts of tasks that failed: of each the engine puts the working directory aside, and the
    last one leaves an error.json."""
    found = (path for name in ("work.try*", "error.json") for path in run_dir.rglob(name))
    return sum(1 for _ in found)
