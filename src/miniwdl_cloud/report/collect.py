"""From a run directory to a report: miniwdl's files, and those that our engines leave beside them.

Times that no job's detail tells are those of files: miniwdl writes ``inputs.json`` when it takes a
task up, and ``outputs.json`` or ``error.json`` when it is done with it (`WDL.runtime.task`,
`run_local_task`). All that is read here may have been written by a task; nothing is followed out of
the run directory.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..engines.batch_queue import snapshot_of
from ..engines.task_files import attempt_suffix, read_result
from ..errors import NotFound, UsageError
from ..jobs.outcome import JobOutcome, TaskResult, Verdict, classify
from .model import Attempt, Report, TaskRecord, TaskState

READERS = 16
"""Tasks that are read at a time: a network filesystem answers each look late, but many at once."""
TAIL_BYTES = 6000
TAIL_LINES = 40
JSON_MAX = 16 * 2**20
"""Bytes of a file beyond which it is none of those that are expected."""
_STAMP = re.compile(r"\d{8}_\d{6}_")
_DETAIL = re.compile(r"awsBatchJobDetail\.(.+)\.json")


def collect(run_dir: Path, now: float | None = None) -> Report:
    """Read a run directory.

    Parameters
    ----------
    run_dir
        As miniwdl made it, of a workflow or of a single task; the run may be going on.
    now
        Time of the report in seconds since the epoch.

    Raises
    ------
    NotFound
        There is no such directory.
    UsageError
        It is not a run directory.
    """
    if not run_dir.is_dir():
        raise NotFound(f"There is no directory {run_dir}; give a run directory of miniwdl.")
    run_dir = run_dir.resolve()
    if (run_dir / "workflow.log").is_file():
        found = list(_calls(run_dir, ()))
    elif (run_dir / "task.log").is_file():
        found = [(run_dir, _STAMP.sub("", run_dir.name), "")]
    else:
        raise UsageError(
            f"{run_dir} is not a run directory of miniwdl: it has neither workflow.log nor"
            " task.log; give the directory that miniwdl named."
        )
    with ThreadPoolExecutor(READERS, thread_name_prefix="report") as readers:
        tasks = list(readers.map(lambda item: _task(run_dir, *item), found))
    tasks.sort(key=lambda task: (task.ready or 0.0, task.directory))
    state, error = _end_of(run_dir)
    return Report(
        name=_STAMP.sub("", run_dir.name),
        directory=str(run_dir),
        state="succeeded" if state is TaskState.CACHED else state.value,
        started=_mtime(run_dir / "inputs.json"),
        ended=_mtime(run_dir / "outputs.json") or _mtime(run_dir / "error.json"),
        error=error,
        tasks=tasks,
        missing=_missing(tasks),
        made=time.time() if now is None else now,
    )


def _calls(directory: Path, path: tuple[str, ...]) -> list[tuple[Path, str, str]]:
    """Task directories below a workflow's, with call name and shard."""
    found: list[tuple[Path, str, str]] = []
    with os.scandir(directory) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if entry.name.startswith("call-") and entry.is_dir(follow_symlinks=False)
        )
    for name in names:
        below = directory / name
        call, _, shard = name.removeprefix("call-").partition("-")
        if (below / "workflow.log").is_file():
            part = f"{call}[{shard}]" if shard else call
            found += _calls(below, (*path, part))
        elif (below / "task.log").is_file():
            found.append((below, ".".join((*path, call)), shard))
    return found


def _task(run_dir: Path, directory: Path, call: str, shard: str) -> TaskRecord:
    names = {path.name for path in directory.iterdir()}
    attempts = _attempts(directory, names)
    state, error = _end_of(directory)
    ready = _mtime(directory / "inputs.json")
    ended = _mtime(directory / "outputs.json") or _mtime(directory / "error.json")
    if state is TaskState.CACHED and ("command" in names or attempts):
        state = TaskState.SUCCEEDED
    if not attempts and state not in (TaskState.CACHED, TaskState.UNFINISHED):
        attempts = [_attempt_without_detail(directory, names, state, ready, ended)]
    number = attempts[-1].number if attempts else 1
    return TaskRecord(
        call=call,
        shard=shard,
        directory=os.path.relpath(directory, run_dir),
        state=state,
        attempts=tuple(attempts),
        ready=ready,
        ended=ended,
        error=error,
        log_tail=_tail(directory / f"stderr{attempt_suffix(number)}.txt")
        if state is TaskState.FAILED
        else None,
    )


def _attempts(directory: Path, names: set[str]) -> list[Attempt]:
    """The attempts that our engines left details of, in their order."""
    details = []
    for name in names:
        if _DETAIL.fullmatch(name):
            detail = _json(directory / name)
            if isinstance(detail.get("jobId"), str) and isinstance(detail.get("status"), str):
                details.append(detail)
    details.sort(key=lambda detail: (_number(detail.get("createdAt")) or 0.0, detail["jobId"]))
    claims = {
        _link(directory / name): int(name[5:] or 1)
        for name in names
        if re.fullmatch(r"claim\d*", name)
    }
    attempts = []
    for position, detail in enumerate(details, 1):
        number = claims.get(detail["jobId"]) or _number_by_variable(detail) or position
        attempts.append(_attempt(detail, number, read_result(directory, number)))
    return sorted(attempts, key=lambda attempt: attempt.number)


def _attempt(detail: Mapping[str, Any], number: int, result: TaskResult | None) -> Attempt:
    container = _mapping(detail.get("container"))
    needs = {
        need.get("type"): _number(need.get("value"))
        for need in container.get("resourceRequirements") or []
        if isinstance(need, dict)
    }
    outcome = _outcome(detail, result)
    started = _milliseconds(detail.get("startedAt")) or (result.start if result else None)
    ended = _milliseconds(detail.get("stoppedAt")) or (result.end if result else None)
    ended_at_all = detail.get("status") in ("SUCCEEDED", "FAILED")
    capabilities = detail.get("platformCapabilities") or []
    memory = needs.get("MEMORY")
    ok = outcome.verdict is Verdict.SUCCESS and not outcome.exit_code
    return Attempt(
        number=number,
        job_id=str(detail["jobId"]),
        created=_milliseconds(detail.get("createdAt")),
        started=started,
        ended=ended,
        ok=ok if ended_at_all else None,
        exit_code=outcome.exit_code,
        reason=None
        if ok or not ended_at_all
        else outcome.message.removesuffix(f" (job {detail['jobId']})"),
        log_stream=_text(container.get("logStreamName")),
        vcpus=needs.get("VCPU"),
        memory_mib=int(memory) if memory is not None else None,
        gpus=int(needs.get("GPU") or 0),
        peak_bytes=result.peak_memory_bytes if result else None,
        platform=str(capabilities[0]) if capabilities else None,
    )


def _attempt_without_detail(
    directory: Path, names: set[str], state: TaskState, ready: float | None, ended: float | None
) -> Attempt:
    """What is known of a task that another engine ran: the last attempt, by its files."""
    numbers = [int(m[1] or 1) for m in (re.fullmatch(r"stdout(\d*)\.txt", n) for n in names) if m]
    number = max(numbers, default=1)
    result = read_result(directory, number)
    return Attempt(
        number=number,
        started=(result.start if result else None) or ready,
        ended=(result.end if result else None) or ended,
        ok=state is TaskState.SUCCEEDED,
        exit_code=result.exit_code if result else None,
        peak_bytes=result.peak_memory_bytes if result else None,
    )


def _outcome(detail: Mapping[str, Any], result: TaskResult | None) -> JobOutcome:
    try:
        return classify(snapshot_of(detail), result)
    except (AttributeError, KeyError, TypeError):
        # A file of that name that is none of ours.
        return JobOutcome(Verdict.FAILED, None, "its detail cannot be read")


def _end_of(directory: Path) -> tuple[TaskState, str | None]:
    """How a run or task ended, and what error.json says. `CACHED` stands for any good end."""
    if (directory / "outputs.json").is_file():
        return TaskState.CACHED, None
    if not (directory / "error.json").is_file():
        return TaskState.UNFINISHED, None
    error = _json(directory / "error.json")
    cause = _mapping(error.get("cause")) or error
    kind = _text(cause.get("error")) or "error"
    if kind == "Terminated":
        return TaskState.STOPPED, None
    message = _text(cause.get("message"))
    if message is None and cause.get("exit_status") is not None:
        message = f"the command ended with exit status {cause['exit_status']}"
    return TaskState.FAILED, f"{kind}: {message}" if message else kind


def _missing(tasks: list[TaskRecord]) -> list[str]:
    attempts = [attempt for task in tasks for attempt in task.attempts]
    missing = []
    if not attempts:
        return ["No task of this run has run a job: all came from the call cache, or none began."]
    foreign = sum(1 for attempt in attempts if attempt.job_id is None)
    if foreign:
        who = "The tasks were" if foreign == len(attempts) else f"{foreign:,} tasks were"
        missing.append(
            f"{who} not run by an engine of miniwdl-cloud, or never reached one: what they"
            " reserved, how long they waited, what they cost and their earlier attempts are not"
            " known, and their times are those of miniwdl's files."
        )
    ran = [attempt for attempt in attempts if attempt.job_id and attempt.started]
    unmeasured = sum(1 for attempt in ran if attempt.peak_bytes is None)
    if unmeasured:
        missing.append(
            f"Peak memory is not known of {unmeasured:,} of {len(ran):,} attempts: the container"
            " was killed, or its kernel does not tell."
        )
    missing.append("The use of CPUs and disks is not measured.")
    return missing


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.is_symlink() or path.stat().st_size > JSON_MAX:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _tail(path: Path) -> str | None:
    """The last lines of a log; what is cut off is replaced by an ellipsis."""
    try:
        if path.is_symlink():
            return None
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    lines = text.rstrip().split("\n")
    cut = size > TAIL_BYTES or len(lines) > TAIL_LINES
    return ("…\n" if cut else "") + "\n".join(lines[-TAIL_LINES:])


def _number_by_variable(detail: Mapping[str, Any]) -> int | None:
    for pair in _mapping(detail.get("container")).get("environment") or []:
        if isinstance(pair, dict) and pair.get("name") == "MINIWDL_CLOUD_TRY":
            value = str(pair.get("value") or "1")
            return int(value) if value.isdecimal() else None
    return None


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _mtime(path: Path) -> float | None:
    try:
        return path.lstat().st_mtime
    except OSError:
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _milliseconds(value: Any) -> float | None:
    number = _number(value)
    return number / 1000 if number else None
