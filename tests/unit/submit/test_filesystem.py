"""FSx file systems in states that the embedded AWS does not stay in."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.stub import Stubber

from miniwdl_cloud.aws.discovery import Queue
from miniwdl_cloud.aws.session import AwsSession
from miniwdl_cloud.errors import AccessDenied, ConfigurationError, NotFound
from miniwdl_cloud.settings import FS, Settings, mapping_source
from miniwdl_cloud.submit import filesystem
from miniwdl_cloud.submit.options import Options

FSX = "fs-0123456789abcdef0"
QUEUES = [Queue("work", "arn", {}, "EC2", ("subnet-1",))]


class Found:
    """A session whose answers are scripted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        self.session = AwsSession("us-east-1")
        self.efs, self.fsx, self.ec2 = (
            Stubber(self.session.client(name)) for name in ("efs", "fsx", "ec2")
        )
        for stubber in (self.efs, self.fsx, self.ec2):
            stubber.activate()
        self.efs.add_client_error(
            "describe_file_systems", "FileSystemNotFound", http_status_code=404
        )

    def lustre(self, **members: Any) -> None:
        """FSx knows the file system so."""
        detail = {
            "FileSystemId": FSX,
            "FileSystemType": "LUSTRE",
            "Lifecycle": "AVAILABLE",
            "VpcId": "vpc-01234567",
            "LustreConfiguration": {"MountName": "abcdefgh"},
            **members,
        }
        self.fsx.add_response("describe_file_systems", {"FileSystems": [detail]})

    def find(self) -> filesystem.FileSystem:
        """What the command makes of it."""
        settings = Settings(mapping_source({(FS.section, FS.key): FSX}))
        options = Options(settings, (), 1, 4096, None, True, None, *(False,) * 7)
        return filesystem.find(options, settings, self.session, QUEUES)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    """A session whose answers are scripted."""
    return Found(monkeypatch)


@pytest.mark.parametrize("lifecycle", ["CREATING", "FAILED", "DELETING", "MISCONFIGURED"])
def test_not_available(found: Found, lifecycle: str) -> None:
    """A file system that is not available is named with its state."""
    found.lustre(Lifecycle=lifecycle)
    with pytest.raises(ConfigurationError, match=f"is {lifecycle}, not AVAILABLE; wait"):
        found.find()


def test_no_mount_name(found: Found) -> None:
    """A file system without a mount name cannot be mounted."""
    found.lustre(LustreConfiguration={})
    with pytest.raises(ConfigurationError, match="no mount name"):
        found.find()


@pytest.mark.parametrize("lifecycle", ["AVAILABLE", "UPDATING"])
def test_usable(found: Found, lifecycle: str) -> None:
    """An available one of the same VPC is taken, also while it is being updated."""
    found.lustre(Lifecycle=lifecycle)
    found.ec2.add_response(
        "describe_subnets", {"Subnets": [{"SubnetId": "subnet-1", "VpcId": "vpc-01234567"}]}
    )
    assert found.find() == filesystem.FileSystem("/mnt/fsx", fsx_id=FSX)


def test_what_may_not_be_asked_is_trusted(found: Found) -> None:
    """Without permission to look, the file system is taken on trust; so is its VPC."""
    found.fsx.add_client_error(
        "describe_file_systems", "AccessDeniedException", http_status_code=400
    )
    assert found.find().fsx_id == FSX
    found.efs.add_client_error("describe_file_systems", "FileSystemNotFound", http_status_code=404)
    found.lustre()
    found.ec2.add_client_error("describe_subnets", "UnauthorizedOperation", http_status_code=403)
    assert found.find().fsx_id == FSX


def test_unknown_everywhere(found: Found) -> None:
    """An id that neither EFS nor FSx knows is reported with both names."""
    found.fsx.add_client_error("describe_file_systems", "FileSystemNotFound", http_status_code=400)
    with pytest.raises(NotFound, match="no EFS or FSx for Lustre file system"):
        found.find()


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing credentials are not mistaken for a missing permission."""
    settings = Settings(mapping_source({(FS.section, FS.key): FSX}))
    options = Options(settings, (), 1, 4096, None, True, None, *(False,) * 7)
    with pytest.raises(AccessDenied, match="AWS_ACCESS_KEY_ID"):
        filesystem.find(options, settings, AwsSession("us-east-1"), QUEUES)
