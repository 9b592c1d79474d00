"""The classifier, row by row of how jobs fail in the field."""

from __future__ import annotations

from typing import Any

import pytest

from miniwdl_cloud.jobs.outcome import TaskResult, Verdict, classify, lost
from miniwdl_cloud.jobs.request import JobSnapshot, JobState

SPOT = "Host EC2 (instance i-0123456789abcdef0) terminated."
ESSENTIAL = "Essential container in task exited"


def _failed(**more: Any) -> JobSnapshot:
    return JobSnapshot("id-1", JobState.FAILED, **more)


ROWS = [
    ("spot", _failed(status_reason=SPOT), None, Verdict.INTERRUPTED),
    ("spot, on the attempt only", _failed(attempt_reasons=(SPOT,)), None, Verdict.INTERRUPTED),
    ("spot after the start", _failed(status_reason=SPOT), TaskResult(), Verdict.INTERRUPTED),
    (
        "spot, the command got SIGTERM",
        _failed(status_reason=SPOT),
        TaskResult(exit_code=143),
        Verdict.INTERRUPTED,
    ),
    ("spot after the end", _failed(status_reason=SPOT), TaskResult(exit_code=0), Verdict.SUCCESS),
    (
        "Fargate spot",
        _failed(status_reason="Your Spot Task was interrupted.", exit_code=137),
        None,
        Verdict.INTERRUPTED,
    ),
    *[
        (
            f"out of memory, exit code {code}",
            _failed(
                exit_code=code,
                status_reason=ESSENTIAL,
                reason="OutOfMemoryError: Container killed due to memory usage",
            ),
            None,
            Verdict.OUT_OF_MEMORY,
        )
        for code in (137, 0, 2)
    ],
    (
        "137 without a reason",
        _failed(exit_code=137, status_reason=ESSENTIAL),
        None,
        Verdict.COMMAND_FAILED,
    ),
    *[
        (
            f"image: {text}",
            _failed(
                status_reason="Task failed to start", reason=f"CannotPullContainerError: {text}"
            ),
            None,
            Verdict.FATAL,
        )
        for text in (
            "docker.io/library/nope:latest: not found",
            "manifest unknown",
            "unauthorized: authentication required",
            "pull access denied for nope",
            "repository does not exist",
        )
    ],
    *[
        (
            f"pull: {text}",
            _failed(
                status_reason="Task failed to start", reason=f"CannotPullContainerError: {text}"
            ),
            None,
            Verdict.INFRASTRUCTURE,
        )
        for text in (
            "i/o timeout",
            "context canceled",
            "toomanyrequests: rate exceeded",
            "no space left on device",
            "received unexpected HTTP status: 503 Service Unavailable",
        )
    ],
    *[
        (text, _failed(reason=text), None, Verdict.INFRASTRUCTURE)
        for text in (
            "DockerTimeoutError: Could not transition to created; timed out after waiting 4m0s",
            "ContainerRuntimeTimeoutError: Could not transition to running",
            "CannotInspectContainerError: Could not transition to inspecting",
            "CannotCreateVolumeError: mount failed",
            "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS"
            " volumes: mount.nfs4: Connection reset by peer",
        )
    ],
    (
        "inspection failed after the end",
        _failed(reason="CannotInspectContainerError: Could not transition to inspecting"),
        TaskResult(exit_code=0),
        Verdict.SUCCESS,
    ),
    (
        "no bash in the image",
        _failed(reason='CannotStartContainerError: exec: "/bin/bash": no such file or directory'),
        None,
        Verdict.FATAL,
    ),
    (
        "secrets",
        _failed(reason="ResourceInitializationError: unable to pull secrets or registry auth"),
        None,
        Verdict.FATAL,
    ),
    (
        "timeout",
        _failed(status_reason="Job attempt duration exceeded timeout", exit_code=137),
        TaskResult(exit_code=143),
        Verdict.TIMEOUT,
    ),
    (
        "terminated by a person",
        _failed(status_reason="enough", exit_code=143, terminated=True),
        TaskResult(exit_code=143),
        Verdict.TERMINATED,
    ),
    (
        "the command's own failure",
        _failed(exit_code=3, status_reason=ESSENTIAL),
        TaskResult(exit_code=3),
        Verdict.COMMAND_FAILED,
    ),
    ("nothing known", _failed(status_reason="Gremlins"), None, Verdict.FAILED),
    ("nothing at all", _failed(), None, Verdict.FAILED),
]


@pytest.mark.parametrize(
    ("snapshot", "result", "verdict"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_verdicts(snapshot: JobSnapshot, result: TaskResult | None, verdict: Verdict) -> None:
    """Each way to fail has its verdict, and a message that names the job."""
    outcome = classify(snapshot, result)
    assert outcome.verdict is verdict
    if verdict is not Verdict.SUCCESS:
        assert "id-1" in outcome.message
        assert outcome.more_info["jobId"] == "id-1"


def test_an_unknown_reason_is_reported_in_full() -> None:
    """A failure that no rule knows carries the raw text."""
    outcome = classify(_failed(status_reason="Gremlins", reason="in the works"), None)
    assert "Gremlins" in outcome.message
    assert "in the works" in outcome.message


def test_details_reach_the_error_report() -> None:
    """Reasons, log stream and peak memory go along for error.json."""
    outcome = classify(
        _failed(reason="r", status_reason="s", log_stream="l", exit_code=1),
        TaskResult(exit_code=1, peak_memory_bytes=5),
    )
    assert outcome.more_info == {
        "jobId": "id-1",
        "reason": "r",
        "statusReason": "s",
        "logStreamName": "l",
        "peakMemoryBytes": 5,
        "verdict": "command failed",
    }


def test_success_is_success_without_a_result_file() -> None:
    """The API's word of success needs no other."""
    outcome = classify(JobSnapshot("id-1", JobState.SUCCEEDED, exit_code=0), None)
    assert outcome.verdict is Verdict.SUCCESS
    assert outcome.exit_code == 0


def test_a_forgotten_job_is_known_by_its_record() -> None:
    """Of a job that the service has forgotten, the task's own file decides; without it, nobody
    knows, and the task runs again."""
    assert classify(lost("id-1"), TaskResult(exit_code=0)).verdict is Verdict.SUCCESS
    assert classify(lost("id-1"), TaskResult(exit_code=4)).verdict is Verdict.COMMAND_FAILED
    for result in (None, TaskResult(start=1.0)):
        outcome = classify(lost("id-1"), result)
        assert outcome.verdict is Verdict.INFRASTRUCTURE
        assert "does not know the job any more (job id-1)" in outcome.message
