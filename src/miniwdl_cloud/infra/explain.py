"""Why a deployment failed, in one sentence that says what to do.

CloudFormation passes on what the services say. The texts are matched loosely, as they differ from
service to service: the error code in brackets at their end is what is most alike. Codes and texts:
EC2 API reference "Error codes", CloudFormation user guide "Handler error codes" and
"Troubleshooting CloudFormation".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import AccessDenied, ConfigurationError, MiniwdlCloudError

_REQUEST = re.compile(
    r"\s*\((?:RequestToken|Service|HandlerErrorCode)[^()]*(?:\([^()]*\)[^()]*)*\)"
)
# What CloudFormation, and Batch, wrap a reason in.
_WRAPPED = (
    re.compile(r'^Resource handler returned message: "(.*)"$', re.DOTALL),
    re.compile(r"^Error executing request, Exception : (.*?), RequestId: \S+$", re.DOTALL),
)
_SPOT_ROLE = re.compile(r"AWSServiceRoleForEC2Spot.*(taken|exists)", re.IGNORECASE | re.DOTALL)
_DENIED = re.compile(r"not authorized|AccessDenied|UnauthorizedOperation|not allowed to", re.I)
_ADVICE = (
    (
        _SPOT_ROLE,
        "the account has the role of EC2 Spot already: deploy with --create-spot-service-role"
        " false",
    ),
    (
        _DENIED,
        "the credentials lack this permission: have it added, or deploy with others",
    ),
    (
        re.compile(r"Limit\s?Exceeded|maximum number of|quota|limit .*(reached|exceeded)", re.I),
        "a quota of the account in this Region is used up: delete what is not needed, or ask for a"
        " higher one in Service Quotas",
    ),
    (
        re.compile(r"already exists|AlreadyExists|has been taken", re.I),
        "something of this name is there, but not of this stack: delete it, or deploy under another"
        " name",
    ),
    (
        re.compile(r"subnet.*(does not exist|not found|invalid)|InvalidSubnet", re.I | re.DOTALL),
        "name subnets of this account and Region that are in one VPC",
    ),
    (
        re.compile(r"NoSuchBucket|bucket.*(does not exist|not found)", re.I | re.DOTALL),
        "create the bucket, or correct its name",
    ),
    (
        re.compile(r"bucket.*not empty|BucketNotEmpty", re.I | re.DOTALL),
        "empty the bucket, then try again",
    ),
    (
        re.compile(r"has (a )?dependen(t|cies)|DependencyViolation|in use", re.I),
        "something that is not of this stack uses it: delete that, then try again",
    ),
)


def failure(
    stack: str, status: str, event: Mapping[str, Any] | None, reason: str = ""
) -> MiniwdlCloudError:
    """The error for a stack that ended badly.

    Parameters
    ----------
    stack
        Its name.
    status
        What it ended in.
    event
        The first failed event of a resource, if there is one.
    reason
        The stack's own reason, where no resource failed.
    """
    text = str((event or {}).get("ResourceStatusReason") or reason)
    info = {"stack": stack, "status": status}
    because = ""
    if event is not None:
        info["resource"] = event["LogicalResourceId"]
        because = f" because of {event['LogicalResourceId']} ({event['ResourceType']})"
    said = _bare(text) or "CloudFormation gives no reason"
    advice = next((told for pattern, told in _ADVICE if pattern.search(text)), None)
    kind = AccessDenied if _DENIED.search(text) else ConfigurationError
    return kind(
        f"The stack '{stack}' ended in {status}{because}: {said}{f'; {advice}' if advice else ''}.",
        info,
    )


def _bare(text: str) -> str:
    """A reason without what it is wrapped in."""
    text = _REQUEST.sub("", text).strip()
    for wrapped in _WRAPPED:
        text = wrapped.sub(r"\1", text).strip()
    return _REQUEST.sub("", text).strip().rstrip(".")
