"""What the embedded AWS Batch refuses, as AWS does, and that it takes what is just allowed."""

from __future__ import annotations

from typing import Any

import botocore.exceptions
import pytest
from batch_helper import Batch, unique

RESOURCES = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]
ROLE = "arn:aws:iam::123456789012:role/role"


def refusal(call: Any, **params: Any) -> str:
    """The message of the ClientException (HTTP 400) that a call ends in."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**params)
    response = caught.value.response
    assert response["Error"]["Code"] == "ClientException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return str(response["Error"]["Message"])


def define(batch: Batch, container: dict[str, Any], **params: Any) -> str:
    """The refusal of a job definition."""
    return refusal(
        batch.api.register_job_definition,
        **{
            "jobDefinitionName": "refused",
            "type": "container",
            "containerProperties": {
                "image": "busybox",
                "resourceRequirements": RESOURCES,
                **container,
            },
            **params,
        },
    )


@pytest.fixture(scope="module")
def fargate_queue(batch: Batch) -> str:
    """A job queue on Fargate."""
    return batch.queue(batch.environment(type="FARGATE"))


@pytest.fixture(scope="module")
def definition(batch: Batch) -> str:
    """A job definition that takes a moment."""
    return batch.definition("true")


class TestSubmitJob:
    """SubmitJob."""

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"jobName": "-x"}, "Job name should match valid pattern"),
            ({"jobName": "a b"}, "Job name should match valid pattern"),
            ({"jobName": "x" * 129}, "Job name should match valid pattern"),
            ({"jobQueue": "nowhere"}, "JobQueue nowhere not found."),
            ({"jobDefinition": "nothing:1"}, "JobDefinition nothing:1 not found."),
            ({"tags": {f"k{i}": "" for i in range(51)}}, "Number of tags"),
            ({"tags": {"k" * 129: ""}}, "Tag key length"),
            ({"tags": {"k": "v" * 257}}, "at most 256"),
            ({"tags": {"aws:k": "v"}}, "reserved"),
            ({"tags": {"k": "a,b"}}, "not allowed in tags"),
            ({"tags": {"k": "a\nb"}}, "not allowed in tags"),
            ({"arrayProperties": {"size": 1}}, "Array size must be between 2 and 10000"),
            ({"arrayProperties": {"size": 10001}}, "Array size must be between 2 and 10000"),
            ({"timeout": {"attemptDurationSeconds": 59}}, "Timeout must be at least 60"),
            ({"retryStrategy": {"attempts": 0}}, "Retry attempts"),
            ({"retryStrategy": {"attempts": 11}}, "Retry attempts"),
            ({"dependsOn": [{"jobId": "none"}]}, "Job none of dependsOn not found."),
            ({"dependsOn": [{"jobId": "none"}] * 21}, "at most 20 jobs"),
            ({"dependsOn": [{"type": "SEQUENTIAL"}]}, "SEQUENTIAL"),
            ({"containerOverrides": {"command": ["a", ""]}}, "empty string"),
            (
                {"containerOverrides": {"environment": [{"name": "AWS_BATCH_X", "value": ""}]}},
                "AWS_BATCH",
            ),
            (
                {
                    "containerOverrides": {
                        "resourceRequirements": [{"type": "VCPU", "value": "1.0"}]
                    }
                },
                "Value 1.0 for type VCPU in resourceRequirement is not valid.",
            ),
            ({"shareIdentifier": "share"}, "scheduling policy"),
            ({"schedulingPriorityOverride": 10000}, "between 0 and 9999"),
            ({"nodeOverrides": {"numNodes": 2}}, "nodeOverrides"),
            ({"parameters": {"p": "x" * 31_000}}, "Job size must be less than 30 KiB, got 31 KiB"),
        ],
    )
    def test_refused(
        self, batch: Batch, queue: str, definition: str, params: dict[str, Any], message: str
    ) -> None:
        """A request over a limit is refused with a message that says which."""
        given = {"jobName": "j", "jobQueue": queue, "jobDefinition": definition, **params}
        assert message in refusal(batch.api.submit_job, **given)

    @pytest.mark.parametrize(
        "params",
        [
            {"jobName": "x" * 128},
            {"jobName": "0_-"},
            {"tags": {f"k{i}": "" for i in range(50)}},
            {"tags": {"k" * 128: "v" * 256, "é _.:/=+-@": "ß1"}},
            {"arrayProperties": {"size": 2}},
            {"timeout": {"attemptDurationSeconds": 60}},
            {"retryStrategy": {"attempts": 10}},
            {"schedulingPriorityOverride": 9999},
            {"parameters": {"p": "x" * 30_000}},
            {"containerOverrides": {"environment": [{"name": "AWS_REGION", "value": ""}]}},
        ],
        ids=range(10),
    )
    def test_accepted(
        self, batch: Batch, queue: str, definition: str, params: dict[str, Any]
    ) -> None:
        """A request at a limit is accepted."""
        given = {"jobName": "j", "jobQueue": queue, "jobDefinition": definition, **params}
        assert batch.api.submit_job(**given)["jobId"]

    def test_disabled_queue(self, batch: Batch, definition: str) -> None:
        """A disabled queue takes no jobs."""
        queue = batch.queue(state="DISABLED")
        given = {"jobName": "j", "jobQueue": queue, "jobDefinition": definition}
        assert "is not ENABLED" in refusal(batch.api.submit_job, **given)

    def test_deregistered_definition(self, batch: Batch, queue: str) -> None:
        """An INACTIVE definition cannot be submitted; its name means the newest ACTIVE one."""
        name = unique("revisions")
        arns = [batch.definition(jobDefinitionName=name) for _ in range(2)]
        batch.api.deregister_job_definition(jobDefinition=arns[1])
        given = {"jobName": "j", "jobQueue": queue, "jobDefinition": arns[1]}
        assert "not found" in refusal(batch.api.submit_job, **given)
        job_id = batch.submit(name, queue)
        assert batch.describe(job_id)["jobDefinition"] == arns[0]

    def test_platform_of_queue(
        self, batch: Batch, queue: str, fargate_queue: str, definition: str
    ) -> None:
        """An EC2 definition does not go to a Fargate queue, nor the reverse."""
        given = {"jobName": "j", "jobQueue": fargate_queue, "jobDefinition": definition}
        assert "platformCapabilities EC2" in refusal(batch.api.submit_job, **given)
        fargate = batch.definition(
            platformCapabilities=["FARGATE"],
            container={
                "executionRoleArn": ROLE,
                "resourceRequirements": [
                    {"type": "VCPU", "value": "0.25"},
                    {"type": "MEMORY", "value": "512"},
                ],
            },
        )
        given = {"jobName": "j", "jobQueue": queue, "jobDefinition": fargate}
        assert "platformCapabilities FARGATE" in refusal(batch.api.submit_job, **given)
        detail = batch.wait(batch.submit(fargate, fargate_queue))
        assert detail["status"] == "SUCCEEDED"
        assert "containerInstanceArn" not in detail["container"]
        given["jobQueue"] = fargate_queue
        given["containerOverrides"] = {"vcpus": 1}
        assert "not applicable for Fargate" in refusal(batch.api.submit_job, **given)
        overrides = {"resourceRequirements": [{"type": "MEMORY", "value": "4096"}]}
        given["containerOverrides"] = overrides
        assert "is not valid for Fargate" in refusal(batch.api.submit_job, **given)

    def test_share_identifier(self, batch: Batch, definition: str) -> None:
        """A queue with a scheduling policy needs a share identifier."""
        policy = batch.api.create_scheduling_policy(name=unique("policy"), fairsharePolicy={})
        queue = batch.queue(schedulingPolicyArn=policy["arn"])
        given = {"jobName": "j", "jobQueue": queue, "jobDefinition": definition}
        assert "shareIdentifier is required" in refusal(batch.api.submit_job, **given)
        detail = batch.wait(batch.submit(definition, queue, shareIdentifier="share"))
        assert detail["shareIdentifier"] == "share"
        by_share = [{"name": "SHARE_IDENTIFIER", "values": ["share"]}]
        listed = batch.api.list_jobs(jobQueue=queue, jobStatus="SUCCEEDED", filters=by_share)
        assert [job["jobId"] for job in listed["jobSummaryList"]] == [detail["jobId"]]


class TestRegisterJobDefinition:
    """RegisterJobDefinition."""

    @pytest.mark.parametrize(
        ("container", "message"),
        [
            ({"image": "x" * 256}, "at most 255 characters"),
            ({"image": ""}, "Container image is not provided."),
            ({"resourceRequirements": RESOURCES[:1]}, "Memory is not provided."),
            ({"resourceRequirements": RESOURCES[1:]}, "vCPU is not provided."),
            (
                {"resourceRequirements": [RESOURCES[0], {"type": "MEMORY", "value": "3"}]},
                "at least 4 MiB",
            ),
            (
                {"resourceRequirements": [{"type": "VCPU", "value": "0"}, RESOURCES[1]]},
                "Please provide a numeric value.",
            ),
            ({"resourceRequirements": RESOURCES + RESOURCES[:1]}, "twice"),
            ({"environment": [{"name": "AWS_BATCH_JOB_ID", "value": "x"}]}, "AWS_BATCH"),
            (
                {"mountPoints": [{"sourceVolume": "v", "containerPath": "/mnt"}]},
                "Unknown volume 'v'",
            ),
            ({"networkConfiguration": {"assignPublicIp": "ENABLED"}}, "only applicable"),
            ({"command": ["x" * 24_600]}, "JobDefinition size must be less than 24 KiB"),
        ],
    )
    def test_refused(self, batch: Batch, container: dict[str, Any], message: str) -> None:
        """A container that Batch refuses is refused."""
        assert message in define(batch, container)

    @pytest.mark.parametrize(
        ("efs", "message"),
        [
            ({"authorizationConfig": {"accessPointId": "fsap-1"}}, "transitEncryption"),
            (
                {
                    "authorizationConfig": {"accessPointId": "fsap-1"},
                    "transitEncryption": "ENABLED",
                    "rootDirectory": "/data",
                },
                "rootDirectory",
            ),
            ({"authorizationConfig": {"iam": "ENABLED"}}, "transitEncryption"),
            (
                {"authorizationConfig": {"iam": "ENABLED"}, "transitEncryption": "ENABLED"},
                "jobRoleArn",
            ),
        ],
    )
    def test_efs_refused(self, batch: Batch, efs: dict[str, Any], message: str) -> None:
        """The rules between members of an EFS volume are kept."""
        volume = {"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1", **efs}}
        assert message in define(batch, {"volumes": [volume]})

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"jobDefinitionName": "a.b"}, "JobDefinition name"),
            ({"tags": {f"k{i}": "" for i in range(51)}}, "Number of tags"),
            (
                {
                    "tags": {f"k{i}" * 30: "v" * 256 for i in range(50)},
                    "parameters": {"p": "x" * 9000},
                },
                "JobDefinition size",
            ),
            ({"timeout": {"attemptDurationSeconds": 1}}, "at least 60"),
            ({"retryStrategy": {"attempts": 11}}, "Retry attempts"),
            ({"platformCapabilities": ["EC2", "FARGATE"]}, "exactly one"),
            ({"type": "multinode"}, "single-container"),
            ({"ecsProperties": {"taskProperties": []}}, "single-container"),
        ],
        ids=range(8),
    )
    def test_definition_refused(self, batch: Batch, params: dict[str, Any], message: str) -> None:
        """What is around the container is checked too."""
        if params.get("type") == "multinode":
            params = {**params, "nodeProperties": {"numNodes": 1, "mainNode": 0}}
            params["nodeProperties"]["nodeRangeProperties"] = []
        assert message in define(batch, {}, **params)

    @pytest.mark.parametrize(
        "rules",
        [
            [{"onExitCode": "1", "action": "EXIT"}] * 6,
            [{"onStatusReason": "*EC2", "action": "EXIT"}],
            [{"onReason": "a*b", "action": "EXIT"}],
            [{"onExitCode": "x", "action": "EXIT"}],
            [{"action": "EXIT"}],
        ],
    )
    def test_evaluate_on_exit_refused(self, batch: Batch, rules: list[dict[str, str]]) -> None:
        """Rules of evaluateOnExit are at most five, with an asterisk at the end only."""
        strategy = {"attempts": 2, "evaluateOnExit": rules}
        assert "evaluateOnExit" in define(batch, {}, retryStrategy=strategy)

    @pytest.mark.parametrize(
        ("vcpus", "memory", "allowed"),
        [
            ("0.25", "512", True),
            ("0.25", "4096", False),
            ("0.5", "4096", True),
            ("1", "2048", True),
            ("1.0", "2048", True),
            ("1", "1024", False),
            ("3", "8192", False),
            ("4", "30720", True),
            ("8", "17408", False),
            ("8", "61440", True),
            ("16", "122880", True),
            ("16", "126976", False),
            ("x", "512", False),
        ],
    )
    def test_fargate_sizes(self, batch: Batch, vcpus: str, memory: str, allowed: bool) -> None:
        """Fargate takes the sizes of its table and no others."""
        container = {
            "executionRoleArn": ROLE,
            "resourceRequirements": [
                {"type": "VCPU", "value": vcpus},
                {"type": "MEMORY", "value": memory},
            ],
        }
        if allowed:
            assert batch.definition(platformCapabilities=["FARGATE"], container=container)
        else:
            message = define(batch, container, platformCapabilities=["FARGATE"])
            assert "is not valid for Fargate" in message

    @pytest.mark.parametrize(
        ("container", "message"),
        [
            ({"executionRoleArn": ""}, "executionRoleArn is required"),
            ({"privileged": True}, "privileged"),
            ({"volumes": [{"name": "v", "host": {"sourcePath": "/x"}}]}, "host volume"),
            ({"linuxParameters": {"sharedMemorySize": 64}}, "sharedMemorySize"),
            ({"ephemeralStorage": {"sizeInGiB": 20}}, "between 21 and 200"),
            ({"ephemeralStorage": {"sizeInGiB": 201}}, "between 21 and 200"),
            ({"logConfiguration": {"logDriver": "syslog"}}, "Log driver"),
            ({"vcpus": 1}, "vcpus is not applicable for Fargate"),
            (
                {
                    "resourceRequirements": [
                        {"type": "VCPU", "value": "1"},
                        {"type": "MEMORY", "value": "2048"},
                        {"type": "GPU", "value": "1"},
                    ]
                },
                "GPU",
            ),
        ],
    )
    def test_fargate_refused(self, batch: Batch, container: dict[str, Any], message: str) -> None:
        """What Fargate does not have is refused at registration."""
        given = {
            "executionRoleArn": ROLE,
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "2048"},
            ],
            **container,
        }
        assert message in define(batch, given, platformCapabilities=["FARGATE"])


class TestOthers:
    """Other operations."""

    def test_describe_jobs(self, batch: Batch) -> None:
        """DescribeJobs takes a hundred ids and no more."""
        assert batch.api.describe_jobs(jobs=["x"] * 100)["jobs"] == []
        assert "at most 100" in refusal(batch.api.describe_jobs, jobs=["x"] * 101)

    @pytest.mark.parametrize(
        "params",
        [
            {},
            {"jobQueue": "queue", "arrayJobId": "x"},
            {"arrayJobId": "no-such-array"},
            {"jobQueue": "no-such-queue"},
        ],
    )
    def test_list_jobs(self, batch: Batch, params: dict[str, str]) -> None:
        """ListJobs takes exactly one of queue and array, which must exist."""
        assert refusal(batch.api.list_jobs, **params)

    def test_list_jobs_status(self, batch: Batch, queue: str) -> None:
        """ListJobs refuses statuses, filters and tokens that do not exist."""
        for params in (
            {"jobStatus": "DONE"},
            {"filters": [{"name": "COLOUR", "values": ["red"]}]},
            {"nextToken": "nonsense"},
        ):
            assert refusal(batch.api.list_jobs, jobQueue=queue, **params)

    def test_end_of_unknown_job(self, batch: Batch) -> None:
        """A job that does not exist cannot be terminated or cancelled."""
        for call in (batch.api.terminate_job, batch.api.cancel_job):
            assert "not found" in refusal(call, jobId="no-such-job", reason="x")

    def test_reason(self, batch: Batch, queue: str) -> None:
        """The reason of a termination is at most 1,024 characters."""
        job_id = batch.submit(batch.definition(), queue)
        message = refusal(batch.api.terminate_job, jobId=job_id, reason="x" * 1025)
        assert "1024" in message

    def test_enumerations(self, batch: Batch) -> None:
        """A value outside an enumeration of the API is refused."""
        message = refusal(
            batch.api.create_compute_environment, computeEnvironmentName="x", type="MAGIC"
        )
        assert "MANAGED, UNMANAGED" in message

    def test_missing_and_wrongly_typed_members(self, batch: Batch) -> None:
        """What botocore would not send is refused by the server too; unknown members are not."""
        from miniwdl_cloud.emulator.errors import ApiError

        service = batch.cloud.batch
        for params in ({}, {"jobs": "not-a-list"}, {"jobs": [1]}):
            with pytest.raises(ApiError):
                service.describe_jobs(params)
        assert service.describe_jobs({"jobs": [], "colour": "red"}) == {"jobs": []}
