"""AWS CloudFormation: the calls that a deployment needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import botocore.exceptions as boto

from .error_mapping import map_errors
from .session import AwsSession

CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM")


@dataclass(frozen=True)
class Change:
    """What a change set does to one resource.

    Parameters
    ----------
    action
        ``Add``, ``Modify`` or ``Remove``.
    logical_id, resource_type
        Which one.
    replacement
        Whether another resource takes its place: ``True``, ``False`` or ``Conditional``, as the
        API says it.
    """

    action: str
    logical_id: str
    resource_type: str
    replacement: str = "False"


class CloudFormation:
    """Stacks of one account and Region.

    Parameters
    ----------
    session
        Where the client comes from.
    """

    def __init__(self, session: AwsSession) -> None:
        self._client = session.client("cloudformation")

    def describe(self, stack: str) -> dict[str, Any] | None:
        """A stack as DescribeStacks gives it, or `None` if there is none.

        Parameters
        ----------
        stack
            Name, or id (which finds deleted stacks too).
        """
        with map_errors(f"looking up the stack '{stack}'"):
            try:
                found = self._client.describe_stacks(StackName=stack)["Stacks"]
            except boto.ClientError as exn:
                # CloudFormation has no error code of its own for this.
                if "does not exist" in exn.response["Error"].get("Message", ""):
                    return None
                raise
        return dict(found[0]) if found else None

    def create(
        self, stack: str, template: str, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> None:
        """Begin to create a stack."""
        with map_errors(f"creating the stack '{stack}'"):
            self._client.create_stack(**_request(stack, template, parameters, tags))

    def update(
        self,
        stack: str,
        template: str,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
        kept: Collection[str] = (),
    ) -> bool:
        """Begin to update a stack; `False` if it is as wanted already.

        Parameters
        ----------
        stack, template, parameters, tags
            As for `create`.
        kept
            Names of further parameters, which keep their values.
        """
        with map_errors(f"updating the stack '{stack}'"):
            try:
                self._client.update_stack(**_request(stack, template, parameters, tags, kept))
            except boto.ClientError as exn:
                if "No updates are to be performed" in exn.response["Error"].get("Message", ""):
                    return False
                raise
        return True

    def delete(self, stack: str) -> None:
        """Begin to delete a stack."""
        with map_errors(f"deleting the stack '{stack}'"):
            self._client.delete_stack(StackName=stack)

    def events(self, stack: str) -> list[dict[str, Any]]:
        """The newest page of a stack's events, newest first."""
        with map_errors(f"reading the events of the stack '{stack}'"):
            return list(self._client.describe_stack_events(StackName=stack)["StackEvents"])

    def events_after(self, stack: str, event_id: str | None) -> list[dict[str, Any]]:
        """A stack's events after one of them, oldest first; all of them after none."""
        found: list[dict[str, Any]] = []
        with map_errors(f"reading the events of the stack '{stack}'"):
            pages = self._client.get_paginator("describe_stack_events").paginate(StackName=stack)
            for event in (event for page in pages for event in page["StackEvents"]):
                if event["EventId"] == event_id:
                    break
                found.append(event)
        return found[::-1]

    def create_change_set(
        self,
        stack: str,
        name: str,
        new: bool,
        template: str,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
        kept: Collection[str] = (),
    ) -> None:
        """Begin to make a change set.

        Parameters
        ----------
        stack, template, parameters, tags, kept
            As for `update`.
        name
            Of the change set.
        new
            Whether it creates the stack; that leaves an empty stack in REVIEW_IN_PROGRESS.
        """
        request = _request(stack, template, parameters, tags, kept)
        kind = "CREATE" if new else "UPDATE"
        with map_errors(f"comparing the stack '{stack}'"):
            self._client.create_change_set(ChangeSetName=name, ChangeSetType=kind, **request)

    def change_set(self, stack: str, name: str) -> tuple[str, str, list[Change]]:
        """A change set's status, the reason of that, and its changes so far."""
        changes = []
        status, reason = "", ""
        with map_errors(f"comparing the stack '{stack}'"):
            pages = self._client.get_paginator("describe_change_set")
            for page in pages.paginate(StackName=stack, ChangeSetName=name):
                status, reason = page["Status"], page.get("StatusReason", "")
                for change in page.get("Changes", []):
                    item = change["ResourceChange"]
                    changes.append(
                        Change(
                            item["Action"],
                            item["LogicalResourceId"],
                            item["ResourceType"],
                            item.get("Replacement", "False"),
                        )
                    )
        return status, reason, changes

    def delete_change_set(self, stack: str, name: str) -> None:
        """Delete a change set."""
        with map_errors(f"comparing the stack '{stack}'"):
            self._client.delete_change_set(StackName=stack, ChangeSetName=name)


def _request(
    stack: str,
    template: str,
    parameters: Mapping[str, str],
    tags: Mapping[str, str],
    kept: Collection[str] = (),
) -> dict[str, Any]:
    values: list[dict[str, Any]] = [
        {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
    ]
    values += [{"ParameterKey": key, "UsePreviousValue": True} for key in kept]
    return {
        "StackName": stack,
        "TemplateBody": template,
        "Parameters": values,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        "Capabilities": list(CAPABILITIES),
    }
