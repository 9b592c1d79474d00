"""Deployment of a stack, with CloudFormation's answers given by botocore's stubber."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.errors import ConfigurationError, Unreachable
from miniwdl_cloud.infra.deploy import deploy_stack

NOW = datetime.datetime(2026, 1, 1)


@pytest.fixture
def session() -> LocalSession:
    """A session whose client is stubbed; it never connects."""
    return LocalSession("http://127.0.0.1:1", "us-east-1")


@pytest.fixture
def stubber(session: LocalSession) -> Iterator[Stubber]:
    """The answers of CloudFormation, in order; all must have been asked for."""
    with Stubber(session.client("cloudformation")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def _describe(stubber: Stubber, status: str | None, **more: Any) -> None:
    if status is None:
        stubber.add_client_error(
            "describe_stacks", "ValidationError", "Stack with id s does not exist", 400
        )
        return
    stack = {"StackName": "s", "StackId": "arn:s", "CreationTime": NOW, "StackStatus": status}
    stubber.add_response("describe_stacks", {"Stacks": [{**stack, **more}]})


def _events(stubber: Stubber, *events: tuple[str, str, str]) -> None:
    """Events, oldest first: resource, status, reason."""
    found = [
        {
            "StackId": "arn:s",
            "EventId": str(i),
            "StackName": "s",
            "Timestamp": NOW,
            "LogicalResourceId": resource,
            "ResourceType": "AWS::Some::Thing",
            "ResourceStatus": status,
            "ResourceStatusReason": reason,
        }
        for i, (resource, status, reason) in enumerate(events)
    ]
    stubber.add_response("describe_stack_events", {"StackEvents": found[::-1]})


def _deploy(session: LocalSession, **more: Any) -> dict[str, str]:
    return deploy_stack(session, "text", "s", {"A": "b"}, {"T": "v"}, sleep=lambda _: None, **more)


def test_a_new_stack_is_created_and_awaited(session: LocalSession, stubber: Stubber) -> None:
    """A stack that does not exist is created, and its outputs are given once it is complete."""
    _describe(stubber, None)
    stubber.add_response(
        "create_stack",
        {"StackId": "arn:s"},
        {
            "StackName": "s",
            "TemplateBody": "text",
            "Parameters": [{"ParameterKey": "A", "ParameterValue": "b"}],
            "Tags": [{"Key": "T", "Value": "v"}],
            "Capabilities": ANY,
        },
    )
    _describe(stubber, "CREATE_IN_PROGRESS")
    _describe(stubber, "CREATE_COMPLETE", Outputs=[{"OutputKey": "K", "OutputValue": "V"}])
    assert _deploy(session) == {"K": "V"}


def test_a_stack_without_changes_is_left(session: LocalSession, stubber: Stubber) -> None:
    """CloudFormation's "No updates are to be performed" is success."""
    _describe(stubber, "CREATE_COMPLETE")
    stubber.add_client_error(
        "update_stack", "ValidationError", "No updates are to be performed.", 400
    )
    assert _deploy(session) == {}


def test_a_dead_stack_is_deleted_first(session: LocalSession, stubber: Stubber) -> None:
    """What a failed creation left is deleted, then created anew."""
    _describe(stubber, "ROLLBACK_COMPLETE")
    stubber.add_response("delete_stack", {})
    _describe(stubber, "DELETE_IN_PROGRESS")
    _describe(stubber, "DELETE_COMPLETE")
    stubber.add_response("create_stack", {"StackId": "arn:s"})
    _describe(stubber, "CREATE_COMPLETE")
    assert _deploy(session) == {}


def test_the_first_failure_is_told(session: LocalSession, stubber: Stubber) -> None:
    """Of the events of the last attempt, the first failure is told, not what was cancelled after
    it, nor an earlier attempt's."""
    _describe(stubber, "CREATE_COMPLETE")
    stubber.add_response("update_stack", {"StackId": "arn:s"})
    _describe(stubber, "UPDATE_ROLLBACK_COMPLETE")
    _events(
        stubber,
        ("Old", "UPDATE_FAILED", "an earlier attempt"),
        ("s", "UPDATE_IN_PROGRESS", "User Initiated"),
        ("Queue", "UPDATE_FAILED", "Not enough room."),
        ("Other", "UPDATE_FAILED", "Resource update cancelled"),
        ("s", "UPDATE_ROLLBACK_COMPLETE", ""),
    )
    with pytest.raises(ConfigurationError) as caught:
        _deploy(session)
    assert caught.value.message == (
        "The stack 's' ended in UPDATE_ROLLBACK_COMPLETE because of Queue (AWS::Some::Thing):"
        " Not enough room."
    )
    assert caught.value.exit_code == 78


def test_somebody_elses_change_is_not_disturbed(session: LocalSession, stubber: Stubber) -> None:
    """A stack that is being changed is left alone."""
    _describe(stubber, "UPDATE_IN_PROGRESS")
    with pytest.raises(ConfigurationError, match="is in UPDATE_IN_PROGRESS; wait"):
        _deploy(session)


def test_waiting_ends(session: LocalSession, stubber: Stubber) -> None:
    """A stack that takes too long is an error, not a wait without end."""
    times = iter([0.0, 5.0, 11.0])
    _describe(stubber, None)
    stubber.add_response("create_stack", {"StackId": "arn:s"})
    _describe(stubber, "CREATE_IN_PROGRESS")
    _describe(stubber, "CREATE_IN_PROGRESS")
    with pytest.raises(Unreachable, match="still in CREATE_IN_PROGRESS after 10 s") as caught:
        _deploy(session, timeout_s=10.0, clock=lambda: next(times))
    assert caught.value.exit_code == 75
