"""Failures of a stack in one sentence, with CloudFormation's texts as the services word them."""

from __future__ import annotations

import pytest

from miniwdl_cloud.errors import AccessDenied, ConfigurationError
from miniwdl_cloud.infra.explain import failure

REQUEST = "(RequestToken: 0f3c6ba1-0000-0000-0000-3a2b6d7e1c11, HandlerErrorCode: {})"


@pytest.mark.parametrize(
    ("reason", "said", "advice"),
    [
        (
            'Resource handler returned message: "The maximum number of VPCs has been reached.'
            ' (Service: Ec2, Status Code: 400, Request ID: 1-2)" '
            + REQUEST.format("ServiceLimitExceeded"),
            "The maximum number of VPCs has been reached",
            "ask for a higher one in Service Quotas",
        ),
        (
            'Resource handler returned message: "Error executing request, Exception :'
            ' LimitExceeded, RequestId: 1-2" ' + REQUEST.format("ServiceLimitExceeded"),
            "LimitExceeded",
            "a quota of the account in this Region is used up",
        ),
        (
            'Resource handler returned message: "Error executing request, Exception : Object'
            ' already exists, RequestId: 1-2" ' + REQUEST.format("AlreadyExists"),
            "Object already exists",
            "deploy under another name",
        ),
        (
            'Resource handler returned message: "Service role name AWSServiceRoleForEC2Spot has'
            " been taken in this account, please try a different suffix. (Service: Iam, Status"
            ' Code: 400, Request ID: 1-2)" ' + REQUEST.format("InvalidRequest"),
            "Service role name AWSServiceRoleForEC2Spot has been taken in this account",
            "deploy with --create-spot-service-role false",
        ),
        (
            "The subnet ID 'subnet-1' does not exist (Service: AmazonEC2; Status Code: 400; Error"
            " Code: InvalidSubnetID.NotFound; Request ID: 1-2; Proxy: null)",
            "The subnet ID 'subnet-1' does not exist",
            "name subnets of this account",
        ),
        (
            "The specified bucket does not exist (Service: Amazon S3; Status Code: 404; Error Code:"
            " NoSuchBucket; Request ID: 1-2; S3 Extended Request ID: a/b=; Proxy: null)",
            "The specified bucket does not exist",
            "create the bucket",
        ),
        (
            "Resource handler returned message: \"The vpc 'vpc-1' has dependencies and cannot be"
            ' deleted. (Service: Ec2, Status Code: 400, Request ID: 1-2)" '
            + REQUEST.format("InvalidRequest"),
            "The vpc 'vpc-1' has dependencies and cannot be deleted",
            "something that is not of this stack uses it",
        ),
        ("Something new happened.", "Something new happened", ""),
        ("", "CloudFormation gives no reason", ""),
    ],
)
def test_a_reason_is_told_with_advice(reason: str, said: str, advice: str) -> None:
    """What the service said, without what it is wrapped in, and what to do about it."""
    event = {
        "LogicalResourceId": "Thing",
        "ResourceType": "AWS::Some::Thing",
        "ResourceStatusReason": reason,
    }
    error = failure("s", "ROLLBACK_COMPLETE", event)
    start = "The stack 's' ended in ROLLBACK_COMPLETE because of Thing (AWS::Some::Thing): "
    assert error.message.startswith(start + said)
    assert advice in error.message
    assert error.message.endswith(".") and not error.message.endswith("..")
    assert not any(word in error.message for word in ("RequestToken", "Request ID", "RequestId"))
    assert isinstance(error, ConfigurationError)
    assert error.more_info["resource"] == "Thing"


@pytest.mark.parametrize(
    "reason",
    [
        "API: iam:CreateRole User: arn:aws:iam::123456789012:user/me is not authorized to perform:"
        " iam:CreateRole on resource: arn:aws:iam::123456789012:role/s-TaskRole",
        'Resource handler returned message: "User: arn:aws:iam::123456789012:user/me is not'
        ' authorized to perform: elasticfilesystem:CreateFileSystem" '
        + REQUEST.format("AccessDenied"),
    ],
)
def test_a_missing_permission_is_no_mistake_of_the_template(reason: str) -> None:
    """It ends in the exit code of a missing permission, and names the permission."""
    event = {
        "LogicalResourceId": "Role",
        "ResourceType": "AWS::IAM::Role",
        "ResourceStatusReason": reason,
    }
    error = failure("s", "ROLLBACK_COMPLETE", event)
    assert isinstance(error, AccessDenied)
    assert error.exit_code == 77
    assert "is not authorized to perform" in error.message
    assert "the credentials lack this permission" in error.message
