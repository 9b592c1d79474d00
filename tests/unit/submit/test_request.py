"""The exact requests of a workflow job."""

from __future__ import annotations

import dataclasses
import json
import random
import re

import pytest

from miniwdl_cloud.errors import TooLarge, UsageError
from miniwdl_cloud.fargate_sizes import check_size
from miniwdl_cloud.settings import Settings, mapping_source
from miniwdl_cloud.submit import request as requests
from miniwdl_cloud.submit.deployment import Deployment
from miniwdl_cloud.submit.filesystem import FileSystem
from miniwdl_cloud.submit.options import Options
from miniwdl_cloud.submit.shipping import Shipment, ship_in_request

EFS = FileSystem("/mnt/efs", "fs-1", "fsap-1")
ROLE = "arn:aws:iam::123456789012:role/engine"
DEPLOYMENT = Deployment(
    workflow_queue="workflow",
    task_queue="task",
    task_queue_fallback=None,
    platform="FARGATE",
    role=ROLE,
    task_role=None,
    event_queue=None,
    engine=None,
    image="image:1",
    filesystem=EFS,
    directory="/mnt/efs/miniwdl_run",
    stage_uri=None,
    upload_folder=None,
    delete_after=None,
    tags={"Owner": "me"},
)
OPTIONS = Options(
    settings=Settings(),
    run_arguments=(),
    vcpus=1.0,
    memory_mib=4096,
    name=None,
    public_ip=True,
    directory=None,
    pass_environment=True,
    access_point_given=False,
    always_stage=False,
    wait=False,
    follow=False,
    self_test=False,
    dry_run=False,
)
HOST = dataclasses.replace(
    DEPLOYMENT, platform="EC2", role=None, filesystem=FileSystem("/mnt/net"), tags={}
)


def build(
    deployment: Deployment = DEPLOYMENT,
    options: Options = OPTIONS,
    shipment: Shipment | None = None,
) -> requests.WorkflowRequest:
    """Requests with a short command."""
    return requests.build(deployment, options, "n-1", ["a", "b"], {"X": "1"}, shipment)


def test_exact_requests_on_fargate() -> None:
    """EFS by access point with encryption, both roles, public address, log mode; overrides."""
    made = build()
    name = made.definition.pop("jobDefinitionName")
    assert re.fullmatch(r"miniwdl-cloud-workflow-[0-9a-f]{24}", name)
    assert made.definition == {
        "type": "container",
        "platformCapabilities": ["FARGATE"],
        "retryStrategy": {"attempts": 1},
        "containerProperties": {
            "image": "image:1",
            "jobRoleArn": ROLE,
            "executionRoleArn": ROLE,
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "4096"},
            ],
            "volumes": [
                {
                    "name": "shared",
                    "efsVolumeConfiguration": {
                        "fileSystemId": "fs-1",
                        "transitEncryption": "ENABLED",
                        "authorizationConfig": {"accessPointId": "fsap-1"},
                    },
                }
            ],
            "mountPoints": [
                {"sourceVolume": "shared", "containerPath": "/mnt/efs", "readOnly": False}
            ],
            "fargatePlatformConfiguration": {"platformVersion": "1.4.0"},
            "networkConfiguration": {"assignPublicIp": "ENABLED"},
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {"mode": "non-blocking", "max-buffer-size": "25m"},
            },
        },
    }
    assert made.submit == {
        "jobName": "n-1",
        "jobQueue": "workflow",
        "jobDefinition": name,
        "tags": {"Owner": "me"},
        "containerOverrides": {
            "command": ["a", "b"],
            "environment": [{"name": "X", "value": "1"}],
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "4096"},
            ],
        },
    }


def test_host_mounted_filesystem() -> None:
    """Without EFS: a host volume at the same path, on EC2, without what only Fargate has."""
    container = build(HOST).definition["containerProperties"]
    assert container["volumes"] == [{"name": "shared", "host": {"sourcePath": "/mnt/net"}}]
    assert container["mountPoints"][0]["containerPath"] == "/mnt/net"
    for key in ("jobRoleArn", "fargatePlatformConfiguration", "networkConfiguration"):
        assert key not in container
    assert build(HOST).definition["platformCapabilities"] == ["EC2"]


def test_efs_without_access_point() -> None:
    """A file system by --fsid is mounted at its root, encrypted still."""
    deployment = dataclasses.replace(DEPLOYMENT, filesystem=FileSystem("/mnt/efs", "fs-1"))
    volume = build(deployment).definition["containerProperties"]["volumes"][0]
    assert volume["efsVolumeConfiguration"] == {
        "fileSystemId": "fs-1",
        "transitEncryption": "ENABLED",
    }


def test_efs_with_iam() -> None:
    """[aws] efs_iam has the workflow job's role mount EFS, with or without an access point."""
    for point in ("fsap-1", None):
        filesystem = FileSystem("/mnt/efs", "fs-1", point, efs_iam=True)
        deployment = dataclasses.replace(DEPLOYMENT, filesystem=filesystem)
        container = build(deployment).definition["containerProperties"]
        volume = container["volumes"][0]["efsVolumeConfiguration"]
        expected = {"iam": "ENABLED", **({"accessPointId": point} if point else {})}
        assert volume["authorizationConfig"] == expected
        assert container["jobRoleArn"]


def test_no_public_ip() -> None:
    """--no-public-ip says so to Fargate."""
    options = dataclasses.replace(OPTIONS, public_ip=False)
    container = build(options=options).definition["containerProperties"]
    assert container["networkConfiguration"] == {"assignPublicIp": "DISABLED"}


def test_definitions_are_shared_by_runs_alike() -> None:
    """Size, command and tags of the job leave the definition alone; the image does not."""
    other_size = dataclasses.replace(OPTIONS, vcpus=2.0, memory_mib=8192)
    other_image = dataclasses.replace(DEPLOYMENT, image="image:2")
    name = build().definition["jobDefinitionName"]
    assert build(options=other_size).definition["jobDefinitionName"] == name
    assert build(other_image).definition["jobDefinitionName"] != name
    assert build(options=other_size).submit["containerOverrides"]["resourceRequirements"] == [
        {"type": "VCPU", "value": "2"},
        {"type": "MEMORY", "value": "8192"},
    ]


def test_shipment_goes_where_it_says() -> None:
    """Shipped WDL is added to environment and tags; tags of the definition make it another one."""
    made = build(shipment=Shipment({"W": "x"}, {"J": "1"}, {"D": "2"}))
    assert {"name": "W", "value": "x"} in made.submit["containerOverrides"]["environment"]
    assert made.submit["tags"] == {"Owner": "me", "J": "1"}
    assert made.definition["tags"] == {"D": "2"}
    assert made.definition["jobDefinitionName"] != build().definition["jobDefinitionName"]


@pytest.mark.parametrize("own_tags", [0, 10, 50])
def test_full_request_keeps_to_the_limits(own_tags: int) -> None:
    """The largest archive that ships leaves SubmitJob, overrides and definition within limits."""
    tags = {f"{n:03}" + "k" * 125: "v" * 256 for n in range(own_tags)}
    deployment = dataclasses.replace(DEPLOYMENT, tags=tags)
    room = requests.room_for_wdl(build(deployment))
    largest = None
    for size in range(1000, 40000, 500):
        shipment = ship_in_request(random.Random(size).randbytes(size), room)
        largest = shipment or largest
    assert largest is not None
    made = build(deployment, shipment=largest)
    assert len(json.dumps(made.submit)) <= 30 * 1024
    assert len(json.dumps(made.submit["containerOverrides"])) <= 7168
    assert len(json.dumps(made.definition)) <= 24 * 1024
    assert len(made.submit["tags"]) <= 50
    assert len(made.definition.get("tags", {})) <= 50


def test_arguments_too_long() -> None:
    """Arguments and environment that do not fit are refused before the job fails of them."""
    made = requests.build(DEPLOYMENT, OPTIONS, "n", ["x" * 8000], {})
    with pytest.raises(TooLarge, match="--input") as error:
        requests.room_for_wdl(made)
    assert error.value.exit_code == 123


def test_environment() -> None:
    """MINIWDL__ variables pass, but for those that launch the job, which are set anew; and where S3
    is, if that is said."""
    environ = {
        "MINIWDL__TASK_RUNTIME__DEFAULTS": "{}",
        "MINIWDL__AWS__JOB_TIMEOUT": "60",
        "MINIWDL__SCHEDULER__CONTAINER_BACKEND": "podman",
        "HOME": "/root",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL_S3": "https://store.example",
        **dict.fromkeys(requests.LAUNCH_VARIABLES, "mine"),
    }
    made = requests.environment(DEPLOYMENT, OPTIONS, environ)
    assert made == {
        "MINIWDL__AWS__TASK_QUEUE": "task",
        "MINIWDL__FILE_IO__ROOT": "/mnt/efs",
        "MINIWDL__AWS__WORKFLOW_IMAGE": "image:1",
        "MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_batch_job",
        "MINIWDL__AWS__FS": "fs-1",
        "MINIWDL__AWS__FSAP": "fsap-1",
        "MINIWDL__TASK_RUNTIME__DEFAULTS": "{}",
        "MINIWDL__AWS__JOB_TIMEOUT": "60",
        "AWS_ENDPOINT_URL_S3": "https://store.example",
    }


def test_both_spellings_of_delete_after_stay_here() -> None:
    """Neither spelling of delete-after passes on by environment: it goes by command."""
    assert {
        "MINIWDL__AWS__DELETE_AFTER_S3_UPLOAD",
        "MINIWDL__AWS__S3_UPLOAD_DELETE_AFTER",
    } <= requests.LAUNCH_VARIABLES


def test_no_env() -> None:
    """--no-env passes none."""
    options = dataclasses.replace(OPTIONS, pass_environment=False)
    environ = {"MINIWDL__AWS__JOB_TIMEOUT": "60", "AWS_ENDPOINT_URL_S3": "https://store.example"}
    assert not environ.keys() & requests.environment(DEPLOYMENT, options, environ).keys()


def test_adopt() -> None:
    """--adopt goes along as a setting, whatever the environment says."""
    name = "MINIWDL__AWS__ADOPT"
    assert name not in requests.environment(DEPLOYMENT, OPTIONS, {})
    given = Settings(mapping_source({("aws", "adopt"): "true"}))
    options = dataclasses.replace(OPTIONS, settings=given)
    assert requests.environment(DEPLOYMENT, options, {name: "false"})[name] == "true"


def test_engine_of_the_environment() -> None:
    """An engine of ours named in the environment is respected, also before the queue's."""
    name = "MINIWDL__SCHEDULER__CONTAINER_BACKEND"
    fargate = dataclasses.replace(DEPLOYMENT, engine="aws_fargate")
    assert requests.environment(fargate, OPTIONS, {name: "podman"})[name] == "aws_fargate"
    assert requests.environment(fargate, OPTIONS, {name: "aws_batch_job"})[name] == "aws_batch_job"
    assert requests.environment(DEPLOYMENT, OPTIONS, {name: "aws_fargate"})[name] == "aws_fargate"


def test_environment_without_efs() -> None:
    """Without EFS the engine is the other one; fallback queue, task role and event queue are passed
    if set."""
    deployment = dataclasses.replace(
        HOST, task_queue_fallback="calm", task_role=ROLE, event_queue="https://sqs/q"
    )
    made = requests.environment(deployment, OPTIONS, {})
    assert made["MINIWDL__SCHEDULER__CONTAINER_BACKEND"] == "aws_batch_job_no_efs"
    assert made["MINIWDL__AWS__FS"] == "0"
    assert "MINIWDL__AWS__FSAP" not in made
    assert made["MINIWDL__AWS__TASK_QUEUE_FALLBACK"] == "calm"
    assert made["MINIWDL__AWS__TASK_ROLE"] == ROLE
    assert made["MINIWDL__AWS__EVENT_QUEUE"] == "https://sqs/q"


def test_command() -> None:
    """The runner gets the arguments in order, then what was settled here."""
    deployment = dataclasses.replace(DEPLOYMENT, upload_folder="s3://b/f", delete_after="success")
    assert requests.run_command(deployment, ["w.wdl", "x=1", "-v"]) == [
        "miniwdl-run-s3upload",
        "w.wdl",
        "x=1",
        "-v",
        "--dir",
        "/mnt/efs/miniwdl_run",
        "--s3upload",
        "s3://b/f",
        "--delete-after",
        "success",
    ]
    assert requests.self_test_command(DEPLOYMENT, ["--as-me"], "u") == [
        "miniwdl",
        "run_self_test",
        "--as-me",
        "--dir",
        "/mnt/efs/miniwdl_run_self_test/u",
    ]


def test_empty_argument() -> None:
    """An empty argument, which Batch refuses, is refused here with a way out."""
    with pytest.raises(UsageError, match="--empty NAME"):
        requests.run_command(DEPLOYMENT, ["w.wdl", ""])


@pytest.mark.parametrize(
    ("name", "wdl", "expected"),
    [
        (None, "dir/align.v2.wdl", "miniwdl_run_align-abc"),
        (None, "https://host/a/w.wdl?token=1", "miniwdl_run_w-abc"),
        (None, ".hidden.wdl", "miniwdl_run_hidden-abc"),
        (None, "näme with space.wdl", "miniwdl_run_n_me_with_space-abc"),
        (None, None, "miniwdl_run_self_test-abc"),
        ("mine", "w.wdl", "mine-abc"),
        ("--", "w.wdl", "miniwdl_run-abc"),
    ],
)
def test_job_name(name: str | None, wdl: str | None, expected: str) -> None:
    """Named by --name or the WDL, with a unique ending, in the characters that Batch takes."""
    options = dataclasses.replace(OPTIONS, name=name)
    made = requests.job_name(options, wdl, "abc")
    assert made == expected
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", made)


def test_long_job_name_keeps_its_unique_ending() -> None:
    """A long name is cut before its unique ending."""
    made = requests.job_name(OPTIONS, "x" * 300 + ".wdl", "abcdefgh")
    assert len(made) == 128
    assert made.endswith("-abcdefgh")


@pytest.mark.parametrize(
    ("vcpus", "gib"), [(0.25, 0.5), (0.5, 4), (1, 8), (2, 16), (4, 30), (8, 60), (16, 120)]
)
def test_fargate_sizes(vcpus: float, gib: float) -> None:
    """Sizes that Fargate has are accepted."""
    check_size(vcpus, round(gib * 1024))


@pytest.mark.parametrize(
    ("vcpus", "gib", "nearest"),
    [(3, 8, "2"), (32, 8, "16"), (1, 16, "8"), (0.25, 4, "2"), (8, 17, "16"), (1, 1, "2")],
)
def test_other_sizes_name_the_nearest(vcpus: float, gib: float, nearest: str) -> None:
    """A size that Fargate lacks is refused with the nearest that it has."""
    with pytest.raises(UsageError, match=rf"the nearest is {nearest}\.") as error:
        check_size(vcpus, round(gib * 1024))
    assert error.value.exit_code == 64


def test_whole_vcpus_on_ec2() -> None:
    """EC2 jobs get whole vCPUs, one at least."""
    options = dataclasses.replace(OPTIONS, vcpus=0.25)
    overrides = build(HOST, options).submit["containerOverrides"]
    assert overrides["resourceRequirements"][0] == {"type": "VCPU", "value": "1"}
