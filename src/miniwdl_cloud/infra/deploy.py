"""Bring a CloudFormation template into an account and Region, and say plainly if it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from ..aws.cloudformation import CloudFormation
from ..aws.session import AwsSession
from ..errors import ConfigurationError, Unreachable

# Creation failed, or never began: the stack can only be deleted (CloudFormation user guide, "Stack
# status codes").
_DEAD = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS"})
_GOOD = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"})


def template_text(name: str = "batch-efs") -> str:
    """The text of a template that comes with this package."""
    return (resources.files(__package__) / "templates" / f"{name}.yaml").read_text()


def deploy_stack(
    session: AwsSession,
    template: str,
    stack_name: str,
    parameters: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
    timeout_s: float = 1800.0,
    poll_s: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Create a stack, or update the one that is there, and wait for it.

    What an earlier creation left that failed is deleted first.

    Parameters
    ----------
    session
        Of the account and Region.
    template
        Text of the template; CloudFormation takes up to 51,200 bytes.
    stack_name
        Name of the stack.
    parameters
        Values of the template's parameters.
    tags
        Tags of the stack, which it gives to its resources.
    timeout_s
        Seconds to wait for each of deletion and creation or update.
    poll_s
        Seconds between two looks.
    sleep, clock
        Of time, for tests.

    Returns
    -------
    dict
        The stack's outputs.

    Raises
    ------
    ConfigurationError
        CloudFormation could not make or change a resource, or the stack is being changed by
        somebody else.
    Unreachable
        It took too long.
    """
    stacks = CloudFormation(session)
    tags = tags or {}

    def wait(stack: str) -> dict[str, Any] | None:
        deadline = clock() + timeout_s
        while True:
            found = stacks.describe(stack)
            if found is None or not _is_busy(found["StackStatus"]):
                return found
            if clock() > deadline:
                raise Unreachable(
                    f"The stack '{stack_name}' was still in {found['StackStatus']} after"
                    f" {timeout_s:.0f} s; look at its events in the CloudFormation console."
                )
            sleep(poll_s)

    known = stacks.describe(stack_name)
    if known is not None and known["StackStatus"] in _DEAD:
        stacks.delete(stack_name)
        gone = wait(known["StackId"])
        if gone is not None and gone["StackStatus"] not in _GOOD:
            raise _failure(stacks, gone)
        known = None
    if known is None:
        stacks.create(stack_name, template, parameters, tags)
    elif _is_busy(known["StackStatus"]):
        raise ConfigurationError(
            f"The stack '{stack_name}' is in {known['StackStatus']}; wait until that ends, then"
            " try again."
        )
    else:
        stacks.update(stack_name, template, parameters, tags)
    result = wait(stack_name)
    if result is None:
        raise ConfigurationError(
            f"The stack '{stack_name}' was deleted by somebody else; deploy it again."
        )
    if result["StackStatus"] not in _GOOD:
        raise _failure(stacks, result)
    return {item["OutputKey"]: item["OutputValue"] for item in result.get("Outputs", [])}


def _is_busy(status: str) -> bool:
    return status.endswith("_IN_PROGRESS") and status not in _DEAD


def _failure(stacks: CloudFormation, stack: Mapping[str, Any]) -> ConfigurationError:
    """What went wrong first; what came after is mostly cancelled because of it."""
    name, status = stack["StackName"], stack["StackStatus"]
    first = None
    for event in stacks.events(stack["StackId"]):  # newest first
        reason = event.get("ResourceStatusReason", "")
        if event["LogicalResourceId"] == name:
            if reason == "User Initiated":
                break  # the beginning of the last attempt
        elif event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason:
            first = event
    if first is None:
        reason = stack.get("StackStatusReason") or "CloudFormation gives no reason"
        return ConfigurationError(f"The stack '{name}' ended in {status}: {reason}.")
    text = str(first.get("ResourceStatusReason") or "no reason is given").rstrip(".")
    return ConfigurationError(
        f"The stack '{name}' ended in {status} because of {first['LogicalResourceId']}"
        f" ({first['ResourceType']}): {text}.",
        {"stack": name, "status": status, "resource": first["LogicalResourceId"]},
    )
