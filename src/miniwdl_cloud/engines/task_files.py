"""The few files that an engine and the task script share beside a task.

In the task's run directory, with ``N`` empty for the first attempt, then 2, 3, …::

    command            the task's command, written by the engine
    env.sh             its environment, only if it has any
    stdoutN.txt        written by the task script
    stderrN.txt
    claimN             a link that no file is behind: its text is the id of the one job that may
                       run the attempt, made by the task script; or says that none may any more
    task_statusN.txt   start, end, exit code and peak memory, written by the task script
    usageN.txt         samples of what the container used, written by the task script
    work/              the command's working directory; earlier attempts' are kept as work.tryM/
"""

from __future__ import annotations

import contextlib
import errno
import importlib.resources
import math
import os
import shlex
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..costs.usage import Usage
from ..filesystems.weather import PASSING, awaited, retried
from ..jobs.outcome import TaskResult

RECORD_MOST = 4096
"""Characters that are read of a record."""
USAGE_MOST = 32 * 2**10
"""Characters that are read of samples, which are 240 lines."""
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
    retried(lambda: _write_anew(path, command), path)


def _write_anew(path: Path, text: str) -> None:
    """Write a file in the place of what may be there, were it a link that a task has put there."""
    temporary = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex}")
    try:
        with temporary.open("x") as file:
            file.write(text)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_environment(task_dir: Path, environment: Mapping[str, str]) -> None:
    """Write the task's environment as a shell script, or nothing if it is empty."""
    path = task_dir / "env.sh"
    if environment:
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
        retried(lambda: _write_anew(path, "".join(lines)), path)
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
    """What the task script recorded of an attempt; ``None`` if it never began, or if the task has
    put something else in the record's place."""
    try:
        text = _read_regular(status_file(task_dir, attempt))
    except OSError:
        return None
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return TaskResult(
        exit_code=_int(fields.get("exit_code")),
        peak_memory_bytes=_int(fields.get("peak_memory_bytes")),
        start=_float(fields.get("start")),
        end=_float(fields.get("end")),
    )


def read_usage(task_dir: Path, attempt: int) -> Usage | None:
    """What the task script's samples of an attempt say; ``None`` if there are none."""
    path = task_dir / f"usage{attempt_suffix(attempt)}.txt"
    try:
        return usage_of(_read_regular(path, USAGE_MOST))
    except (OSError, ValueError):
        return None


def usage_of(text: str) -> Usage | None:
    """The same of the samples themselves.

    Raises
    ------
    ValueError
        They are something else.
    """
    rows = [[float(part) for part in line.split()] for line in text.splitlines()]
    rows = [row for row in rows if len(row) == 4 and all(math.isfinite(part) for part in row)]
    if not rows:
        return None
    (begin, cpu, _, disk), last = rows[0], rows[-1]
    memory = [max(0.0, row[2]) for row in rows]
    return Usage(
        seconds=max(0.0, last[0] - begin),
        cpu_seconds=max(0.0, last[1] - cpu) / 1e6,
        peak_memory_bytes=int(max(memory)),
        mean_memory_bytes=int(sum(memory) / len(memory)),
        disk_bytes=int(max(row[3] for row in rows) - disk) * 1024,
        samples=len(rows),
    )


def _int(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _read_regular(path: Path, most: int = RECORD_MOST) -> str:
    """A small file's text. Neither follows a link nor waits for the other end of a named pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, errors="replace") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
        return file.read(most)


def restore(task_dir: Path, streams: Iterable[Path]) -> list[str]:
    """Put right what a task has replaced of that which its engine and miniwdl will read: they run
    outside its container, and could be led to files there. To be called when the job has ended.

    Parameters
    ----------
    task_dir
        The task's run directory.
    streams
        Its standard output and standard error.

    Returns
    -------
    list[str]
        Names of what was no regular file, or no directory, any more; now it is, and empty.
    """
    replaced = []
    for path in streams:
        if not _is(stat.S_ISREG, path):
            _remove(path)
            retried(path.touch, path)
            replaced.append(path.name)
    work = task_dir / "work"
    if not _is(stat.S_ISDIR, work):
        _remove(work)
        retried(lambda: work.mkdir(exist_ok=True), work)
        replaced.append(work.name)
    return replaced


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    def look() -> bool:
        return kind(os.lstat(path).st_mode)

    try:
        # Whatever is missing here was made by this process, and removed by the task.
        return retried(look, path, PASSING - {errno.ENOENT})
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        shutil.rmtree(path)


def _float(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
