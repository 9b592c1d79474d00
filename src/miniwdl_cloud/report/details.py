"""Attempts at a task, by the files that our engines leave beside it: the queue service's detail of
each job (``awsBatchJobDetail.ID.json``, ``ecsTask.ID.json``), and what the task script recorded."""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..costs.machine import Machine, billed, moment
from ..costs.quote import Quote
from ..costs.usage import Usage
from ..engines.batch_queue import snapshot_of
from ..engines.ecs_snapshot import snapshot_of_task
from ..engines.task_files import attempt_suffix, read_result, status_file
from ..jobs.outcome import TaskResult, Verdict, classify
from ..jobs.request import JobSnapshot
from .model import Attempt

JSON_MAX = 16 * 2**20
"""Bytes of a file beyond which it is none of those that are expected."""
RECORD_MAX = 64 * 2**10
"""The same of the task script's records."""
_DETAIL = re.compile(r"(awsBatchJobDetail|ecsTask)\..+\.json")
_CLAIM = re.compile(r"claim(\d*)")


def attempts_of(directory: Path, names: set[str]) -> list[Attempt]:
    """The attempts that there are details of, in their order.

    Parameters
    ----------
    directory
        The task's run directory.
    names
        Of the files in it.
    """
    details = []
    for name in sorted(names):
        match = _DETAIL.fullmatch(name)
        if match is None:
            continue
        detail = read_json(directory / name)
        try:
            snapshot = (snapshot_of_task if match[1] == "ecsTask" else snapshot_of)(detail)
        except (AttributeError, KeyError, TypeError, ValueError):
            continue  # a file of that name that is none of ours
        details.append((moment(detail.get("createdAt")) or 0.0, snapshot, detail))
    details.sort(key=lambda item: (item[0], str(item[1].job_id)))
    claims = {claim: number for number, claim in _claims(directory, names)}
    attempts = []
    for position, (created, snapshot, detail) in enumerate(details, 1):
        number = claims.get(snapshot.job_id) or _number_by_variable(detail) or position
        record = record_of(directory, number)
        try:
            attempts.append(_attempt(snapshot, detail, number, created or None, record))
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
    return sorted(attempts, key=lambda attempt: attempt.number)


def record_of(directory: Path, number: int) -> TaskResult | None:
    """What the task script recorded of an attempt; an isolated task's records are in a directory
    of the attempt's own."""
    for place in (directory, directory / f"job{attempt_suffix(number)}"):
        if is_plain(status_file(place, number), RECORD_MAX):
            return read_result(place, number)
    return None


def is_plain(path: Path, most: int | None = None) -> bool:
    """Whether there is a regular file, of not more than ``most`` bytes: a task may have put a link
    there that leads out of the run, or a pipe that nobody writes to."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and (most is None or status.st_size <= most)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one if it cannot be read."""
    if not is_plain(path, JSON_MAX):
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return mapping(found)


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def text_of(value: Any) -> str | None:
    """The value if it is a text."""
    return value if isinstance(value, str) else None


def _attempt(
    snapshot: JobSnapshot,
    detail: Mapping[str, Any],
    number: int,
    created: float | None,
    result: TaskResult | None,
) -> Attempt:
    ended = snapshot.state.ended
    outcome = classify(snapshot, result)
    ok = outcome.verdict is Verdict.SUCCESS and not outcome.exit_code
    vcpus, memory_mib, gpus, platform = _reserved(detail)
    began = moment(detail.get("startedAt")) or (result.start if result else None)
    over = moment(detail.get("stoppedAt")) or (result.end if result else None)
    job_id = str(snapshot.job_id)
    noted = mapping(detail.get("miniwdlCloud"))
    paid_from, paid_to = billed(detail)
    return Attempt(
        number=number,
        job_id=job_id.rpartition("/")[2],
        created=created,
        started=began,
        ended=over,
        ok=ok if ended else None,
        exit_code=outcome.exit_code,
        reason=outcome.message.removesuffix(f" (job {job_id})") if ended and not ok else None,
        log_stream=text_of(snapshot.log_stream),
        vcpus=vcpus,
        memory_mib=memory_mib,
        gpus=gpus,
        peak_bytes=result.peak_memory_bytes if result else None,
        platform=platform,
        interrupted=ended
        and not ok
        and outcome.verdict in (Verdict.INTERRUPTED, Verdict.INFRASTRUCTURE),
        usage=_usage(mapping(noted.get("usage"))),
        price=_price(mapping(noted.get("price"))),
        billed_s=max(0.0, paid_to - paid_from) if paid_from and paid_to else None,
    )


def _usage(noted: Mapping[str, Any]) -> Usage | None:
    try:
        return Usage(
            seconds=float(noted["seconds"]),
            cpu_seconds=float(noted["cpuSeconds"]),
            peak_memory_bytes=int(noted["peakMemoryBytes"]),
            mean_memory_bytes=int(noted["meanMemoryBytes"]),
            disk_bytes=int(noted["diskBytes"]),
            samples=int(noted["samples"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _price(noted: Mapping[str, Any]) -> Quote | None:
    hourly = _number(noted.get("usdPerHour"))
    if hourly is None or not math.isfinite(hourly):
        return None
    machine, told = None, mapping(noted.get("machine"))
    if told:
        lifecycle = told.get("lifecycle")
        machine = Machine(
            kind=str(told.get("kind")),
            spot=None if lifecycle is None else lifecycle == "spot",
            zone=text_of(told.get("availabilityZone")),
            instance_type=text_of(told.get("instanceType")),
            architecture=text_of(told.get("architecture")),
        )
    return Quote(hourly, str(noted.get("source")), machine)


def _reserved(detail: Mapping[str, Any]) -> tuple[float | None, int | None, int, str | None]:
    """vCPUs, MiB, GPUs and platform of a job."""
    if "taskArn" in detail:
        # ECS counts 1,024 units a vCPU (API reference, Task, `cpu`).
        units, memory = _number(detail.get("cpu")), _number(detail.get("memory"))
        return units and units / 1024, int(memory) if memory else None, 0, "FARGATE"
    needs = {
        need.get("type"): _number(need.get("value"))
        for need in mapping(detail.get("container")).get("resourceRequirements") or []
        if isinstance(need, dict)
    }
    memory = needs.get("MEMORY")
    capabilities = detail.get("platformCapabilities") or [None]
    return (
        needs.get("VCPU"),
        int(memory) if memory else None,
        int(needs.get("GPU") or 0),
        text_of(capabilities[0]),
    )


def _claims(directory: Path, names: set[str]) -> Iterator[tuple[int, str]]:
    """Number of each attempt, and the id of the job that ran it."""
    for name in names:
        match = _CLAIM.fullmatch(name) or re.fullmatch(r"job(\d*)", name)
        if match is None:
            continue
        place = directory if name.startswith("claim") else directory / name
        try:
            yield int(match[1] or 1), str((place / f"claim{match[1]}").readlink())
        except OSError:
            continue


def _number_by_variable(detail: Mapping[str, Any]) -> int | None:
    places = [
        mapping(detail.get("container")),
        *map(mapping, mapping(detail.get("overrides")).get("containerOverrides") or []),
    ]
    for place in places:
        for pair in place.get("environment") or []:
            if isinstance(pair, dict) and pair.get("name") == "MINIWDL_CLOUD_TRY":
                value = str(pair.get("value") or "1")
                return int(value) if value.isdecimal() else None
    return None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
