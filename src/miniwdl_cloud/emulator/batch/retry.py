"""Whether Batch gives a failed attempt another try."""

from __future__ import annotations

from .models import Attempt, Job


def should_retry(job: Job, attempt: Attempt) -> bool:
    """By the job's retry strategy.

    An attempt that timed out is never retried; where no rule of evaluateOnExit matches, the job is
    retried (Batch user guide, "Automated job retries"; botocore's Batch model, ``RetryStrategy``).
    """
    if attempt.timed_out or attempt.number >= job.retry_strategy["attempts"]:
        return False
    facts = {
        "onStatusReason": attempt.status_reason or "",
        "onReason": attempt.reason or "",
        "onExitCode": "" if attempt.exit_code is None else str(attempt.exit_code),
    }
    for rule in job.retry_strategy["evaluateOnExit"]:
        conditions = {member: glob for member, glob in rule.items() if member in facts}
        if all(_matches(glob, facts[member]) for member, glob in conditions.items()):
            return bool(rule["action"].upper() == "RETRY")
    return True


def _matches(glob: str, text: str) -> bool:
    glob, text = glob.lower(), text.lower()
    return text.startswith(glob[:-1]) if glob.endswith("*") else glob == text
