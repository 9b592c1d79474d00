"""What a task's log says of its job."""

from __future__ import annotations

import logging
from typing import Any

from ..jobs.request import JobSnapshot, JobState
from ..miniwdl_compat import log_message as _


def log_change(logger: logging.Logger, snapshot: JobSnapshot) -> None:
    """Tell of a job's new state."""
    details: dict[str, Any] = {"status": snapshot.state.value, "jobId": snapshot.job_id}
    if snapshot.log_stream:
        details["logStreamName"] = snapshot.log_stream
    if snapshot.status_reason:
        details["statusReason"] = snapshot.status_reason
    noteworthy = snapshot.state is JobState.RUNNING or snapshot.state.ended
    log = logger.notice if noteworthy else logger.info  # type: ignore[attr-defined]
    log(_("job status", **details))
