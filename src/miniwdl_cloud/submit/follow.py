"""Waiting for a workflow job, and showing its log meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import MiniwdlCloudError, NotFound, ServiceError, Unreachable
from ..patience import OUTAGE_MOST

if TYPE_CHECKING:
    from ..aws.logs import LogStream
    from ..runs.progress import Progress

PERIOD_MIN_S = 0.25
PERIOD_MAX_S = 10.0
PERIOD_MAX_LOG_S = 3.0
"""Seconds between looks at a job, and where its log is shown as well."""
PERIOD_SHARE = 0.1
"""The next look comes after this share of the time since the last news."""
PERIOD_BUSY_S = 1.5
"""Seconds between looks up to which it becomes, by `AGE_SHARE`, while there is always news."""
AGE_SHARE = 0.05
"""The next look comes after this share of the time that was waited so far."""
MARKER_WAIT_S = 10.0
"""Seconds that the end of the log may take to arrive after the job has ended."""
QUIET_S = 3.0
"""Seconds without news after which a log without end marker counts as complete."""
UNSEEN_MAX_S = 120.0
"""Seconds that Batch may not know a job that it has just taken."""


class JobSource(Protocol):
    """What is needed of `BatchClient`."""

    def describe_jobs(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        """Jobs by id."""


class Follower:
    """Waits for one job.

    Parameters
    ----------
    batch
        AWS Batch, or ECS in its form.
    job_id
        The job.
    open_stream
        Opens a log stream of a log group, by (group, name); ``None`` to show no log.
    end_marker
        Text that the log ends with; ``None`` if this job writes none.
    say
        Shows a line on standard error.
    clock, sleep
        Monotonic seconds, and a way to let them pass.
    progress
        Shows how the run's tasks are; ``None`` to show nothing of them.
    """

    def __init__(
        self,
        batch: JobSource,
        job_id: str,
        say: Callable[[str], None],
        open_stream: Callable[[str, str], LogStream] | None = None,
        end_marker: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        progress: Progress | None = None,
    ) -> None:
        self._batch = batch
        self._job_id = job_id
        self._say = say
        self._open_stream = open_stream
        self._end_marker = end_marker
        self._progress = progress
        self._clock = clock
        self._sleep = sleep
        self._stream: LogStream | None = None
        self._ended_log = False
        self._shown = ("", "")

    def wait(self) -> int:
        """Wait for the end of the job.

        Returns
        -------
        int
            The exit code of the job's command.

        Raises
        ------
        ServiceError
            The job ended without one: it never started, or was killed from outside.
        NotFound
            Batch does not know the job.
        Unreachable
            AWS has not answered for half an hour.
        """
        began = last_answer = last_news = self._clock()
        while True:
            try:
                job = self._batch.describe_jobs([self._job_id]).get(self._job_id)
                news = self._show_status(job) if job else False
                news = self._show_log() or news
                outage = False
            except Unreachable:
                job, news, outage = None, False, True
            now = self._clock()
            if job is not None:
                last_answer = now
                if job["status"] in ("SUCCEEDED", "FAILED"):
                    self._finish_log()
                    if self._progress:
                        self._progress.finish()
                    return self._exit_code(job)
                if self._progress:
                    self._progress()
            elif now - last_answer > (OUTAGE_MOST if outage else UNSEEN_MAX_S):
                raise self._lost(outage)
            last_news = now if news else last_news
            longest = PERIOD_MAX_LOG_S if self._open_stream else PERIOD_MAX_S
            if self._progress:
                longest = min(longest, self._progress.period)
            self._sleep(self._period(now - began, now - last_news, longest))

    def _period(self, waited_s: float, quiet_s: float, longest: float) -> float:
        if self._ended_log and quiet_s < QUIET_S:
            # The job itself ends in a moment.
            return PERIOD_MIN_S
        busy = min(PERIOD_BUSY_S, AGE_SHARE * waited_s)
        return max(PERIOD_MIN_S, busy, min(longest, PERIOD_SHARE * quiet_s))

    def _show_status(self, job: dict[str, Any]) -> bool:
        container = job.get("container") or {}
        name = container.get("logStreamName")
        if name and self._stream is None and self._open_stream is not None:
            options = (container.get("logConfiguration") or {}).get("options") or {}
            group = options.get("awslogs-group") or "/aws/batch/job"
            self._say(f"log stream: {name}")
            self._stream = self._open_stream(group, name)
        state = (str(job["status"]), str(job.get("statusReason") or ""))
        if state == self._shown:
            return False
        self._shown = state
        reason = f" ({state[1]})" if state[1] and state[0] != "SUCCEEDED" else ""
        self._say(f"workflow job {self._job_id}: {state[0]}{reason}")
        return True

    def _show_log(self) -> bool:
        if self._stream is None or self._ended_log:
            return False
        news = False
        for event in self._stream.new_events():
            news = True
            if self._end_marker and self._end_marker in event.message:
                self._ended_log = True
            elif not (self._ended_log and not event.message.strip()):
                self._say(event.message)
        return news

    def _finish_log(self) -> None:
        if self._stream is None:
            return
        wait_s = MARKER_WAIT_S if self._end_marker else QUIET_S
        deadline = self._clock() + wait_s
        while not self._ended_log and self._clock() < deadline:
            try:
                news = self._show_log()
            except Unreachable:
                news = False
            if news and not self._end_marker:
                deadline = self._clock() + wait_s
            if not self._ended_log:
                self._sleep(PERIOD_MIN_S * 2)
        if self._end_marker and not self._ended_log:
            self._say(
                f"the end of the log has not arrived; the rest will be in the log stream"
                f" {self._stream.name}"
            )

    def _exit_code(self, job: dict[str, Any]) -> int:
        if job["status"] == "SUCCEEDED":
            return 0
        container = job.get("container") or {}
        code = container.get("exitCode")
        if isinstance(code, int) and code != 0:
            return code
        reasons = [str(text) for text in (job.get("statusReason"), container.get("reason")) if text]
        raise ServiceError(
            f"The workflow job {self._job_id} failed without an exit code:"
            f" {'; '.join(reasons) or 'AWS gives no reason'}.",
            {"jobId": self._job_id, "reasons": reasons},
        )

    def _lost(self, outage: bool) -> MiniwdlCloudError:
        if outage:
            return Unreachable(
                f"AWS has not answered for {OUTAGE_MOST / 60:.0f} minutes; the workflow job"
                f" {self._job_id} may be running still, look at it with `miniwdl-cloud status"
                f" {self._job_id}`."
            )
        return NotFound(
            f"AWS does not know the workflow job {self._job_id}; look for it in the console"
            " of the account and Region that it was submitted to."
        )
