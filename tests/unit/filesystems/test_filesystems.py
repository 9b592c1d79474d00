"""Shared filesystems as Batch volumes."""

from __future__ import annotations

import botocore.session
import pytest
from botocore.validate import ParamValidator

from miniwdl_cloud.filesystems.base import SharedFilesystem
from miniwdl_cloud.filesystems.efs import Efs
from miniwdl_cloud.filesystems.host_mount import HostMount

SHAPE = botocore.session.get_session().get_service_model("batch").shape_for("ContainerProperties")


@pytest.mark.parametrize(
    "filesystem",
    [
        Efs("/mnt/efs", "fs-1", "fsap-1"),
        Efs("/mnt/efs", "fs-1"),
        HostMount("/mnt/net"),
    ],
)
def test_volumes_and_mount_points_fit_the_api(filesystem: SharedFilesystem) -> None:
    """They are valid by botocore's model, and the mount point names the volume."""
    volumes, mounts = filesystem.volumes(), filesystem.mount_points()
    report = ParamValidator().validate({"volumes": volumes, "mountPoints": mounts}, SHAPE)
    assert not report.has_errors(), report.generate_report()
    assert [mount["sourceVolume"] for mount in mounts] == [volume["name"] for volume in volumes]
    assert [mount["containerPath"] for mount in mounts] == [filesystem.mount]


def test_an_access_point_needs_encryption() -> None:
    """With an access point transit encryption is on (API reference, EFSVolumeConfiguration)."""
    (volume,) = Efs("/mnt/efs", "fs-1", "fsap-1").volumes()
    assert volume["efsVolumeConfiguration"] == {
        "fileSystemId": "fs-1",
        "transitEncryption": "ENABLED",
        "authorizationConfig": {"accessPointId": "fsap-1"},
    }
    (volume,) = Efs("/mnt/efs", "fs-1").volumes()
    assert "authorizationConfig" not in volume["efsVolumeConfiguration"]
