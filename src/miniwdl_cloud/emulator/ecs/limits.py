"""What ECS refuses in a task definition and in RunTask, beyond members and types.

Rules are those of botocore's ECS model (``RegisterTaskDefinitionRequest``, ``ContainerDefinition``,
``RunTaskRequest``) and of the ECS developer guide, "Fargate task definition differences"; wordings
are ECS's where an error report in public shows them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..fargate import EPHEMERAL_STORAGE_GIB, SIZES
from ..limits import compact_json
from .base import client_error, invalid_parameter

OVERRIDES_LENGTH = 8192
DEFINITION_SIZE_KIB = 64
"""ECS developer guide, "Amazon ECS service quotas"."""
TIMEOUT_S = (2, 120)
STARTED_BY = re.compile(r"[A-Za-z0-9_/-]{0,128}")
CLIENT_TOKEN = re.compile(r"[!-~]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_UNITS = re.compile(r"\s*(\d+)\s*")
_VCPUS = re.compile(r"\s*(\d*\.?\d+)\s*vcpus?\s*", re.IGNORECASE)
_GB = re.compile(r"\s*(\d*\.?\d+)\s*gb\s*", re.IGNORECASE)
_LOG_DRIVERS = ("awslogs", "splunk", "awsfirelens")

# What the embedded AWS carries out of a container definition, or what changes nothing here.
_CARRIED = frozenset(
    {
        *("name", "image", "essential", "entryPoint", "command", "environment", "user"),
        *("cpu", "memory", "memoryReservation", "linuxParameters", "readonlyRootFilesystem"),
        *("mountPoints", "volumesFrom", "portMappings", "systemControls", "dockerLabels"),
        *("logConfiguration", "startTimeout", "stopTimeout", "versionConsistency", "ulimits"),
    }
)
_NOT_ON_FARGATE = (
    "links",
    "dnsServers",
    "dnsSearchDomains",
    "extraHosts",
    "dockerSecurityOptions",
    "hostname",
    "disableNetworking",
)


def check_definition(params: Mapping[str, Any]) -> tuple[int, int]:
    """A RegisterTaskDefinition request; CPU units and MiB of the task.

    Raises
    ------
    ApiError
        ECS would refuse it, or the embedded AWS cannot carry it out.
    """
    if not _NAME.fullmatch(params["family"]):
        raise client_error("Family contains invalid characters.")
    if len(compact_json(params).encode()) > DEFINITION_SIZE_KIB * 1024:
        raise client_error(f"Task definition size must be at most {DEFINITION_SIZE_KIB} KiB.")
    if params.get("requiresCompatibilities", []) != ["FARGATE"]:
        raise client_error(
            "The embedded AWS has Fargate tasks only; set requiresCompatibilities to FARGATE."
        )
    if params.get("networkMode") != "awsvpc":
        raise client_error("Fargate only supports network mode 'awsvpc'.")
    size = check_size(params.get("cpu"), params.get("memory"))
    for member in ("placementConstraints", "inferenceAccelerators", "ipcMode"):
        if params.get(member):
            raise client_error(f"Fargate does not support {member}.")
    if params.get("pidMode", "task") != "task":
        raise client_error("Fargate only supports pidMode 'task'.")
    for member in ("proxyConfiguration", "enableFaultInjection", "trustedExecutionConfiguration"):
        if params.get(member):
            raise client_error(f"The embedded AWS does not have {member}.")
    family = params.get("runtimePlatform", {}).get("operatingSystemFamily", "LINUX")
    if family != "LINUX":
        raise client_error(f"The embedded AWS has no tasks of operating system family {family}.")
    check_storage(params.get("ephemeralStorage"))
    _check_volumes(params)
    _check_container(params, size)
    return size


def check_size(cpu: str | None, memory: str | None) -> tuple[int, int]:
    """CPU units and MiB of a Fargate task.

    Raises
    ------
    ApiError
        One is missing or no number, or Fargate has no such size.
    """
    for member, value in (("cpu", cpu), ("memory", memory)):
        if not value:
            raise client_error(f"Fargate requires that '{member}' be defined at the task level.")
    units = _number(str(cpu), _VCPUS, "cpu")
    mib = _number(str(memory), _GB, "memory")
    if mib not in SIZES.get(units / 1024, ()):
        raise client_error(
            f"No Fargate configuration exists for given values: {units} CPU, {mib} memory. See the"
            " Amazon ECS documentation for the valid values."
        )
    return units, mib


def _number(text: str, unit: re.Pattern[str], member: str) -> int:
    """Units of 1/1024 from a whole number of them, or from a number with its unit."""
    plain = _UNITS.fullmatch(text)
    if plain:
        return int(plain.group(1))
    worded = unit.fullmatch(text)
    if worded:
        return round(float(worded.group(1)) * 1024)
    raise client_error(f"Invalid '{member}' setting for task. Invalid value '{text}' specified.")


def check_storage(storage: Mapping[str, Any] | None) -> None:
    """The ephemeral storage of a task, in GiB."""
    least, most = EPHEMERAL_STORAGE_GIB
    if storage is not None and not least <= storage["sizeInGiB"] <= most:
        raise client_error(
            f"EphemeralStorage must be between {least} and {most} GiB, got {storage['sizeInGiB']}."
        )


def _check_volumes(params: Mapping[str, Any]) -> None:
    names = [volume.get("name", "") for volume in params.get("volumes", [])]
    if len(set(names)) != len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise client_error("Every volume must have a valid name of its own.")
    for volume in params.get("volumes", []):
        if volume.get("host", {}).get("sourcePath"):
            raise client_error(
                "Fargate does not support the host sourcePath parameter for volumes."
            )
        for member in (
            "dockerVolumeConfiguration",
            "fsxWindowsFileServerVolumeConfiguration",
        ):
            if member in volume:
                raise client_error(f"Fargate does not support {member}.")
        if volume.get("configuredAtLaunch"):
            raise client_error("The embedded AWS does not have volumes configured at launch.")
        kinds = ("host", "efsVolumeConfiguration", "s3filesVolumeConfiguration")
        if sum(bool(volume.get(kind)) for kind in kinds) > 1:
            raise client_error(f"Volume '{volume['name']}' must have one configuration.")
        _check_efs(volume.get("efsVolumeConfiguration"), params)
        _check_s3files(volume.get("s3filesVolumeConfiguration"), params)


def _check_efs(efs: Mapping[str, Any] | None, params: Mapping[str, Any]) -> None:
    if efs is None:
        return
    authorization = efs.get("authorizationConfig", {})
    encrypted = efs.get("transitEncryption") == "ENABLED"
    if authorization.get("accessPointId"):
        if not encrypted:
            raise client_error(
                "EFS access point requires transitEncryption to be ENABLED in"
                " efsVolumeConfiguration."
            )
        if efs.get("rootDirectory", "/") not in ("", "/"):
            raise client_error(
                "rootDirectory must be omitted or set to / when an EFS access point is specified."
            )
    if authorization.get("iam") == "ENABLED":
        if not encrypted:
            raise client_error("EFS IAM authorization requires transitEncryption to be ENABLED.")
        if not params.get("taskRoleArn"):
            raise client_error("EFS IAM authorization requires taskRoleArn.")
    if "transitEncryptionPort" in efs and not encrypted:
        raise client_error("transitEncryptionPort requires transitEncryption to be ENABLED.")


def _check_s3files(volume: Mapping[str, Any] | None, params: Mapping[str, Any]) -> None:
    if volume is None:
        return
    if not volume["fileSystemArn"].startswith("arn:"):
        raise client_error("fileSystemArn must be the ARN of an S3 Files file system.")
    if volume.get("accessPointArn") and volume.get("rootDirectory", "/") not in ("", "/"):
        raise client_error(
            "rootDirectory must be omitted or set to / when an S3 Files access point is specified."
        )
    # ECS developer guide, "Use S3 Files volumes": the task role mounts it.
    if not params.get("taskRoleArn"):
        raise client_error("An S3 Files volume requires taskRoleArn.")


def _check_container(params: Mapping[str, Any], size: tuple[int, int]) -> None:
    containers = params["containerDefinitions"]
    if not containers:
        raise client_error("Container list cannot be empty.")
    if len(containers) > 1:
        raise client_error("The embedded AWS runs tasks of one container only.")
    container = containers[0]
    if not _NAME.fullmatch(container.get("name", "")):
        raise client_error("Container.name contains invalid characters.")
    image = container.get("image", "")
    if not image or len(image) > 255:
        raise client_error("Container.image should not be null or empty, nor longer than 255.")
    if container.get("essential") is False:
        raise client_error("A task definition must have at least one essential container.")
    if container.get("privileged"):
        raise client_error("Fargate does not support privileged containers.")
    for member in _NOT_ON_FARGATE:
        if container.get(member):
            raise client_error(f"Fargate does not support {member}.")
    linux = container.get("linuxParameters", {})
    for member in ("devices", "tmpfs", "sharedMemorySize", "maxSwap", "swappiness"):
        if linux.get(member):
            raise client_error(f"Fargate does not support linuxParameters.{member}.")
    if container.get("resourceRequirements"):
        raise client_error("Fargate does not support resourceRequirements.")
    lacking = [m for m in container if m not in _CARRIED and container[m]]
    if lacking:
        raise client_error(f"The embedded AWS does not have {lacking[0]} in a container.")
    for limit in container.get("ulimits", []):
        # Whether ECS refuses the others or passes over them, its documentation does not say.
        if limit["name"] != "nofile":
            raise client_error(f"The embedded AWS does not have the ulimit {limit['name']}.")
        if limit["softLimit"] > limit["hardLimit"]:
            raise client_error("softLimit of a ulimit must not be above its hardLimit.")
    check_container_size(container, size)
    for member in ("startTimeout", "stopTimeout"):
        if not TIMEOUT_S[0] <= container.get(member, TIMEOUT_S[0]) <= TIMEOUT_S[1]:
            raise client_error(f"{member} must be between 2 and 120 seconds on Fargate.")
    check_environment(container.get("environment", []))
    names = [volume["name"] for volume in params.get("volumes", [])]
    for mount in container.get("mountPoints", []):
        if mount.get("sourceVolume") not in names:
            raise client_error(f"Unknown volume '{mount.get('sourceVolume')}'.")
        if not mount.get("containerPath"):
            raise client_error("containerPath of a mount point must not be empty.")
    _check_log(container.get("logConfiguration"), params)


def check_container_size(container: Mapping[str, Any], size: tuple[int, int]) -> None:
    """The CPU units and MiB of a container, in a task of this size."""
    for member, most in (("cpu", size[0]), ("memory", size[1]), ("memoryReservation", size[1])):
        if container.get(member, 0) > most:
            raise client_error(
                f"Invalid setting for container '{container['name']}'. Its {member} must not be"
                " more than that of the task."
            )
    if 0 < container.get("memory", 6) < 6:
        raise client_error("Container memory should be at least 6 MiB.")


def check_environment(environment: list[dict[str, str]]) -> None:
    """Environment variables of a container."""
    if not all(variable.get("name") for variable in environment):
        raise client_error("Environment variable name must not be empty.")


def _check_log(log: Mapping[str, Any] | None, params: Mapping[str, Any]) -> None:
    if log is None:
        return
    driver = log["logDriver"]
    if driver not in _LOG_DRIVERS:
        raise client_error(f"Log driver '{driver}' is not supported on Fargate.")
    if driver != "awslogs":
        raise client_error(f"The embedded AWS does not have the log driver '{driver}'.")
    if not params.get("executionRoleArn"):
        raise client_error(
            "Fargate requires task definition to have execution role ARN to support log driver"
            " awslogs."
        )
    for name in ("awslogs-group", "awslogs-region", "awslogs-stream-prefix"):
        if not log.get("options", {}).get(name):
            raise client_error(f"Log driver awslogs requires options: {name}.")


def check_run_task(params: Mapping[str, Any]) -> None:
    """What a RunTask request says by itself, before its definition is looked up."""
    if len(compact_json(params.get("overrides", {}))) > OVERRIDES_LENGTH:
        raise invalid_parameter(f"Container Overrides length must be at most {OVERRIDES_LENGTH}")
    if not 1 <= params.get("count", 1) <= 10:
        raise invalid_parameter("Task count must be between 1 and 10.")
    if not STARTED_BY.fullmatch(params.get("startedBy", "")):
        raise invalid_parameter("startedBy must be at most 128 letters, numbers, - / and _.")
    if not CLIENT_TOKEN.fullmatch(params.get("clientToken", "x")):
        raise invalid_parameter("clientToken must be 1 to 64 characters of ASCII, without spaces.")
    if params.get("launchType") and params.get("capacityProviderStrategy"):
        raise invalid_parameter(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove"
            " one and try again."
        )
    if params.get("launchType", "FARGATE") != "FARGATE":
        raise invalid_parameter("No Container Instances were found in your cluster.")
    if params.get("placementConstraints") or params.get("placementStrategy"):
        raise client_error("Placement constraints and strategies are not supported on Fargate.")
    if params.get("propagateTags") == "SERVICE":
        raise invalid_parameter("propagateTags SERVICE is not valid for RunTask.")
    if params.get("volumeConfigurations"):
        raise client_error("The embedded AWS does not have volumes configured at launch.")
    if params.get("platformVersion", "LATEST") not in ("LATEST", "1.4.0"):
        raise client_error("The embedded AWS has platform version 1.4.0 only.")
    network = params.get("networkConfiguration", {}).get("awsvpcConfiguration")
    if not network:
        raise invalid_parameter(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        )
    if not network["subnets"]:
        raise invalid_parameter("subnets can not be empty.")
    if len(network["subnets"]) > 16 or len(network.get("securityGroups", [])) > 5:
        raise invalid_parameter("There can be at most 16 subnets and 5 security groups.")
