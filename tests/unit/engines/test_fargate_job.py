"""From runtime values to the exact requests of ECS: nine kinds of task, recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from miniwdl_cloud.emulator.ecs import limits
from miniwdl_cloud.engines import task_files
from miniwdl_cloud.engines.ecs_queue import queue_name, run_task_request
from miniwdl_cloud.engines.fargate_config import FargateSettings, read_fargate_settings
from miniwdl_cloud.engines.fargate_job import (
    architecture_of,
    check_runtime,
    disks_gib,
    fargate_request,
    size_of,
)
from miniwdl_cloud.errors import ConfigurationError
from miniwdl_cloud.filesystems.efs import Efs
from miniwdl_cloud.filesystems.isolation import IsolatedFilesystem, View
from miniwdl_cloud.jobs.request import Resources

RECORDED = Path(__file__).parents[2] / "fixtures" / "fargate_requests.json"
MODEL = botocore.session.get_session().get_service_model("ecs")
EFS = Efs("/mnt/efs", "fs-12345678", "fsap-12345678")
TASK_DIR = "/mnt/efs/run/call-hello-0"
ROLE = "arn:aws:iam::123456789012:role/"
BASE = {
    "aws.region": "us-east-1",
    "aws.fsap": "fsap-12345678",
    "file_io.root": "/mnt/efs",
    "aws_fargate.cluster": "tasks",
    "aws_fargate.subnets": "subnet-1 subnet-2",
    "aws_fargate.security_groups": "sg-1",
    "aws_fargate.execution_role": f"{ROLE}execution",
    "aws_fargate.log_group": "/miniwdl/tasks",
}


class Cfg:
    """miniwdl's configuration, from a plain mapping."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def has_option(self, section: str, key: str) -> bool:
        return f"{section}.{key}" in self._values

    def get(self, section: str, key: str) -> str:
        return self._values[f"{section}.{key}"]


def settings(environ: dict[str, str] | None = None, **values: str) -> FargateSettings:
    """Settings; names have two underscores for the dot."""
    given = {key.replace("__", "."): value for key, value in values.items()}
    return read_fargate_settings(Cfg({**BASE, **given}), environ or {})


KINDS: dict[str, dict[str, Any]] = {
    "bare": {},
    "sized": {"runtime": {"docker": "quay.io/x:1", "cpu": 3, "memory_reservation": 9 << 30}},
    "largest": {"runtime": {"cpu": 16, "memory_reservation": 200 << 30}},
    "disks": {"runtime": {"cpu": 1, "disks_gib": 100}},
    "spot": {"runtime": {"preemptible": 2}, "spot": True},
    "arm": {"runtime": {"cpuArchitecture": "ARM64", "memory_reservation": 1 << 30}},
    "isolated": {
        "filesystem": IsolatedFilesystem(
            EFS,
            (
                View(f"{TASK_DIR}/job", TASK_DIR, read_only=False),
                View(f"{TASK_DIR}/work", f"{TASK_DIR}/work", read_only=False),
                View(f"{TASK_DIR}/inputs", f"{TASK_DIR}/inputs"),
            ),
        ),
        "alone": True,
    },
    "as user, after out of memory": {"user": "1000:1000", "least_mib": 5000, "attempt": 2},
    "private, with role, tags and commands": {
        "settings": {
            "aws_fargate__assign_public_ip": "false",
            "aws_fargate__task_role": f"{ROLE}task",
            "aws_fargate__efs_security_group": "sg-efs",
            "aws_fargate__execute_command": "true",
            "aws_fargate__log_group": "0",
            "aws__job_tags": '{"lab": "x"}',
        },
        "environ": {"AWS_BATCH_JOB_ID": "parent"},
    },
}


def requests(kind: dict[str, Any]) -> dict[str, Any]:
    """The API requests of a kind of task, without what is random or long."""
    found = settings(kind.get("environ"), **kind.get("settings", {}))
    runtime = kind.get("runtime", {})
    size = size_of(runtime, found, kind.get("least_mib", 0))
    request = fargate_request(
        run_id="call-hello-0",
        task_dir=TASK_DIR,
        attempt=kind.get("attempt", 1),
        shell="/bin/bash",
        queue=queue_name(found.cluster, kind.get("spot", False)),
        runtime=runtime,
        filesystem=kind.get("filesystem", EFS),
        settings=found,
        user=kind.get("user"),
        resources=size.given,
        alone=kind.get("alone", False),
    )
    definition = {"family": request.definition.name, **json.loads(request.definition.content)}
    run = run_task_request(
        request,
        "arn:aws:ecs:us-east-1:123456789012:task-definition/d:1",
        found.network,
        found.execute_command,
    )
    _check("RegisterTaskDefinition", definition)
    _check("RunTask", run)
    limits.check_definition(definition)
    limits.check_run_task(run)
    definition["family"] = "FAMILY"
    definition["containerDefinitions"][0]["command"] = ["SCRIPT"]
    text = json.dumps(run).replace(request.name, "NAME")
    return {"definition": definition, "run": {**json.loads(text), "clientToken": "TOKEN"}}


def _check(operation: str, request: dict[str, Any]) -> None:
    report = ParamValidator().validate(request, MODEL.operation_model(operation).input_shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize("name", KINDS)
def test_requests_are_as_recorded(name: str) -> None:
    """Definition and RunTask of each kind of task are these, and valid by botocore's model and by
    the embedded AWS."""
    assert requests(KINDS[name]) == json.loads(RECORDED.read_text())[name]


def test_the_definition_holds_the_script() -> None:
    """The image's entry point is replaced by bash, which gets the task script."""
    found = settings()
    request = fargate_request(
        run_id="call-hello-0",
        task_dir="/mnt/efs/x",
        attempt=1,
        shell="/bin/bash",
        queue="tasks/FARGATE",
        runtime={},
        filesystem=EFS,
        settings=found,
        user=None,
        resources=Resources(),
    )
    (container,) = json.loads(request.definition.content)["containerDefinitions"]
    assert container["entryPoint"] == ["/bin/bash", "-c"]
    assert container["command"] == [task_files.task_script()]


@pytest.mark.parametrize(
    ("runtime", "least_mib", "given", "is_less"),
    [
        ({}, 0, Resources(1, 2048), False),
        ({"cpu": 2}, 0, Resources(2, 4096), False),
        ({"memory_reservation": 1 << 30}, 0, Resources(1, 2048), False),
        ({"cpu": 1, "memory_reservation": 8 << 30}, 12000, Resources(2, 12288), False),
        ({"cpu": 32}, 0, Resources(16, 32768), True),
        ({"memory_reservation": 121 << 30}, 0, Resources(16, 122880), True),
        ({"disks_gib": 20}, 0, Resources(1, 2048), False),
        ({"disks_gib": 21}, 0, Resources(1, 2048, storage_gib=21), False),
        ({"disks_gib": 500}, 0, Resources(1, 2048, storage_gib=200), True),
    ],
)
def test_sizes(runtime: dict[str, Any], least_mib: int, given: Resources, is_less: bool) -> None:
    """Sizes are rounded up; above the largest a task gets less, which is known."""
    size = size_of(runtime, settings(), least_mib)
    assert (size.given, size.is_less) == (given, is_less)


def test_default_size() -> None:
    """A task that says nothing has the default CPU units and memory."""
    small = settings(aws_fargate__default_cpu_shares="256", aws_fargate__default_memory_mb="512")
    assert size_of({}, small).given == Resources(0.25, 512)


@pytest.mark.parametrize(
    ("text", "gib"),
    [
        ("local-disk 100 SSD", 100),
        ("local-disk 100 HDD, /mnt/scratch 20.5 SSD", 121),
        ("50", 50),
        ("10 GiB", 10),
        ("/mnt/data 2 TB", 2048),
        ("/mnt/data 512 MiB", 1),
        ("100GB", 100),
        ("local-disk", None),
        ("as much as there is", None),
        ("", None),
    ],
)
def test_disks(text: str, gib: int | None) -> None:
    """All spellings of disks in use are understood; what is not understood is no number."""
    assert disks_gib(text) == gib


def test_architecture() -> None:
    """Docker's and the kernel's names of architectures are known too."""
    assert architecture_of(" arm64") == architecture_of("aarch64") == "ARM64"
    assert architecture_of("amd64") == architecture_of("x86_64") == "X86_64"
    with pytest.raises(ConfigurationError, match="cpuArchitecture"):
        architecture_of("riscv")


@pytest.mark.parametrize(("member", "what"), [("gpu", "GPUs"), ("privileged", "privileged")])
def test_what_fargate_does_not_have(member: str, what: str) -> None:
    """GPUs and privileged containers are refused, with the engine that has them."""
    check_runtime({member: False})
    with pytest.raises(ConfigurationError, match=f"no {what}.*aws_batch_job"):
        check_runtime({member: True})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"aws_fargate__cluster": ""}, "MINIWDL__AWS_FARGATE__CLUSTER"),
        ({"aws_fargate__subnets": ""}, "MINIWDL__AWS_FARGATE__SUBNETS"),
        ({"aws_fargate__execution_role": ""}, "MINIWDL__AWS_FARGATE__EXECUTION_ROLE"),
        ({"aws_fargate__efs_mountpoint": "/mnt/other"}, "not on the file system"),
        ({"aws_fargate__subnets": " ".join(f"subnet-{i}" for i in range(17))}, "16 subnets"),
    ],
)
def test_missing_settings(values: dict[str, str], says: str) -> None:
    """What is missing is said with the variable that sets it."""
    with pytest.raises(ConfigurationError, match=says):
        settings(**values)


def test_mount_point_and_file_system() -> None:
    """efs_mountpoint and efs_id stand for what the Batch engines call root and fs."""
    found = settings(
        file_io__root="/", aws_fargate__efs_mountpoint="/mnt/shared/", aws_fargate__efs_id="fs-9"
    )
    assert (found.common.mount, found.common.fs) == ("/mnt/shared", "fs-9")
    below = settings(file_io__root="/mnt/shared/me", aws_fargate__efs_mountpoint="/mnt/shared")
    assert below.common.mount == "/mnt/shared"
