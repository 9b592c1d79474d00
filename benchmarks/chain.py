"""Tasks one after another: what each adds beyond its own work."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .harness import (
    FLOOR,
    OURS,
    PEER,
    PEER_TUNED,
    PEER_TUNING,
    POLLING,
    Bed,
    Figure,
    Result,
    Row,
    Workflow,
    WrongOutputs,
    run_floor,
)

AIM_LENGTH = 200
PEER_MOST = 20
"""Tasks of the chain that the peer runs: its seconds a task do not depend on how many there are."""

_TASK = """
task step {
    input {
        Int number
        String label
    }

    command <<<
        # ~{label}
        echo $(( ~{number} + 1 ))
    >>>

    output {
        Int next = read_int(stdout())
    }

    runtime {
        cpu: 1
        memory: "1 GiB"
    }
}
"""


def workflow(length: int, directory: Path) -> Workflow:
    """A chain of so many tasks; WDL has no loop for it, so each call is written out."""
    calls = [
        f"    call step as step{n} {{ input: label = label, number = "
        + (f"step{n - 1}.next }}" if n else "0 }")
        for n in range(length)
    ]
    lines = [
        "version 1.0",
        "workflow chain {",
        "    input {",
        "        String label",
        "    }",
        *calls,
        "    output {",
        f"        Int last = step{length - 1}.next",
        "    }",
        "}",
    ]
    wdl = directory / f"chain{length}.wdl"
    wdl.write_text("\n".join(lines) + "\n" + _TASK)
    what = f"chain of {length}"
    return Workflow(what, wdl, (), length, functools.partial(check, length=length))


def check(outputs: Mapping[str, Any], length: int) -> None:
    """Each task adds one."""
    if outputs["chain.last"] != length:
        raise WrongOutputs("the chain's output is wrong")


def measure(bed: Bed, result: Result, length: int, times: int) -> None:
    """All rows.

    Parameters
    ----------
    result
        Gets them.
    length
        Tasks in the chain.
    times
        How often the floor and we run it.
    """
    result.title = "Chain of dependent tasks"
    flow = workflow(length, bed.scratch)
    floor = result.add(flow, FLOOR, times, lambda w, name: run_floor(w, bed.scratch / FLOOR, name))
    for way, aim, env in (("polling", 0.7, POLLING), ("push", 0.3, {})):
        who = f"{OURS}, {way}"
        ours = result.add(flow, who, times, functools.partial(bed.ours, extra_env=env))
        if floor is None or ours is None:
            continue
        overhead = (ours.wall_s - floor.wall_s) / length
        result.figures.append(
            Figure(
                f"chain of {length}, overhead a task beside floor, {way}",
                f"at most {aim} s",
                f"{overhead:.2f} s" + _engine_alone(ours, floor, length),
                overhead <= aim if length == AIM_LENGTH else None,
            )
        )
    if bed.peer_bin:
        short = workflow(min(length, PEER_MOST), bed.scratch)
        result.add(short, PEER, 1, bed.peer)
        tuned = functools.partial(bed.peer, extra_env=PEER_TUNING)
        result.add(short, PEER_TUNED, 1, tuned)


def _engine_alone(ours: Row, floor: Row, length: int) -> str:
    alone = ours.median(lambda run: run.engine_s) - floor.median(lambda run: run.engine_s)
    return f" (the engine's process alone {alone / length:.2f} s)"
