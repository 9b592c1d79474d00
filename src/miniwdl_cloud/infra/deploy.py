"""Bring a CloudFormation template into an account and Region, and say plainly if it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from importlib import resources
from typing import Any

from ..aws.cloudformation import CloudFormation
from ..aws.session import AwsSession
from ..errors import ConfigurationError, MiniwdlCloudError, Unreachable
from . import explain

# Creation failed, or never began: the stack can only be deleted (CloudFormation user guide, "Stack
# status codes").
DEAD = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS"})
_GOOD = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"})

OnEvent = Callable[[Mapping[str, Any]], None]
"""Told of each event of a stack, as DescribeStackEvents has it, oldest first."""


def template_text(name: str = "batch-efs") -> str:
    """The text of a template that comes with this package."""
    return (resources.files(__package__) / "templates" / f"{name}.yaml").read_text()


def is_busy(status: str) -> bool:
    """Whether somebody changes a stack at the moment.

    Parameters
    ----------
    status
        StackStatus of the API.
    """
    return status.endswith("_IN_PROGRESS") and status not in DEAD


class Watch:
    """Waits for stacks, and passes on their events meanwhile.

    Parameters
    ----------
    stacks
        Where they are.
    timeout_s
        Seconds to wait at most, each time.
    poll_s
        Seconds between two looks.
    on_event
        Told of each event, if given.
    sleep, clock
        Of time, for tests.
    """

    def __init__(
        self,
        stacks: CloudFormation,
        timeout_s: float = 3600.0,
        poll_s: float = 5.0,
        on_event: OnEvent | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stacks = stacks
        self._timeout_s = timeout_s
        self._poll_s = poll_s
        self._on_event = on_event
        self._sleep = sleep
        self._clock = clock
        self._last: str | None = None

    def begin(self, stack: str | None) -> None:
        """Pass on what comes after this moment only.

        Parameters
        ----------
        stack
            Its name or id; `None` for one that does not exist yet.
        """
        events = self._stacks.events(stack) if stack and self._on_event else []
        self._last = events[0]["EventId"] if events else None

    def wait(self, stack: str) -> dict[str, Any] | None:
        """Wait until nobody changes a stack any more; `None` if it is gone.

        Raises
        ------
        Unreachable
            It takes too long.
        """
        deadline = self._clock() + self._timeout_s
        while True:
            # Its state first: no event of an end that was seen may be missed.
            found = self._stacks.describe(stack)
            if found is not None:
                self._tell(found["StackId"])
            if found is None or not is_busy(found["StackStatus"]):
                return found
            if self._clock() > deadline:
                raise Unreachable(
                    f"The stack '{found['StackName']}' was still in {found['StackStatus']} after"
                    f" {self._timeout_s:.0f} s; look at its events in the CloudFormation console."
                )
            self._sleep(self._poll_s)

    def _tell(self, stack_id: str) -> None:
        if self._on_event is None:
            return
        for event in self._stacks.events_after(stack_id, self._last):
            self._last = event["EventId"]
            self._on_event(event)


def deploy_stack(
    session: AwsSession,
    template: str,
    stack_name: str,
    parameters: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
    kept: Collection[str] = (),
    **watching: Any,
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
    kept
        Names of further parameters, which keep the values that the stack has.
    watching
        How to wait; see `Watch`.

    Returns
    -------
    dict
        The stack's outputs.

    Raises
    ------
    ConfigurationError
        CloudFormation could not make or change a resource, or the stack is being changed by
        somebody else.
    AccessDenied
        It could not for want of a permission.
    Unreachable
        It took too long.
    """
    stacks = CloudFormation(session)
    watch = Watch(stacks, **watching)
    tags = tags or {}
    known = stacks.describe(stack_name)
    if known is not None and known["StackStatus"] in DEAD:
        delete_stack(stacks, watch, known)
        known = None
    if known is None:
        watch.begin(None)
        stacks.create(stack_name, template, parameters, tags)
    else:
        refuse_busy(known)
        watch.begin(known["StackId"])
        if not stacks.update(stack_name, template, parameters, tags, kept):
            return outputs_of(known)
    result = watch.wait(stack_name)
    if result is None:
        raise ConfigurationError(
            f"The stack '{stack_name}' was deleted by somebody else; deploy it again."
        )
    if result["StackStatus"] not in _GOOD:
        raise _failure(stacks, result)
    return outputs_of(result)


def delete_stack(stacks: CloudFormation, watch: Watch, stack: Mapping[str, Any]) -> None:
    """Delete a stack and wait until it is gone.

    Parameters
    ----------
    stacks
        Where it is.
    watch
        Waits.
    stack
        As DescribeStacks gives it.

    Raises
    ------
    ConfigurationError, AccessDenied
        CloudFormation could not delete a resource.
    """
    watch.begin(stack["StackId"])
    stacks.delete(stack["StackName"])
    gone = watch.wait(stack["StackId"])
    if gone is not None and gone["StackStatus"] not in _GOOD:
        raise _failure(stacks, gone)


def outputs_of(stack: Mapping[str, Any]) -> dict[str, str]:
    """The outputs of a stack as DescribeStacks gives it."""
    return {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}


def refuse_busy(stack: Mapping[str, Any]) -> None:
    """Leave a stack alone that somebody changes.

    Raises
    ------
    ConfigurationError
        Somebody does.
    """
    if is_busy(stack["StackStatus"]):
        raise ConfigurationError(
            f"The stack '{stack['StackName']}' is in {stack['StackStatus']}; wait until that ends,"
            " then try again."
        )


def first_failure(stacks: CloudFormation, stack: Mapping[str, Any]) -> dict[str, Any] | None:
    """The event that a stack's last attempt failed with: what came after it is mostly cancelled
    because of it."""
    first = None
    for event in stacks.events(stack["StackId"]):  # newest first
        reason = event.get("ResourceStatusReason", "")
        if event["LogicalResourceId"] == stack["StackName"]:
            if reason == "User Initiated":
                break  # the beginning of the last attempt
        elif event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason:
            first = event
    return first


def _failure(stacks: CloudFormation, stack: Mapping[str, Any]) -> MiniwdlCloudError:
    event = first_failure(stacks, stack)
    reason = str(stack.get("StackStatusReason") or "")
    return explain.failure(stack["StackName"], stack["StackStatus"], event, reason)
