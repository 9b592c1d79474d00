"""Thin wrappers over CloudWatch Logs, EFS, FSx and IAM, and what a deployment says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import Stubber

from miniwdl_cloud.aws.batch import BatchClient
from miniwdl_cloud.aws.discovery import look_up_queues
from miniwdl_cloud.aws.efs import AccessPoint, Efs
from miniwdl_cloud.aws.fsx import Fsx
from miniwdl_cloud.aws.iam import ROLE_ARN, Iam
from miniwdl_cloud.aws.logs import LogStream
from miniwdl_cloud.aws.session import AwsSession
from miniwdl_cloud.errors import AccessDenied, ConfigurationError, NotFound

ACCESS_POINT = "arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/fsap-1"
QUEUE = "arn:aws:batch:us-east-1:123456789012:job-queue/"
ENVIRONMENT = "arn:aws:batch:us-east-1:123456789012:compute-environment/"
ROLE = "arn:aws:iam::123456789012:role/path/engine"


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> AwsSession:
    """A session with dummy credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    return AwsSession("us-east-1")


def stub(session: AwsSession, service: str) -> Stubber:
    """Scripted answers for a service; they are checked against botocore's model."""
    stubber = Stubber(session.client(service))
    stubber.activate()
    return stubber


def page(token: str, *messages: str) -> dict[str, Any]:
    """An answer of GetLogEvents."""
    return {
        "events": [{"timestamp": 1, "message": text, "ingestionTime": 2} for text in messages],
        "nextForwardToken": token,
        "nextBackwardToken": "b",
    }


def texts(stream: LogStream) -> list[str]:
    """The new events' messages."""
    return [event.message for event in stream.new_events()]


def test_log_pages(session: AwsSession) -> None:
    """Pages are read until a token repeats, empty ones too; the next look goes on from there."""
    stubber = stub(session, "logs")
    asked = {"logGroupName": "g", "logStreamName": "s", "startFromHead": True}
    stubber.add_response("get_log_events", page("1", "a", "b"), asked)
    stubber.add_response("get_log_events", page("2"), {**asked, "nextToken": "1"})
    stubber.add_response("get_log_events", page("3", "c"), {**asked, "nextToken": "2"})
    stubber.add_response("get_log_events", page("3"), {**asked, "nextToken": "3"})
    stubber.add_response("get_log_events", page("4", "d"), {**asked, "nextToken": "3"})
    stubber.add_response("get_log_events", page("4"), {**asked, "nextToken": "4"})
    stream = LogStream(session, "g", "s")
    assert texts(stream) == ["a", "b", "c"]
    assert texts(stream) == ["d"]
    stubber.assert_no_pending_responses()


def test_log_stream_that_does_not_exist_yet(session: AwsSession) -> None:
    """A stream named before its first event is empty, not an error."""
    stubber = stub(session, "logs")
    stubber.add_client_error("get_log_events", "ResourceNotFoundException", http_status_code=400)
    stubber.add_response("get_log_events", page("1", "a"))
    stubber.add_response("get_log_events", page("1"))
    stream = LogStream(session, "g", "s")
    assert texts(stream) == []
    assert texts(stream) == ["a"]


def test_access_point(session: AwsSession) -> None:
    """An access point tells its file system and state; an unknown one is None."""
    stubber = stub(session, "efs")
    found = {
        "AccessPointId": "fsap-1",
        "AccessPointArn": ACCESS_POINT,
        "FileSystemId": "fs-1",
        "LifeCycleState": "available",
    }
    stubber.add_response("describe_access_points", {"AccessPoints": [found]})
    stubber.add_client_error("describe_access_points", "AccessPointNotFound", http_status_code=404)
    stubber.add_client_error(
        "describe_access_points", "AccessDeniedException", http_status_code=403
    )
    efs = Efs(session)
    assert efs.access_point("fsap-1") == AccessPoint("fsap-1", "fs-1", "available")
    assert efs.access_point("fsap-2") is None
    with pytest.raises(AccessDenied, match="DescribeAccessPoints"):
        efs.access_point("fsap-1")


def test_file_systems(session: AwsSession) -> None:
    """EFS and FSx file systems are told apart, and from none at all."""
    efs_stub, fsx_stub = stub(session, "efs"), stub(session, "fsx")
    efs_stub.add_client_error("describe_file_systems", "FileSystemNotFound", http_status_code=404)
    zfs = {"FileSystemId": "fs-01234567", "FileSystemType": "OPENZFS"}
    fsx_stub.add_response("describe_file_systems", {"FileSystems": [zfs]})
    fsx_stub.add_client_error("describe_file_systems", "FileSystemNotFound", http_status_code=400)
    fsx_stub.add_client_error(
        "describe_file_systems", "AccessDeniedException", http_status_code=400
    )
    assert not Efs(session).file_system_exists("fs-01234567")
    fsx = Fsx(session)
    found = fsx.file_system("fs-01234567")
    assert found is not None and (found.kind, found.mount_name) == ("OPENZFS", "")
    assert fsx.file_system("fs-01234567") is None
    with pytest.raises(AccessDenied):
        fsx.file_system("fs-01234567")


def test_fsx_by_mount_name(session: AwsSession) -> None:
    """A mount name finds its file system on whatever page it is; an ambiguous one finds none."""
    stubber = stub(session, "fsx")

    def item(number: int, name: str) -> dict[str, Any]:
        return {
            "FileSystemId": f"fs-0000000{number}",
            "FileSystemType": "LUSTRE",
            "LustreConfiguration": {"MountName": name},
        }

    for _ in range(2):
        stubber.add_response(
            "describe_file_systems",
            {"FileSystems": [item(1, "fsx"), item(2, "abcdefgh")], "NextToken": "bW9yZQ=="},
        )
        stubber.add_response("describe_file_systems", {"FileSystems": [item(3, "fsx")]})
    fsx = Fsx(session)
    found = fsx.by_mount_name("abcdefgh")
    assert found is not None and found.id == "fs-00000002"
    assert fsx.by_mount_name("fsx") is None


def test_fsx_associations(session: AwsSession) -> None:
    """All pages of associations are read; those that do not work are left out."""
    stubber = stub(session, "fsx")

    def item(path: str, lifecycle: str) -> dict[str, Any]:
        return {
            "FileSystemPath": path,
            "DataRepositoryPath": "s3://bucket/a",
            "Lifecycle": lifecycle,
        }

    asked = {"Filters": [{"Name": "file-system-id", "Values": ["fs-01234567"]}]}
    stubber.add_response(
        "describe_data_repository_associations",
        {"Associations": [item("/ns1/", "AVAILABLE")], "NextToken": "bW9yZQ=="},
        asked,
    )
    stubber.add_response(
        "describe_data_repository_associations",
        {"Associations": [item("/", "UPDATING"), item("/ns3", "MISCONFIGURED")]},
        {**asked, "NextToken": "bW9yZQ=="},
    )
    found = Fsx(session).associations("fs-01234567")
    assert [(one.path, str(one.location)) for one in found] == [
        ("ns1", "s3://bucket/a/"),
        ("", "s3://bucket/a/"),
    ]


def test_role(session: AwsSession) -> None:
    """A role exists, does not, or cannot be asked for; its path is not part of its name."""
    stubber = stub(session, "iam")
    role = {
        "Path": "/path/",
        "RoleName": "engine",
        "RoleId": "A" * 20,
        "Arn": ROLE,
        "CreateDate": "2026-01-01",
    }
    stubber.add_response("get_role", {"Role": role}, {"RoleName": "engine"})
    stubber.add_client_error("get_role", "NoSuchEntity", http_status_code=404)
    stubber.add_client_error("get_role", "AccessDenied", http_status_code=403)
    iam = Iam(session)
    assert [iam.role_exists(ROLE) for _ in range(3)] == [True, False, None]


def test_role_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing credentials are not mistaken for a missing permission."""
    with pytest.raises(AccessDenied, match="AWS_ACCESS_KEY_ID"):
        Iam(AwsSession("us-east-1")).role_exists(ROLE)


@pytest.mark.parametrize(
    ("arn", "valid"),
    [
        ("arn:aws:iam::123456789012:role/engine", True),
        ("arn:aws-us-gov:iam::123456789012:role/a/b/engine", True),
        ("arn:aws-cn:iam::123456789012:role/e+=,.@-", True),
        ("arn:aws:iam::123456789012:user/engine", False),
        ("arn:aws:iam::1234:role/engine", False),
        ("arn:aws:iam::123456789012:role/", False),
        ("engine", False),
    ],
)
def test_role_arns(arn: str, valid: bool) -> None:
    """What is an ARN of a role, in every partition."""
    assert bool(ROLE_ARN.fullmatch(arn)) == valid


class FakeBatch:
    """Answers for queues and compute environments."""

    def __init__(self, environments: dict[str, str] | None) -> None:
        self._environments = environments

    def describe_queues(self, names: list[str]) -> list[dict[str, Any]]:
        known = {
            "work": {"tags": {"DefaultTaskQueue": "task"}, "on": "fargate"},
            "task": {"on": "spot"},
            "off": {"state": "DISABLED", "on": "spot"},
            "broken": {"status": "INVALID", "statusReason": "why", "on": "spot"},
        }
        return [
            {
                "jobQueueName": name,
                "jobQueueArn": QUEUE + name,
                "state": item.get("state", "ENABLED"),
                "status": item.get("status", "VALID"),
                "statusReason": item.get("statusReason", ""),
                "tags": item.get("tags", {}),
                "computeEnvironmentOrder": [
                    {"order": 1, "computeEnvironment": f"{ENVIRONMENT}{item['on']}"}
                ],
            }
            for name, item in known.items()
            if name in names or QUEUE + name in names
        ]

    def describe_compute_environments(self, names: list[str]) -> list[dict[str, Any]]:
        if self._environments is None:
            raise AccessDenied("no")
        return [
            {
                "computeEnvironmentName": name,
                "computeEnvironmentArn": ENVIRONMENT + name,
                "computeResources": {"type": kind},
            }
            for name, kind in self._environments.items()
        ]


@pytest.fixture
def batch() -> Iterator[BatchClient]:
    """Batch with a Fargate and a spot compute environment."""
    yield FakeBatch({"fargate": "FARGATE_SPOT", "spot": "SPOT"})  # type: ignore[misc]


def test_queues(batch: BatchClient) -> None:
    """Queues are found by name or ARN, in the order asked, with tags and platform."""
    found = look_up_queues(batch, [(QUEUE + "task", "task queue"), ("work", "workflow queue")])
    assert [queue.name for queue in found] == ["task", "work"]
    assert [queue.platform for queue in found] == ["EC2", "FARGATE"]
    assert found[1].tags == {"DefaultTaskQueue": "task"}


def test_platform_that_may_not_be_asked_for() -> None:
    """Without permission to describe compute environments the platform is left open."""
    fake: Any = FakeBatch(None)
    assert look_up_queues(fake, [("work", "workflow queue")])[0].platform is None


def test_queues_that_take_no_jobs(batch: BatchClient) -> None:
    """Missing, disabled and invalid queues are named with their part."""
    with pytest.raises(NotFound, match="The task queue gone does not exist"):
        look_up_queues(batch, [("work", "workflow queue"), ("gone", "task queue")])
    with pytest.raises(ConfigurationError, match="The task queue off is disabled"):
        look_up_queues(batch, [("off", "task queue")])
    with pytest.raises(ConfigurationError, match=r"broken is INVALID \(why\)"):
        look_up_queues(batch, [("broken", "task queue")])
