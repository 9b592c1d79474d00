"""AWS CloudFormation: the calls that a deployment needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import botocore.exceptions as boto

from .error_mapping import map_errors
from .session import AwsSession

CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM")


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
        self, stack: str, template: str, parameters: Mapping[str, str], tags: Mapping[str, str]
    ) -> bool:
        """Begin to update a stack; `False` if it is as wanted already."""
        with map_errors(f"updating the stack '{stack}'"):
            try:
                self._client.update_stack(**_request(stack, template, parameters, tags))
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


def _request(
    stack: str, template: str, parameters: Mapping[str, str], tags: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "StackName": stack,
        "TemplateBody": template,
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        "Capabilities": list(CAPABILITIES),
    }
