"""CloudFormation of the embedded AWS: nothing is lost, failures look as AWS's do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
import yaml

from miniwdl_cloud.aws.local import LocalSession
from miniwdl_cloud.emulator.cloudformation import deletion_order, install
from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.errors import ConfigurationError, ServiceError
from miniwdl_cloud.infra.deploy import deploy_stack, template_text


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A running embedded AWS."""
    root = tmp_path_factory.mktemp("cloudformation")
    with LocalCloud(root / "state", root / "filesystem") as running:
        yield running


@pytest.fixture
def session(cloud: LocalCloud) -> LocalSession:
    """Clients of it."""
    return LocalSession(cloud.endpoint_url, cloud.region)


def _template(resources: dict[str, Any], **more: Any) -> str:
    return json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources, **more})


ENVIRONMENT = {
    "Type": "AWS::Batch::ComputeEnvironment",
    "Properties": {
        "Type": "MANAGED",
        "ReplaceComputeEnvironment": False,
        "ComputeResources": {
            "Type": "FARGATE",
            "MaxvCpus": {"Ref": "Most"},
            "Subnets": ["subnet-1"],
            "SecurityGroupIds": ["sg-1"],
        },
        "Tags": {"Of": {"Fn::Sub": "for ${Who}"}},
    },
}
PARAMETERS = {
    "Most": {"Type": "Number", "Default": 4},
    "Who": {"Type": "String", "Default": "me"},
}


def test_an_unknown_resource_type_is_refused(session: LocalSession) -> None:
    """A template with a type that the emulator lacks is refused before anything is made."""
    template = _template({"Bucket": {"Type": "AWS::S3::Bucket"}, "X": {"Type": "AWS::FSx::Volume"}})
    with pytest.raises(ServiceError, match="Unrecognized resource types: \\[AWS::FSx::Volume\\]"):
        deploy_stack(session, template, "unknown-type", {})
    stacks = session.client("cloudformation").describe_stacks()["Stacks"]
    assert "unknown-type" not in [stack["StackName"] for stack in stacks]


def test_a_property_that_would_be_lost_is_refused(session: LocalSession) -> None:
    """A property that the emulator does not carry out is refused by name."""
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"WebsiteConfiguration": {}}}
    with pytest.raises(ServiceError, match="WebsiteConfiguration of AWS::S3::Bucket"):
        deploy_stack(session, _template({"Bucket": bucket}), "lost-property", {})


def test_an_unknown_batch_property_fails_the_stack(session: LocalSession) -> None:
    """A misspelt property of a Batch resource fails the stack, with the resource and the property
    in one sentence."""
    environment = json.loads(json.dumps(ENVIRONMENT))
    environment["Properties"]["ComputeResources"]["MaxCpus"] = 1
    with pytest.raises(
        ConfigurationError,
        match="'misspelt' ended in ROLLBACK_COMPLETE because of Environment"
        r" \(AWS::Batch::ComputeEnvironment\): Encountered unsupported property"
        r" ComputeResources\.MaxCpus\.$",
    ) as caught:
        deploy_stack(
            session, _template({"Environment": environment}, Parameters=PARAMETERS), "misspelt", {}
        )
    assert caught.value.exit_code == 78


def test_a_failed_stack_leaves_nothing_and_can_be_deployed_again(session: LocalSession) -> None:
    """What was made before the failure is gone, and the next deployment replaces the dead stack."""
    queue = {
        "Type": "AWS::Batch::JobQueue",
        "DependsOn": "Environment",
        "Properties": {
            "JobQueueName": "again",
            "Priority": 1,
            "ComputeEnvironmentOrder": [{"Order": 1, "ComputeEnvironment": "nowhere"}],
        },
    }
    resources: dict[str, Any] = {"Environment": ENVIRONMENT, "Queue": queue}
    with pytest.raises(ConfigurationError, match=r"because of Queue .*nowhere not found"):
        deploy_stack(session, _template(resources, Parameters=PARAMETERS), "again", {})
    batch = session.client("batch")
    assert batch.describe_compute_environments()["computeEnvironments"] == []
    queue["Properties"]["ComputeEnvironmentOrder"] = [  # type: ignore[index]
        {"Order": 1, "ComputeEnvironment": {"Ref": "Environment"}}
    ]
    template = _template(
        resources, Parameters=PARAMETERS, Outputs={"Queue": {"Value": {"Ref": "Queue"}}}
    )
    outputs = deploy_stack(session, template, "again", {})
    assert outputs["Queue"].endswith(":job-queue/again")
    session.client("cloudformation").delete_stack(StackName="again")
    assert batch.describe_job_queues(jobQueues=["again"])["jobQueues"] == []


def test_updates_reach_batch(session: LocalSession) -> None:
    """An update changes size and tags of a compute environment in place, also through Fn::Sub; the
    same again is no change."""
    template = _template(
        {"Environment": ENVIRONMENT},
        Parameters=PARAMETERS,
        Outputs={"Arn": {"Value": {"Ref": "Environment"}}},
    )
    arn = deploy_stack(session, template, "updated", {})["Arn"]
    for _ in range(2):
        assert deploy_stack(session, template, "updated", {"Most": "8", "Who": "you"})["Arn"] == arn
    found = session.client("batch").describe_compute_environments(computeEnvironments=[arn])
    (environment,) = found["computeEnvironments"]
    assert environment["computeResources"]["maxvCpus"] == 8
    assert environment["tags"] == {"Of": "for you"}
    session.client("cloudformation").delete_stack(StackName="updated")


def test_an_update_that_is_not_carried_out_says_so(session: LocalSession) -> None:
    """A change that the emulator cannot make in place fails instead of looking done."""
    resources: dict[str, Any] = {
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.9.0.0/16"}}
    }
    deploy_stack(session, _template(resources), "fixed", {})
    resources["Vpc"]["Properties"]["CidrBlock"] = "10.8.0.0/16"
    with pytest.raises(ConfigurationError, match=r"because of Vpc .*cannot change it in place"):
        deploy_stack(session, _template(resources), "fixed", {})


def test_definitions_and_policies_are_made_in_our_batch(session: LocalSession) -> None:
    """Job definitions and scheduling policies of a template are Batch's, with all they hold."""
    template = _template(
        {
            "Definition": {
                "Type": "AWS::Batch::JobDefinition",
                "Properties": {
                    "Type": "container",
                    "PlatformCapabilities": ["EC2"],
                    "Timeout": {"AttemptDurationSeconds": 90},
                    "ContainerProperties": {
                        "Image": "busybox",
                        "Command": ["true"],
                        "ResourceRequirements": [
                            {"Type": "VCPU", "Value": 1},
                            {"Type": "MEMORY", "Value": 512},
                        ],
                        "Environment": [{"Name": "A", "Value": "b"}],
                    },
                },
            },
            "Policy": {"Type": "AWS::Batch::SchedulingPolicy", "Properties": {"Name": "fair"}},
        },
        Outputs={
            "Definition": {"Value": {"Ref": "Definition"}},
            "Policy": {"Value": {"Fn::GetAtt": ["Policy", "Arn"]}},
        },
    )
    outputs = deploy_stack(session, template, "definitions", {})
    found = session.client("batch").describe_job_definitions(jobDefinitions=[outputs["Definition"]])
    (definition,) = found["jobDefinitions"]
    assert definition["timeout"] == {"attemptDurationSeconds": 90}
    assert definition["containerProperties"]["environment"] == [{"name": "A", "value": "b"}]
    assert {r["value"] for r in definition["containerProperties"]["resourceRequirements"]} == {
        "1",
        "512",
    }
    assert outputs["Policy"].endswith(":scheduling-policy/fair")


def test_a_change_set_deploys_with_outputs(session: LocalSession) -> None:
    """What `aws cloudformation deploy` does (a change set) ends in a stack with outputs."""
    client = session.client("cloudformation")
    client.create_change_set(
        StackName="by-change-set",
        ChangeSetName="first",
        ChangeSetType="CREATE",
        TemplateBody=template_text(),
        Parameters=[{"ParameterKey": "Owner", "ParameterValue": "somebody"}],
        Capabilities=["CAPABILITY_IAM"],
    )
    client.execute_change_set(StackName="by-change-set", ChangeSetName="first")
    (stack,) = client.describe_stacks(StackName="by-change-set")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    outputs = {item["OutputKey"]: item["OutputValue"] for item in stack["Outputs"]}
    assert outputs["WorkflowQueue"] == "by-change-set-workflow"
    queue = session.client("batch").describe_job_queues(jobQueues=[outputs["WorkflowQueue"]])
    assert queue["jobQueues"][0]["tags"]["Owner"] == "somebody"
    client.delete_stack(StackName="by-change-set")
    # The bucket is retained, as on AWS.
    session.client("s3").head_bucket(Bucket=outputs["BucketName"])
    with pytest.raises(botocore.exceptions.ClientError):
        session.client("iam").get_role(RoleName=outputs["WorkflowEngineRoleArn"].rpartition("/")[2])


def test_resources_are_deleted_after_all_that_depend_on_them() -> None:
    """Whatever says the dependency: DependsOn, Ref, GetAtt or a name within Sub."""
    resources = yaml.safe_load(
        """
        Table: {Type: A}
        Gateway: {Type: B, Properties: {Name: {"Fn::Sub": "${AWS::StackName}-x"}}}
        Route: {Type: C, Properties: {RouteTableId: {Ref: Table}}, DependsOn: Gateway}
        Subnet: {Type: D, Properties: {Id: {"Fn::GetAtt": [Route, Id]}}}
        Role: {Type: E, Properties: {Arn: {"Fn::GetAtt": Subnet.Arn}}}
        Policy: {Type: F, Properties: {Text: {"Fn::Sub": "${Role.Arn}/${!Table}"}}}
        """
    )
    order = deletion_order(resources)
    assert order[:4] == ["Policy", "Role", "Subnet", "Route"]
    assert set(order[4:]) == {"Table", "Gateway"}


def test_each_embedded_aws_of_a_process_has_its_own_stacks_resources(
    cloud: LocalCloud, session: LocalSession, tmp_path: Path
) -> None:
    """A stack's queues are where it was deployed, also after another embedded AWS was started."""
    with LocalCloud(tmp_path / "state", tmp_path / "filesystem") as other:
        template = _template({"Environment": ENVIRONMENT}, Parameters=PARAMETERS)
        deploy_stack(session, template, "here", {})
        here = session.client("batch").describe_compute_environments()["computeEnvironments"]
        there = other.batch.describe_compute_environments({})["computeEnvironments"]
        assert here and not there
        session.client("cloudformation").delete_stack(StackName="here")


def test_installing_again_changes_nothing(cloud: LocalCloud, session: LocalSession) -> None:
    """`install` may be called any number of times."""
    for _ in range(3):
        install()
    template = _template({"Environment": ENVIRONMENT}, Parameters=PARAMETERS)
    deploy_stack(session, template, "installed", {})
    session.client("cloudformation").delete_stack(StackName="installed")


def _event_template(retention_s: int, service: str) -> str:
    return _template(
        {
            "Queue": {
                "Type": "AWS::SQS::Queue",
                "Properties": {"MessageRetentionPeriod": retention_s},
            },
            "Rule": {
                "Type": "AWS::Events::Rule",
                "Properties": {
                    "EventPattern": {"source": [service]},
                    "Targets": [{"Id": "1", "Arn": {"Fn::GetAtt": ["Queue", "Arn"]}}],
                },
            },
            "Policy": {
                "Type": "AWS::SQS::QueuePolicy",
                "Properties": {
                    "Queues": [{"Ref": "Queue"}],
                    "PolicyDocument": {
                        "Statement": [
                            {
                                "Effect": "Allow",
                                "Principal": {"Service": "events.amazonaws.com"},
                                "Action": "sqs:SendMessage",
                                "Resource": {"Fn::GetAtt": ["Queue", "Arn"]},
                                "Condition": {
                                    "ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["Rule", "Arn"]}}
                                },
                            }
                        ]
                    },
                },
            },
        }
    )


def test_event_rules_and_queues_change_and_go(session: LocalSession) -> None:
    """A rule, its queue and the queue's policy are made, changed in place, and deleted."""
    sqs, events = session.client("sqs"), session.client("events")

    def look() -> tuple[str, str, str]:
        (rule,) = events.list_rules(NamePrefix="told")["Rules"]
        (url,) = sqs.list_queues(QueueNamePrefix="told")["QueueUrls"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        (statement,) = json.loads(attributes["Policy"])["Statement"]
        assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": rule["Arn"]}}
        return rule["EventPattern"], attributes["MessageRetentionPeriod"], url

    deploy_stack(session, _event_template(120, "aws.batch"), "told", {}, {})
    pattern, retention, url = look()
    assert (pattern, retention) == ('{"source": ["aws.batch"]}', "120")
    deploy_stack(session, _event_template(300, "aws.ec2"), "told", {}, {})
    assert look() == ('{"source": ["aws.ec2"]}', "300", url)
    session.client("cloudformation").delete_stack(StackName="told")
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix="told")
    assert events.list_rules(NamePrefix="told")["Rules"] == []
