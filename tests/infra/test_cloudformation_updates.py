"""Updates, change sets, events and parameters of the embedded CloudFormation, as AWS has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import botocore.exceptions
import pytest

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.emulator.server import LocalCloud

TEMPLATE = json.dumps(
    {
        "Parameters": {
            "Extra": {"Type": "String", "Default": "false", "AllowedValues": ["true", "false"]},
            "Seconds": {"Type": "Number", "Default": 60, "MinValue": 60, "MaxValue": 900},
            "Names": {"Type": "CommaDelimitedList", "Default": "one,two"},
            "Word": {
                "Type": "String",
                "Default": "a",
                "MinLength": 1,
                "MaxLength": 5,
                "AllowedPattern": "^[a-z]*$",
            },
            "Bucket": {
                "Type": "String",
                "Default": "",
                "AllowedPattern": "^$|^[a-z]+$",
                "ConstraintDescription": "the name of a bucket",
            },
        },
        "Conditions": {"HasExtra": {"Fn::Equals": [{"Ref": "Extra"}, "true"]}},
        "Resources": {
            "Main": {
                "Type": "AWS::SQS::Queue",
                "Properties": {
                    "MessageRetentionPeriod": {"Ref": "Seconds"},
                    "Tags": [
                        {"Key": "extra", "Value": {"Fn::If": ["HasExtra", "yes", "no"]}},
                        {"Key": "names", "Value": {"Fn::Join": ["-", {"Ref": "Names"}]}},
                    ],
                },
            },
            "Second": {"Type": "AWS::SQS::Queue", "Condition": "HasExtra"},
        },
        "Outputs": {"Main": {"Value": {"Fn::GetAtt": ["Main", "QueueName"]}}},
    }
)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A running embedded AWS."""
    root = tmp_path_factory.mktemp("updates")
    with LocalCloud(root / "state", root / "filesystem") as running:
        yield running


class Stack:
    """A stack of the template above."""

    def __init__(self, session: LocalSession, name: str) -> None:
        self.name = name
        self.client = session.client("cloudformation")
        self.client.create_stack(StackName=name, TemplateBody=TEMPLATE)

    def update(self, **parameters: str) -> None:
        """Update it; what is not named stays."""
        self.client.update_stack(
            StackName=self.name, TemplateBody=TEMPLATE, Parameters=self.parameters(parameters)
        )

    def parameters(self, given: dict[str, str]) -> list[dict[str, Any]]:
        """The parameters of a request."""
        known = ("Extra", "Seconds", "Names", "Word", "Bucket")
        return [
            {"ParameterKey": name, "ParameterValue": given[name]}
            if name in given
            else {"ParameterKey": name, "UsePreviousValue": True}
            for name in known
        ]

    def change_set(self, **parameters: str) -> dict[str, Any]:
        """What a change set says; it is deleted again."""
        name = {"StackName": self.name, "ChangeSetName": "look"}
        self.client.create_change_set(
            **name,
            ChangeSetType="UPDATE",
            TemplateBody=TEMPLATE,
            Parameters=self.parameters(parameters),
        )
        found = dict(self.client.describe_change_set(**name))
        self.client.delete_change_set(**name)
        return found

    def events(self) -> list[tuple[str, str]]:
        """Its events, oldest first."""
        found = self.client.describe_stack_events(StackName=self.name)["StackEvents"]
        return [(e["LogicalResourceId"], e["ResourceStatus"]) for e in reversed(found)]


@pytest.fixture
def session(cloud: LocalCloud) -> LocalSession:
    """Clients of it."""
    return LocalSession(cloud.endpoint_url, cloud.region)


def _queues(session: LocalSession, stack: str) -> int:
    return len(session.client("sqs").list_queues(QueueNamePrefix=stack).get("QueueUrls", []))


def test_a_resource_comes_and_goes_with_its_condition(session: LocalSession) -> None:
    """A condition that turns makes or deletes its resource, and reaches others through Fn::If, time
    and again; all else keeps its value."""
    stack = Stack(session, "turning")
    sqs = session.client("sqs")
    for extra, count, tag in (("true", 2, "yes"), ("false", 1, "no"), ("true", 2, "yes")):
        stack.update(Extra=extra)
        assert _queues(session, "turning") == count
        (url,) = sqs.list_queues(QueueNamePrefix="turning-Main")["QueueUrls"]
        assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"extra": tag, "names": "one-two"}
    (described,) = stack.client.describe_stacks(StackName="turning")["Stacks"]
    values = {p["ParameterKey"]: p["ParameterValue"] for p in described["Parameters"]}
    assert values == {
        "Extra": "true",
        "Seconds": "60",
        "Names": "one,two",
        "Word": "a",
        "Bucket": "",
    }


def test_a_change_set_shows_what_an_update_would_do(session: LocalSession) -> None:
    """Added, modified and removed resources, also through parameters; nothing is done."""
    stack = Stack(session, "shown")
    assert _changes(stack.change_set(Extra="true")) == {"Second": "Add", "Main": "Modify"}
    assert _changes(stack.change_set(Seconds="61")) == {"Main": "Modify"}
    assert _queues(session, "shown") == 1
    stack.update(Extra="true")
    assert _changes(stack.change_set(Extra="false")) == {"Second": "Remove", "Main": "Modify"}
    nothing = stack.change_set()
    assert nothing["Status"] == "FAILED"
    assert "didn't contain changes" in nothing["StatusReason"]


def _changes(change_set: dict[str, Any]) -> dict[str, str]:
    changes = [change["ResourceChange"] for change in change_set["Changes"]]
    return {change["LogicalResourceId"]: change["Action"] for change in changes}


def test_a_change_set_tells_replacement(session: LocalSession) -> None:
    """A property that cannot change in place replaces its resource."""
    client = session.client("cloudformation")

    def template(name: str, seconds: int) -> str:
        properties = {"QueueName": name, "MessageRetentionPeriod": seconds}
        queue = {"Type": "AWS::SQS::Queue", "Properties": properties}
        return json.dumps({"Resources": {"Queue": queue}})

    client.create_stack(StackName="replaced", TemplateBody=template("here", 60))
    for name, seconds, replacement in (("there", 60, "True"), ("here", 61, "False")):
        which = {"StackName": "replaced", "ChangeSetName": "look"}
        text = template(name, seconds)
        client.create_change_set(**which, ChangeSetType="UPDATE", TemplateBody=text)
        (change,) = client.describe_change_set(**which)["Changes"]
        assert change["ResourceChange"]["Replacement"] == replacement
        client.delete_change_set(**which)


def test_events_tell_of_every_resource(session: LocalSession) -> None:
    """Creation, update and deletion of a resource show in the events of its stack, in order."""
    stack = Stack(session, "told")
    (described,) = stack.client.describe_stacks(StackName="told")["Stacks"]
    stack.update(Seconds="120")
    stack.client.delete_stack(StackName="told")
    stack.name = described["StackId"]
    assert stack.events() == [
        (name, f"{action}_{state}")
        for action in ("CREATE", "UPDATE", "DELETE")
        for name, state in (
            ("told", "IN_PROGRESS"),
            ("Main", "IN_PROGRESS"),
            ("Main", "COMPLETE"),
            ("told", "COMPLETE"),
        )
    ]


def test_a_stack_that_cannot_be_deleted_stays(session: LocalSession) -> None:
    """A resource that cannot be deleted leaves the stack in DELETE_FAILED, with the reason."""
    client, s3 = session.client("cloudformation"), session.client("s3")
    resources = {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "kept-full"}}}
    client.create_stack(StackName="full", TemplateBody=json.dumps({"Resources": resources}))
    s3.put_object(Bucket="kept-full", Key="x", Body=b"")
    client.delete_stack(StackName="full")
    (stack,) = client.describe_stacks(StackName="full")["Stacks"]
    assert stack["StackStatus"] == "DELETE_FAILED"
    failed = client.describe_stack_events(StackName="full")["StackEvents"][1]
    assert (failed["LogicalResourceId"], failed["ResourceStatus"]) == ("Bucket", "DELETE_FAILED")
    assert "empty" in failed["ResourceStatusReason"]
    s3.delete_object(Bucket="kept-full", Key="x")
    client.delete_stack(StackName="full")
    with pytest.raises(botocore.exceptions.ClientError, match="does not exist"):
        client.describe_stacks(StackName="full")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"Extra": "maybe"}, "Parameter 'Extra' must be one of AllowedValues"),
        ({"Seconds": "59"}, "Parameter 'Seconds' must be a number not less than 60"),
        ({"Seconds": "901"}, "Parameter 'Seconds' must be a number not greater than 900"),
        ({"Seconds": "many"}, "Parameter 'Seconds' must be a number"),
        ({"Word": ""}, "Parameter 'Word' must contain at least 1 characters"),
        ({"Word": "abcdef"}, "Parameter 'Word' must contain at most 5 characters"),
        ({"Word": "A"}, "Parameter 'Word' must match pattern ^[a-z]*$"),
        (
            {"Bucket": "s3://b"},
            "Parameter 'Bucket' failed to satisfy constraint: the name of a bucket",
        ),
        ({"Nothing": "1"}, "Parameters: [Nothing] do not exist in the template"),
    ],
    ids=lambda value: (
        ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else ""
    ),
)
def test_a_parameter_that_does_not_fit_is_refused(
    session: LocalSession, given: dict[str, str], message: str
) -> None:
    """Nothing is made, for a stack or for a change set."""
    client = session.client("cloudformation")
    parameters = [{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()]
    request = {"StackName": "refused", "TemplateBody": TEMPLATE, "Parameters": parameters}
    for call in (
        lambda: client.create_stack(**request),
        lambda: client.create_change_set(**request, ChangeSetName="c", ChangeSetType="CREATE"),
    ):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            call()
        assert caught.value.response["Error"]["Code"] == "ValidationError"
        assert caught.value.response["Error"]["Message"] == message
    with pytest.raises(botocore.exceptions.ClientError, match="does not exist"):
        client.describe_stacks(StackName="refused")


def test_a_refused_update_changes_nothing(session: LocalSession) -> None:
    """The stack stays as it was, and can be updated."""
    stack = Stack(session, "unchanged")
    with pytest.raises(botocore.exceptions.ClientError, match="not less than 60"):
        stack.update(Seconds="1")
    (described,) = stack.client.describe_stacks(StackName="unchanged")["Stacks"]
    assert described["StackStatus"] == "CREATE_COMPLETE"
    stack.update(Seconds="90")


def test_parameters_of_aws_types_name_what_exists(session: LocalSession) -> None:
    """A subnet or security group that does not exist is refused by name."""
    client, ec2 = session.client("cloudformation"), session.client("ec2")
    template = json.dumps(
        {
            "Parameters": {
                "Subnet": {"Type": "AWS::EC2::Subnet::Id"},
                "Groups": {"Type": "List<AWS::EC2::SecurityGroup::Id>"},
            },
            "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        }
    )
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]

    def create(subnet: str, groups: str) -> None:
        values = {"Subnet": subnet, "Groups": groups}
        client.create_stack(
            StackName="typed",
            TemplateBody=template,
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()],
        )

    with pytest.raises(botocore.exceptions.ClientError, match="value subnet-1 for parameter name"):
        create("subnet-1", group)
    with pytest.raises(botocore.exceptions.ClientError, match="value sg-1 for parameter name"):
        create(subnet, f"{group},sg-1")
    create(subnet, group)
