"""Jobs that wait in RUNNABLE without hope."""

from __future__ import annotations

import pytest

from miniwdl_cloud.jobs.blocked import diagnose
from miniwdl_cloud.jobs.request import JobSnapshot, JobState


@pytest.mark.parametrize(
    ("reason", "passing", "words"),
    [
        (
            "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity"
            " requested for instance type [m5.large]",
            True,
            "fallback queue",
        ),
        ("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CE(s) exceeded", False, "maximum"),
        ("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - too large", False, "instance type"),
        ("MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS - denied", False, "service role"),
        ("MISCONFIGURATION:EC2_INSTANCE_CONFIGURATION_UNSUPPORTED - no", False, "template"),
        ("ACTION_REQUIRED - CE(s) associated with the job queue are invalid.", False, "invalid"),
        ("MISCONFIGURATION:SOMETHING_NEW", False, "deployment"),
        ("UNDETERMINED - Batch job is blocked, root cause is undetermined.", True, "queue"),
    ],
)
def test_each_reason_has_its_advice(reason: str, passing: bool, words: str) -> None:
    """Batch's reason becomes advice, and whether waiting may help."""
    found = diagnose(JobSnapshot("j", JobState.RUNNABLE, status_reason=reason))
    assert found is not None
    assert found.reason == reason
    assert found.passing is passing
    assert words in found.advice


@pytest.mark.parametrize(
    "snapshot",
    [
        JobSnapshot("j", JobState.RUNNABLE),
        JobSnapshot("j", JobState.RUNNABLE, status_reason="waiting for its turn"),
        JobSnapshot("j", JobState.RUNNING, status_reason="MISCONFIGURATION:X"),
        JobSnapshot("j", JobState.FAILED, status_reason="MISCONFIGURATION:X"),
    ],
)
def test_a_job_that_waits_its_turn_is_not_blocked(snapshot: JobSnapshot) -> None:
    """No reason, an unknown one, or another state: nothing to report."""
    assert diagnose(snapshot) is None
