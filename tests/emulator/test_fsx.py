"""The embedded FSx: what it accepts, what it refuses, and that its tasks really copy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_helper import make_client, wait_until
from botocore.exceptions import ClientError

from miniwdl_cloud.emulator.server import LocalCloud

BUCKET = "fsx-test-bucket"
REPORT = {"Enabled": False}


@pytest.fixture(scope="module")
def subnet(cloud: LocalCloud) -> str:
    """A subnet, and a bucket to link to."""
    ec2 = make_client(cloud, "ec2")
    make_client(cloud, "s3").create_bucket(Bucket=BUCKET)
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    return str(ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"])


@pytest.fixture(scope="module")
def fsx(cloud: LocalCloud) -> Any:
    """A client."""
    return make_client(cloud, "fsx")


def scratch(fsx: Any, subnet: str, **lustre: Any) -> dict[str, Any]:
    """A new SCRATCH_2 file system with Lustre 2.15."""
    made: dict[str, Any] = fsx.create_file_system(
        FileSystemType="LUSTRE",
        FileSystemTypeVersion="2.15",
        StorageCapacity=1200,
        SubnetIds=[subnet],
        LustreConfiguration={"DeploymentType": "SCRATCH_2", **lustre},
    )["FileSystem"]
    return made


@pytest.fixture
def linked(fsx: Any, subnet: str, cloud: LocalCloud) -> Iterator[tuple[str, Path]]:
    """A file system of its own with /ns1 linked to S3, and the directory that stands for it."""
    scratch(fsx, subnet)  # whichever is first has the shared directory
    name = scratch(fsx, subnet)["FileSystemId"]
    fsx.create_data_repository_association(
        FileSystemId=name, FileSystemPath="/ns1/", DataRepositoryPath=f"s3://{BUCKET}/{name}"
    )
    yield name, cloud.state / "fsx" / name
    cloud.fsx.file_fault = lambda path: None


def export(fsx: Any, name: str, paths: list[str], **more: Any) -> dict[str, Any]:
    """An export task's description once it has ended."""
    task = fsx.create_data_repository_task(
        Type="EXPORT_TO_REPOSITORY", FileSystemId=name, Paths=paths, **{"Report": REPORT, **more}
    )["DataRepositoryTask"]
    assert task["Lifecycle"] == "PENDING"
    return ended(fsx, task["TaskId"])


def ended(fsx: Any, task_id: str) -> dict[str, Any]:
    """A task's description once it has ended."""

    def look() -> dict[str, Any] | None:
        (found,) = fsx.describe_data_repository_tasks(TaskIds=[task_id])["DataRepositoryTasks"]
        return found if "EndTime" in found else None

    return dict(wait_until(look, "the task to end"))


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    """The error code of an answer."""
    return str(error.value.response["Error"]["Code"])


def test_a_file_system_becomes_available(fsx: Any, subnet: str) -> None:
    """A new file system is CREATING, then AVAILABLE, with VPC, mount name and DNS name."""
    made = scratch(fsx, subnet)
    assert made["Lifecycle"] == "CREATING"
    (found,) = fsx.describe_file_systems(FileSystemIds=[made["FileSystemId"]])["FileSystems"]
    assert found["Lifecycle"] == "AVAILABLE"
    assert found["VpcId"].startswith("vpc-")
    assert len(found["LustreConfiguration"]["MountName"]) == 8
    assert found["DNSName"].startswith(made["FileSystemId"])


def test_a_repeated_request_makes_one_file_system(fsx: Any, subnet: str) -> None:
    """A client request token makes creation idempotent, and stands for one request only."""
    request: dict[str, Any] = {
        "FileSystemType": "LUSTRE",
        "StorageCapacity": 1200,
        "SubnetIds": [subnet],
        "ClientRequestToken": "once",
    }
    first = fsx.create_file_system(**request)["FileSystem"]["FileSystemId"]
    assert fsx.create_file_system(**request)["FileSystem"]["FileSystemId"] == first
    with pytest.raises(ClientError) as error:
        fsx.create_file_system(**{**request, "StorageCapacity": 2400})
    assert code_of(error) == "IncompatibleParameterError"


@pytest.mark.parametrize(
    ("changes", "lustre", "code"),
    [
        ({"StorageCapacity": 1300}, {}, "BadRequest"),
        ({"StorageCapacity": None}, {}, "BadRequest"),
        ({"FileSystemTypeVersion": "2.9"}, {}, "BadRequest"),
        ({"FileSystemTypeVersion": "two"}, {}, "ValidationException"),
        ({"SubnetIds": ["subnet-0123456789"]}, {}, "InvalidNetworkSettings"),
        ({"FileSystemType": "NFS"}, {}, "ValidationException"),
        ({"StorageType": "HDD"}, {}, "BadRequest"),
        ({}, {"PerUnitStorageThroughput": 50}, "BadRequest"),
        ({}, {"DeploymentType": "PERSISTENT_1"}, "InvalidPerUnitStorageThroughput"),
        (
            {"FileSystemTypeVersion": "2.10"},
            {"DeploymentType": "PERSISTENT_2", "PerUnitStorageThroughput": 125},
            "BadRequest",
        ),
        ({}, {"ExportPath": "s3://a-bucket"}, "BadRequest"),
        ({}, {"ImportPath": "s3://one", "ExportPath": "s3://two"}, "InvalidExportPath"),
    ],
)
def test_file_systems_that_fsx_refuses(
    changes: dict[str, Any], lustre: dict[str, Any], code: str, fsx: Any, subnet: str
) -> None:
    """What the API reference rules out is refused, with the error of the model."""
    request: dict[str, Any] = {
        "FileSystemType": "LUSTRE",
        "StorageCapacity": 1200,
        "SubnetIds": [subnet],
        "LustreConfiguration": {"DeploymentType": "SCRATCH_2", **lustre},
        **changes,
    }
    with pytest.raises(ClientError) as error:
        fsx.create_file_system(**{k: v for k, v in request.items() if v is not None})
    assert code_of(error) == code


def test_associations(fsx: Any, linked: tuple[str, Path], subnet: str) -> None:
    """Associations do not overlap, there are eight at the most, and old versions have none."""
    name, _ = linked

    def associate(path: str, location: str, file_system: str = name) -> str:
        made = fsx.create_data_repository_association(
            FileSystemId=file_system, FileSystemPath=path, DataRepositoryPath=location
        )["Association"]
        assert made["Lifecycle"] == "CREATING"
        return str(made["AssociationId"])

    for path, location in [
        ("/", "s3://other"),
        ("/ns1/below", "s3://other"),
        ("relative", "s3://other"),
        ("/ns2", f"s3://{BUCKET}/{name}/"),
        ("/ns2", "other"),
    ]:
        with pytest.raises(ClientError) as error:
            associate(path, location)
        assert code_of(error) == "BadRequest", path
    made = [associate(f"/ns{i}", f"s3://{BUCKET}/{i}") for i in range(2, 9)]
    with pytest.raises(ClientError):
        associate("/ns9", f"s3://{BUCKET}/9")
    found = fsx.describe_data_repository_associations(
        Filters=[{"Name": "file-system-id", "Values": [name]}]
    )["Associations"]
    assert {item["Lifecycle"] for item in found} == {"AVAILABLE"}
    assert len(found) == 8
    fsx.delete_data_repository_association(AssociationId=made[0], DeleteDataInFileSystem=False)
    with pytest.raises(ClientError) as error:
        fsx.describe_data_repository_associations(AssociationIds=[made[0]])
    assert code_of(error) == "DataRepositoryAssociationNotFound"
    old = fsx.create_file_system(FileSystemType="LUSTRE", StorageCapacity=1200, SubnetIds=[subnet])[
        "FileSystem"
    ]["FileSystemId"]
    with pytest.raises(ClientError) as error:
        associate("/", "s3://other", old)
    assert code_of(error) == "UnsupportedOperation"


def test_an_export_task_copies_what_changed(
    fsx: Any, linked: tuple[str, Path], cloud: LocalCloud
) -> None:
    """Files of a directory arrive under the link's prefix, with their metadata; again when they
    change, not else."""
    name, directory = linked
    s3 = make_client(cloud, "s3")
    (directory / "ns1/sub").mkdir()
    (directory / "ns1/a").write_text("one")
    (directory / "ns1/sub/b").write_text("two")
    task = export(fsx, name, ["ns1"])
    assert task["Lifecycle"] == "SUCCEEDED"
    assert task["Status"]["TotalCount"] == task["Status"]["SucceededCount"] == 2
    found = s3.head_object(Bucket=BUCKET, Key=f"{name}/a")
    assert found["ContentLength"] == 3
    assert found["Metadata"]["file-mtime"].endswith("ns")
    written = s3.head_object(Bucket=BUCKET, Key=f"{name}/sub/b")["ETag"]
    s3.delete_object(Bucket=BUCKET, Key=f"{name}/a")
    (directory / "ns1/sub/b").write_text("three")
    assert export(fsx, name, ["ns1/a", "ns1/sub/b"])["Lifecycle"] == "SUCCEEDED"
    assert s3.head_object(Bucket=BUCKET, Key=f"{name}/sub/b")["ETag"] != written
    keys = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{name}/")["Contents"]
    assert [item["Key"] for item in keys] == [f"{name}/sub/b"]


def test_an_export_task_reports_failures(
    fsx: Any, linked: tuple[str, Path], cloud: LocalCloud
) -> None:
    """Files that fail are counted and listed in the report; the others are there."""
    name, directory = linked
    for one in ("a", "@b,c", "d"):
        (directory / "ns1" / one).write_text(one)
    cloud.fsx.file_fault = lambda path: None if path.endswith("a") else "S3AccessDenied"
    report = {
        "Enabled": True,
        "Path": f"s3://{BUCKET}/{name}/reports",
        "Format": "REPORT_CSV_20191124",
        "Scope": "FAILED_FILES_ONLY",
    }
    task = export(fsx, name, ["ns1/a", "ns1/@b,c", "ns1/d"], Report=report)
    assert (task["Lifecycle"], task["Status"]["FailedCount"]) == ("FAILED", 2)
    assert "2 files" in task["FailureDetails"]["Message"]
    key = f"{name}/reports/{task['TaskId']}/failures.csv"
    body = make_client(cloud, "s3").get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    assert body == '"ns1/@b,c",failed,S3AccessDenied\nns1/d,failed,S3AccessDenied\n'


def test_paths_that_are_not_in_the_file_system(
    fsx: Any, linked: tuple[str, Path], cloud: LocalCloud, tmp_path: Path
) -> None:
    """A path that does not exist, or leads out, fails the task; nothing outside is copied."""
    name, directory = linked
    (tmp_path / "secret").write_text("secret")
    (directory / "ns1/out").symlink_to(tmp_path)
    for path in ("ns1/none", "../x", "ns1/out/secret"):
        assert "not valid" in export(fsx, name, [path])["FailureDetails"]["Message"]
    assert export(fsx, name, ["ns1/out"])["Lifecycle"] == "SUCCEEDED"
    body = make_client(cloud, "s3").get_object(Bucket=BUCKET, Key=f"{name}/out")["Body"].read()
    assert os.fsdecode(body) == str(tmp_path)  # the link itself


def test_one_task_at_a_time(fsx: Any, linked: tuple[str, Path], cloud: LocalCloud) -> None:
    """While a task runs another one is refused; it can be cancelled, once."""
    import threading

    name, directory = linked
    for number in range(3):
        (directory / f"ns1/{number}").write_text("x")
    begun, proceed = threading.Event(), threading.Event()

    def hold(path: str) -> None:
        begun.set()
        assert proceed.wait(60)

    cloud.fsx.file_fault = hold
    request: dict[str, Any] = {
        "Type": "EXPORT_TO_REPOSITORY",
        "FileSystemId": name,
        "Report": REPORT,
        "Paths": ["ns1"],
    }
    task_id = fsx.create_data_repository_task(**request)["DataRepositoryTask"]["TaskId"]
    assert begun.wait(60)
    (found,) = fsx.describe_data_repository_tasks(TaskIds=[task_id])["DataRepositoryTasks"]
    assert found["Lifecycle"] == "EXECUTING"
    with pytest.raises(ClientError) as error:
        fsx.create_data_repository_task(**request)
    assert code_of(error) == "DataRepositoryTaskExecuting"
    with pytest.raises(ClientError):
        fsx.delete_file_system(FileSystemId=name)
    assert fsx.cancel_data_repository_task(TaskId=task_id)["Lifecycle"] == "CANCELING"
    proceed.set()
    assert ended(fsx, task_id)["Lifecycle"] == "CANCELED"
    with pytest.raises(ClientError) as error:
        fsx.cancel_data_repository_task(TaskId=task_id)
    assert code_of(error) == "DataRepositoryTaskEnded"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Paths": ["x"] * 101}, "ValidationException"),
        ({"Paths": ["a\nb"]}, "ValidationException"),
        ({"Type": "AUTO_RELEASE_DATA"}, "UnsupportedOperation"),
        ({"FileSystemId": "fs-0123456789"}, "FileSystemNotFound"),
        ({"Report": {"Enabled": True}}, "BadRequest"),
        (
            {
                "Report": {
                    "Enabled": True,
                    "Path": "s3://elsewhere/x",
                    "Format": "REPORT_CSV_20191124",
                    "Scope": "FAILED_FILES_ONLY",
                }
            },
            "BadRequest",
        ),
    ],
)
def test_tasks_that_fsx_refuses(
    changes: dict[str, Any], code: str, fsx: Any, linked: tuple[str, Path]
) -> None:
    """Tasks outside the limits are refused."""
    request = {
        "Type": "EXPORT_TO_REPOSITORY",
        "FileSystemId": linked[0],
        "Report": REPORT,
        "Paths": ["ns1"],
        **changes,
    }
    with pytest.raises(ClientError) as error:
        fsx.create_data_repository_task(**request)
    assert code_of(error) == code


def test_a_file_system_without_link_has_no_tasks(fsx: Any, subnet: str) -> None:
    """A task needs a linked data repository."""
    name = scratch(fsx, subnet)["FileSystemId"]
    with pytest.raises(ClientError) as error:
        fsx.create_data_repository_task(
            Type="EXPORT_TO_REPOSITORY", FileSystemId=name, Report=REPORT
        )
    assert code_of(error) == "UnsupportedOperation"


def test_import_on_association(fsx: Any, linked: tuple[str, Path], cloud: LocalCloud) -> None:
    """Objects below a new association appear as files."""
    name, directory = linked
    make_client(cloud, "s3").put_object(Bucket=BUCKET, Key=f"in-{name}/x/y", Body=b"data")
    fsx.create_data_repository_association(
        FileSystemId=name,
        FileSystemPath="/in",
        DataRepositoryPath=f"s3://{BUCKET}/in-{name}",
        BatchImportMetaDataOnCreate=True,
    )
    wait_until(lambda: (directory / "in/x/y").is_file(), "the import")


def test_import_path_of_older_deployments(fsx: Any, subnet: str) -> None:
    """An import path makes the whole file system's link, with FSx's own export path."""
    made = scratch(fsx, subnet, ImportPath=f"s3://{BUCKET}/in")
    repository = made["LustreConfiguration"]["DataRepositoryConfiguration"]
    assert repository["ExportPath"].startswith(f"s3://{BUCKET}/FSxLustre")
    task = export(fsx, made["FileSystemId"], ["gone"])
    assert task["Lifecycle"] == "FAILED"


def test_tags_and_deletion(fsx: Any, subnet: str) -> None:
    """Resources have tags; a deleted file system is gone."""
    made = scratch(fsx, subnet)
    arn = made["ResourceARN"]
    fsx.tag_resource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    fsx.untag_resource(ResourceARN=arn, TagKeys=["a"])
    assert fsx.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    fsx.delete_file_system(FileSystemId=made["FileSystemId"])
    with pytest.raises(ClientError) as error:
        fsx.describe_file_systems(FileSystemIds=[made["FileSystemId"]])
    assert code_of(error) == "FileSystemNotFound"
