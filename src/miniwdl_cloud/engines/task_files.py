"""The few files that an engine and the task script share beside a task.

In the task's run directory, with ``N`` empty for the first attempt, then 2, 3, …::

    command            the task's command, written by the engine
    env.sh             its environment, only if it has any
    stdoutN.txt        written by the task script
    stderrN.txt
    claimN             a link that no file is behind: its text is the id of the one job that may
                       run the attempt, made by the task script; or says that none may any more
    task_statusN.txt   start, end, exit code and peak memory, written by the task script
    work/              the command's working directory; earlier attempts' are kept as work.tryM/
"""

from __future__ import annotations

import importlib.resources
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from ..filesystems.weather import awaited, retried
from ..jobs.outcome import TaskResult

CLOSED = "closed"
"""A claim that no job can have: the attempt is over."""


def task_script() -> str:
    """The task script without comments, blank lines and indentation: it travels in each
    DescribeJobs answer."""
    text = importlib.resources.files(__package__).joinpath("task_script.bash").read_text()
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def attempt_suffix(attempt: int) -> str:
    """What names of an attempt's files have before their extension."""
    return str(attempt) if attempt > 1 else ""


def status_file(task_dir: Path, attempt: int) -> Path:
    """Where the task script records an attempt."""
    return task_dir / f"task_status{attempt_suffix(attempt)}.txt"


def write_command(task_dir: Path, command: str) -> None:
    """Write the task's command."""
    path = task_dir / "command"
    retried(lambda: path.write_text(command), path)


def write_environment(task_dir: Path, environment: Mapping[str, str]) -> None:
    """Write the task's environment as a shell script, or nothing if it is empty."""
    path = task_dir / "env.sh"
    if environment:
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
        retried(lambda: path.write_text("".join(lines)), path)
    else:
        retried(lambda: path.unlink(missing_ok=True), path)


def put_aside(work: Path, aside: Path) -> None:
    """Rename the working directory of an attempt that is over."""

    def rename() -> None:
        try:
            work.rename(aside)
        except FileNotFoundError:
            # It took effect, and the answer was lost: a filesystem's server may be replaced then.
            if not aside.exists():
                raise

    retried(rename, work)


def close_attempt(
    task_dir: Path, attempt: int, sleep: Callable[[float], None] | None = None
) -> str:
    """Make sure that no job begins an attempt any more; returns the claim that it has now.

    A submission whose answer was lost can turn out to have made a job after it was sent again: two
    jobs have the same task then. Each makes its claim before it begins. Making a symbolic link is
    atomic on NFS (RFC 8881, 18.4: CREATE fails with NFS4ERR_EXIST) as in POSIX, and it carries its
    text from the first moment on.

    Returns
    -------
    str
        `CLOSED` if no job had begun, else what `holds` compares with a job's id.
    """
    path = task_dir / f"claim{attempt_suffix(attempt)}"

    def close() -> str:
        try:
            path.symlink_to(CLOSED)
        except FileExistsError:
            return str(path.readlink())
        return CLOSED

    return retried(close, path, sleep=sleep)


def holds(job_id: str, claim: str) -> bool:
    """Whether a claim is a job's. One that begins with an at sign was made where no variable tells
    the job's id, on ECS, whose RunTask has a client token: there, no task has two jobs. Of an
    array's child, the array's id will do: no other child has the directory."""
    return claim in (job_id, job_id.partition(":")[0]) or claim.startswith("@")


def await_result(
    task_dir: Path, attempt: int, sleep: Callable[[float], None] | None = None
) -> TaskResult | None:
    """What the task script recorded of an attempt that has ended. If there is no record of its end,
    it is looked for again for a few seconds: the filesystem may show it late."""

    def look() -> TaskResult | None:
        result = read_result(task_dir, attempt)
        return result if result is not None and result.exit_code is not None else None

    return awaited(look, task_dir, sleep) or read_result(task_dir, attempt)


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
