"""From a run directory to a report: miniwdl's files, and those that our engines leave beside them.

Times that no job's detail tells are those of files: miniwdl writes ``inputs.json`` when it takes a
task up, and ``outputs.json`` or ``error.json`` when it is done with it (`WDL.runtime.task`,
`run_local_task`). All that is read here may have been written by a task; nothing is followed out of
the run directory.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..engines.task_files import attempt_suffix
from ..errors import NotFound, UsageError
from .cost import ESTIMATE, Basis
from .details import attempts_of, is_plain, mapping, read_json, record_of, text_of
from .model import Attempt, Report, TaskRecord, TaskState

READERS = 16
"""Tasks that are read at a time: a network filesystem answers each look late, but many at once."""
TAIL_BYTES = 6000
TAIL_LINES = 40
_STAMP = re.compile(r"\d{8}_\d{6}_")


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
        basis=Basis(sources=_sources(tasks)),
        made=time.time() if now is None else now,
    )


def _calls(
    directory: Path, path: tuple[str, ...], shards: tuple[str, ...] = ()
) -> list[tuple[Path, str, str]]:
    """Task directories below a workflow's, with call name and shard.

    Shards of a subworkflow are told as its tasks' are, so that all tasks of one call have its name.
    """
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
        within = (*shards, shard) if shard else shards
        if (below / "workflow.log").is_file():
            found += _calls(below, (*path, call), within)
        elif (below / "task.log").is_file():
            found.append((below, ".".join((*path, call)), ", ".join(within)))
    return found


def _task(run_dir: Path, directory: Path, call: str, shard: str) -> TaskRecord:
    names = {path.name for path in directory.iterdir()}
    attempts = attempts_of(directory, names)
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


def _attempt_without_detail(
    directory: Path, names: set[str], state: TaskState, ready: float | None, ended: float | None
) -> Attempt:
    """What is known of a task that another engine ran: the last attempt, by its files."""
    numbers = [int(m[1] or 1) for m in (re.fullmatch(r"stdout(\d*)\.txt", n) for n in names) if m]
    number = max(numbers, default=1)
    result = record_of(directory, number)
    return Attempt(
        number=number,
        started=(result.start if result else None) or ready,
        ended=(result.end if result else None) or ended,
        ok=state is TaskState.SUCCEEDED,
        exit_code=result.exit_code if result else None,
        peak_bytes=result.peak_memory_bytes if result else None,
    )


def _end_of(directory: Path) -> tuple[TaskState, str | None]:
    """How a run or task ended, and what error.json says. `CACHED` stands for any good end."""
    if (directory / "outputs.json").is_file():
        return TaskState.CACHED, None
    if not (directory / "error.json").is_file():
        return TaskState.UNFINISHED, None
    error = read_json(directory / "error.json")
    cause = mapping(error.get("cause")) or error
    kind = text_of(cause.get("error")) or "error"
    if kind == "Terminated":
        return TaskState.STOPPED, None
    message = text_of(cause.get("message"))
    if message is None and cause.get("exit_status") is not None:
        message = f"the command ended with exit status {cause['exit_status']}"
    return TaskState.FAILED, f"{kind}: {message}" if message else kind


def _sources(tasks: list[TaskRecord]) -> list[tuple[str, int]]:
    """Where prices of attempts are from, and of how many, most first."""
    counted = Counter(
        attempt.price.source if attempt.price else ESTIMATE
        for task in tasks
        for attempt in task.attempts
        if attempt.cost is not None
    )
    return counted.most_common()


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
    unmeasured = sum(1 for attempt in ran if attempt.used_bytes is None)
    if unmeasured:
        missing.append(
            f"Peak memory is not known of {unmeasured:,} of {len(ran):,} attempts: the container"
            " was killed, or its kernel does not tell."
        )
    unsampled = sum(1 for attempt in ran if attempt.cpus is None)
    if unsampled:
        missing.append(
            f"The CPUs in use are not known of {unsampled:,} of {len(ran):,} attempts: they were"
            " too short, sampling was off, or the container has no cgroup of its own."
        )
    unpriced = sum(1 for attempt in ran if attempt.price is None)
    if unpriced:
        missing.append(
            f"The engine noted no price of {unpriced:,} of {len(ran):,} attempts, which are"
            " estimated by bundled prices."
        )
    return missing


def _tail(path: Path) -> str | None:
    """The last lines of a log; what is cut off is replaced by an ellipsis."""
    if not is_plain(path):
        return None
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    lines = text.rstrip().split("\n")
    cut = size > TAIL_BYTES or len(lines) > TAIL_LINES
    return ("…\n" if cut else "") + "\n".join(lines[-TAIL_LINES:])


def _mtime(path: Path) -> float | None:
    try:
        return path.lstat().st_mtime
    except OSError:
        return None
