"""The few files that an engine and the task script share beside a task.

In the task's run directory, with ``N`` empty for the first attempt, then 2, 3, …::

    command            the task's command, written by the engine
    env.sh             its environment, only if it has any
    stdoutN.txt        written by the task script
    stderrN.txt
    task_statusN.txt   start, end, exit code and peak memory, written by the task script
    work/              the command's working directory; earlier attempts' are kept as work.tryM/
"""

from __future__ import annotations

import importlib.resources
import shlex
from collections.abc import Mapping
from pathlib import Path

from ..jobs.outcome import TaskResult


def task_script() -> str:
    """The task script, without comments and blank lines: it travels in each DescribeJobs answer."""
    text = importlib.resources.files(__package__).joinpath("task_script.bash").read_text()
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))


def attempt_suffix(attempt: int) -> str:
    """What names of an attempt's files have before their extension."""
    return str(attempt) if attempt > 1 else ""


def status_file(task_dir: Path, attempt: int) -> Path:
    """Where the task script records an attempt."""
    return task_dir / f"task_status{attempt_suffix(attempt)}.txt"


def write_environment(task_dir: Path, environment: Mapping[str, str]) -> None:
    """Write the task's environment as a shell script, or nothing if it is empty."""
    path = task_dir / "env.sh"
    if environment:
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
        path.write_text("".join(lines))
    else:
        path.unlink(missing_ok=True)


def read_result(task_dir: Path, attempt: int) -> TaskResult | None:
    """What the task script recorded of an attempt; ``None`` if it never began."""
    try:
        text = status_file(task_dir, attempt).read_text()
    except OSError:
        return None
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return TaskResult(
        exit_code=_int(fields.get("exit_code")),
        peak_memory_bytes=_int(fields.get("peak_memory_bytes")),
        start=_float(fields.get("start")),
        end=_float(fields.get("end")),
    )


def _int(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _float(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
