"""Telling somebody that a run has ended: SNS topics and webhooks."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .. import __version__, settings
from ..errors import MiniwdlCloudError, UsageError
from ..settings import Settings

if TYPE_CHECKING:
    from ..aws.session import AwsSession
    from ..report.model import Report

WHEN = ("always", "failure", "success")
TIMEOUT_S = 10.0
ATTEMPTS = 3
ATTEMPTS_WHEN_STOPPED = 1
"""After a signal Batch leaves 30 s for everything."""
_FIRST_WAIT_S = 1.0


@dataclass(frozen=True)
class End:
    """How a run has ended.

    Parameters
    ----------
    name
        Name of its run directory, or of its WDL where there is none.
    state
        ``succeeded``, ``failed`` or ``terminated``.
    exit_code
        Of the workflow job.
    seconds
        How long it took.
    error
        Why it failed.
    directory
        The run directory.
    uploaded
        S3 folder of its outputs, log and report.
    job_id
        The workflow job.
    report
        What the run's report tells, if there is one.
    """

    name: str
    state: str
    exit_code: int
    seconds: float
    error: str | None = None
    directory: str | None = None
    uploaded: str | None = None
    job_id: str | None = None
    report: Report | None = None

    @property
    def link(self) -> str | None:
        """Where the report is."""
        from .report import NAME

        if self.report is None:
            return None
        if self.uploaded:
            return f"{self.uploaded.rstrip('/')}/{NAME}"
        return f"{self.directory}/{NAME}" if self.directory else None

    @property
    def subject(self) -> str:
        """One line."""
        return f"miniwdl: {self.name} {self.state} after {_duration(self.seconds)}"

    def as_json(self) -> dict[str, Any]:
        """What a webhook gets; ``version`` changes when a member changes its meaning or goes."""
        totals = self.report.as_json()["totals"] if self.report is not None else None
        return {
            "version": 1,
            "text": self.text,
            "run": {
                "name": self.name,
                "state": self.state,
                "exitCode": self.exit_code,
                "seconds": round(self.seconds, 1),
                "error": self.error,
                "directory": self.directory,
                "uploaded": self.uploaded,
                "report": self.link,
                "jobId": self.job_id,
            },
            "totals": totals,
        }

    @property
    def text(self) -> str:
        """A few lines for people."""
        lines = [self.subject]
        if self.report is not None:
            lines.append(_counts(self.report))
        if self.error:
            lines.append(f"Error: {self.error}")
        for label, value in (
            ("Report", self.link),
            ("Outputs", self.uploaded if self.state == "succeeded" else None),
            ("Run directory", self.directory),
            ("Workflow job", self.job_id),
        ):
            if value:
                lines.append(f"{label}: {value}")
        return "\n".join(lines)


class Notifier:
    """Tells of the end of a run, where the settings say so.

    Parameters
    ----------
    found
        Settings.
    session
        Makes the AWS session, when a topic wants it.
    say
        Writes a line into the log.

    Raises
    ------
    UsageError
        A target is neither, or the setting for when is wrong.
    """

    def __init__(
        self, found: Settings, session: Callable[[], AwsSession], say: Callable[[str], None]
    ) -> None:
        self._targets = settings.names(found.get(settings.NOTIFY))
        self._when = str(found.get(settings.NOTIFY_WHEN)).lower()
        self._session = session
        self._say = say
        for number, target in enumerate(self._targets, 1):
            if not (_is_topic(target) or _is_url(target)):
                raise UsageError(
                    f"Target {number} of {settings.NOTIFY.env} is neither the ARN of an SNS topic"
                    " nor an https:// URL; correct it."
                )
        if self._when not in WHEN:
            raise UsageError(
                f"{settings.NOTIFY_WHEN.env} should be {', '.join(WHEN[:-1])} or {WHEN[-1]};"
                " correct it."
            )

    def tell(self, end: End) -> None:
        """Tell all targets. A run does not fail for want of it: what goes wrong is in the log."""
        wanted = "success" if end.state == "succeeded" else "failure"
        if self._when not in ("always", wanted):
            return
        attempts = ATTEMPTS_WHEN_STOPPED if end.state == "terminated" else ATTEMPTS
        for number, target in enumerate(self._targets, 1):
            # The URL of a webhook is its password, so that no log has more than its host.
            called = target if _is_topic(target) else f"the webhook at {urlsplit(target).hostname}"
            try:
                self._tell(target, end, attempts)
            except MiniwdlCloudError as exn:
                self._say(f"warning: {called} was not notified: {exn.message}")
            except (OSError, ValueError) as exn:
                reason = exn.reason if isinstance(exn, urllib.error.URLError) else exn
                self._say(f"warning: {called} (target {number}) was not notified: {reason}")
            else:
                self._say(f"notified {called}")

    def _tell(self, target: str, end: End, attempts: int) -> None:
        if _is_topic(target):
            from ..aws.sns import publish

            publish(self._session(), target, end.subject, end.text)
            return
        for attempt in range(1, attempts + 1):
            try:
                post(target, end.as_json())
                return
            except OSError as exn:
                code = exn.code if isinstance(exn, urllib.error.HTTPError) else None
                refused = code is not None and code < 500 and code != 429
                if attempt == attempts or refused:
                    raise
            time.sleep(_FIRST_WAIT_S * 2 ** (attempt - 1))


def post(url: str, content: Mapping[str, Any]) -> None:
    """POST JSON.

    Raises
    ------
    OSError
        There was no answer, or one that is no success.
    """
    request = urllib.request.Request(
        url,
        json.dumps(content).encode(),
        {"Content-Type": "application/json", "User-Agent": f"miniwdl-cloud/{__version__}"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        answer.read()


def _is_topic(target: str) -> bool:
    from ..aws.sns import TOPIC_ARN

    return target.startswith("arn:") and TOPIC_ARN.fullmatch(target) is not None


def _is_url(target: str) -> bool:
    try:
        parts = urlsplit(target)
    except ValueError:
        return False
    # Plain HTTP would show the run to everybody between; on the same machine there is nobody.
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and local))


def _counts(report: Report) -> str:
    from ..report.model import TaskState

    counted = [f"{number} {state.value}" for state in TaskState if (number := report.count(state))]
    line = f"Tasks: {', '.join(counted) or 'none'}"
    if report.retries:
        line += f"; {report.retries} retried"
    return line if report.cost is None else f"{line}; about ${report.cost:.2f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
