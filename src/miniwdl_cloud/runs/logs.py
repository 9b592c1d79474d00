"""Logs of a run, from CloudWatch: the workflow's own, or that of one attempt at a task."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import NotFound, Unreachable, UsageError
from .model import Attempt, Run, Task, short_id, state_of
from .view import duration

if TYPE_CHECKING:
    from ..aws.logs import LogStream
    from .listing import Listing

PERIOD_S = 1.0
"""Seconds between two looks at a log that is followed."""
QUIET_S = 3.0
"""Seconds without news after which the log of a job that has ended counts as complete, because
events reach CloudWatch late."""
OUTAGE_MAX_S = 900.0
"""Seconds without an answer after which following is given up."""
_CALL = re.compile(r"(?P<call>[^\[\]]+?)(?:\[(?P<shard>[^\[\]]*)\])?")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_span(text: str) -> float:
    """Seconds of ``45s``, ``10m``, ``2h`` or ``1d``.

    Raises
    ------
    UsageError
        It is none of these.
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is not a time span; write it as 45s, 10m, 2h or 1d.")
    return float(match[1]) * _UNITS[match[2]]


def pick(run: Run, wanted: str, number: int | None) -> Attempt:
    """The attempt that a person means.

    Parameters
    ----------
    wanted
        ``call``, or ``call[shard]``, the shard by its index (``align[3]``) or in full
        (``align[3-sampleA]``).
    number
        Of the attempt; the latest without.

    Raises
    ------
    UsageError
        It is not written so, or there are several such tasks.
    NotFound
        There is none.
    """
    match = _CALL.fullmatch(wanted)
    if match is None:
        raise UsageError(f"'{wanted}' is not a call; write it as CALL or CALL[SHARD].")
    tasks = [task for task in run.tasks if task.call == match["call"]]
    if not tasks:
        calls = ", ".join(sorted(run.counts)) or "none yet"
        raise NotFound(
            f"The run {run.name} has no task job of a call {match['call']}; it has: {calls}."
        )
    if match["shard"] is not None:
        tasks = _of_shard(tasks, match["shard"])
        if not tasks:
            raise NotFound(
                f"The call {match['call']} has no shard {match['shard']}; `miniwdl-cloud status"
                f" {short_id(run.job_id)} --all` names them."
            )
    if len(tasks) > 1:
        raise UsageError(
            f"The call {match['call']} has {len(tasks):,} tasks that {wanted} may mean; say which,"
            f" such as '{match['call']}[{tasks[0].shard}]'."
        )
    attempts = tasks[0].attempts
    for attempt in attempts:
        if number in (None, attempt.number):
            return attempts[-1] if number is None else attempt
    raise NotFound(
        f"The task {wanted} has no attempt {number}; it has"
        f" {', '.join(str(attempt.number) for attempt in attempts)}."
    )


def show(
    listing: Listing,
    job_id: str,
    open_stream: Callable[[str, str], LogStream],
    put: Callable[[str], None],
    follow: bool = False,
    end_marker: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show a job's log.

    Parameters
    ----------
    open_stream
        Opens a log stream of a log group, by (group, name).
    put
        Shows a line.
    follow
        Wait for more until the job has ended.
    end_marker
        Text that the log ends with, if it has one.

    Raises
    ------
    NotFound
        The job has no log: it never started.
    Unreachable
        AWS does not answer.
    """
    stream: LogStream | None = None
    last_answer = last_news = clock()
    while True:
        try:
            job = listing.describe([job_id]).get(job_id)
            if job is None:
                raise NotFound(f"AWS does not know the job {job_id} any more.")
            ended = state_of(job["status"]).ended
            where = log_of(job)
            if stream is None and where is not None:
                stream = open_stream(*where)
            if stream is None and (ended or not follow):
                raise NotFound(_no_log(job))
            for event in stream.new_events() if stream is not None else ():
                last_news = clock()
                if end_marker and end_marker in event.message:
                    return
                put(event.message)
            last_answer = clock()
        except Unreachable:
            if not follow or clock() - last_answer > OUTAGE_MAX_S:
                raise
            ended = False
        if not follow or (ended and clock() - last_news > QUIET_S):
            return
        sleep(PERIOD_S)


def log_of(job: Mapping[str, Any]) -> tuple[str, str] | None:
    """Log group and log stream of a job as DescribeJobs shows it; ``None`` before it runs."""
    container = job.get("container") or {}
    name = container.get("logStreamName")
    if not name:
        return None
    options = (container.get("logConfiguration") or {}).get("options") or {}
    return options.get("awslogs-group") or "/aws/batch/job", name


def _of_shard(tasks: Sequence[Task], shard: str) -> list[Task]:
    exact = [task for task in tasks if task.shard == shard]
    if exact or not shard:
        return exact
    # miniwdl pads indices with zeros, and may add a label.
    index = shard.lstrip("0") or "0"
    return [
        task
        for task in tasks
        if (task.shard.partition("-")[0].lstrip("0") or "0") == index and task.shard
    ]


def _no_log(job: Mapping[str, Any]) -> str:
    reason = f" ({job['statusReason']})" if job.get("statusReason") else ""
    if "ecsTask" in job and job.get("startedAt"):
        return (
            f"The task {job['jobId']} has no log group, so its log is in its run directory alone."
        )
    if state_of(job["status"]).ended:
        return f"The job {job['jobId']} has no log, because it never started{reason}."
    waits = duration(time.time() - job["createdAt"] / 1000)
    return (
        f"The job {job['jobId']} has no log yet: it is {job['status']} for {waits}{reason}; wait"
        " for it with --follow."
    )
