"""All checks, in the order in which a person would mend what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..errors import AccessDenied, MiniwdlCloudError, UsageError
from .facts import Facts
from .finding import Finding, Level, problem
from .identity import check_identity, check_quotas, check_roles
from .network import check_network
from .queues import check_environments, check_queues
from .resources import check_buckets, check_cluster, check_events, check_image
from .storage import check_storage

Check = Callable[[Facts], Iterator[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("identity", check_identity),
    ("queues", check_queues),
    ("compute environments", check_environments),
    ("roles", check_roles),
    ("filesystem", check_storage),
    ("network", check_network),
    ("buckets", check_buckets),
    ("workflow image", check_image),
    ("Fargate", check_cluster),
    ("events", check_events),
    ("quotas", check_quotas),
)


def examine(facts: Facts) -> Iterator[Finding]:
    """Run every check; one that cannot look says so, and the others go on.

    Raises
    ------
    AccessDenied
        There are no credentials at all, so that nothing can be looked at.
    """
    for called, check in CHECKS:
        try:
            yield from check(facts)
        except AccessDenied as exn:
            if not exn.more_info:  # not an answer of AWS
                raise
            yield Finding(
                "not-allowed",
                Level.UNKNOWN,
                f"The check of {called} could not look: {exn.message}",
                "",
                "Allow the call to these credentials, or ask somebody who may.",
            )
        except UsageError as exn:
            yield problem("setting-wrong", exn.message, "It cannot be used.", "Correct it.")
        except MiniwdlCloudError as exn:
            yield Finding(
                "check-failed",
                Level.UNKNOWN,
                f"The check of {called} failed: {exn.message}",
                "",
                "Try again; if it stays so, look at the AWS Health Dashboard.",
            )


def worst(findings: list[Finding]) -> Level:
    """The worst level among findings."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)
