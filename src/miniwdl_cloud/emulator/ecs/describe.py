"""Tasks as DescribeTasks, RunTask and StopTask show them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

from .base import tag_list
from .models import FARGATE, PENDING, PROVISIONING, STOPPED, Task

PLATFORM_VERSION = "1.4.0"


def describe_task(task: Task, include: Collection[str] = ()) -> dict[str, Any]:
    """A task in the shape of botocore's ``Task``.

    Parameters
    ----------
    include
        ``TAGS`` shows its tags.
    """
    detail: dict[str, Any] = {
        "taskArn": task.arn,
        "clusterArn": task.cluster.arn,
        "taskDefinitionArn": task.definition.arn,
        "attachments": [_attachment(task)],
        "attributes": [{"name": "ecs.cpu-architecture", "value": architecture(task)}],
        "availabilityZone": zone_of(task),
        "containers": [_container(task)],
        "cpu": str(task.cpu),
        "memory": str(task.memory_mib),
        "desiredStatus": task.desired_status,
        "lastStatus": task.status,
        "enableExecuteCommand": bool(task.request.get("enableExecuteCommand", False)),
        "group": task.group,
        "healthStatus": "UNKNOWN",
        "launchType": FARGATE,
        "overrides": {"containerOverrides": [], **task.request.get("overrides", {})},
        "platformVersion": PLATFORM_VERSION,
        "platformFamily": "Linux",
        "tags": tag_list(task.tags) if "TAGS" in include else [],
        "version": task.version,
        **task.times,
    }
    for name, value in (
        ("startedBy", task.request.get("startedBy")),
        ("capacityProviderName", task.provider if task.by_strategy else None),
        ("stopCode", task.stop_code),
        ("stoppedReason", task.stopped_reason),
    ):
        if value is not None:
            detail[name] = value
    # A task without a size of its own has 20 GiB (ECS developer guide, "Fargate task ephemeral
    # storage").
    storage = {"sizeInGiB": task.storage_gib or 20}
    detail["ephemeralStorage"] = detail["fargateEphemeralStorage"] = storage
    if "connectivityAt" in task.times:
        detail["connectivity"] = "CONNECTED"
    return detail


def architecture(task: Task) -> str:
    """The CPU architecture, as the attribute of a task names it."""
    platform = task.definition.detail.get("runtimePlatform", {})
    return str(platform.get("cpuArchitecture", "X86_64")).lower()


def zone_of(task: Task) -> str:
    """An availability zone of its Region; always the same for a subnet."""
    region = task.arn.split(":")[3]
    return region + "abc"[hashlib.sha256(task.subnet.encode()).digest()[0] % 3]


def address_of(task: Task) -> str:
    """A private address; nothing answers at it."""
    return "10.0." + ".".join(str(byte) for byte in bytes.fromhex(task.id[:4]))


def log_of(task: Task) -> tuple[str, str] | None:
    """Log group and log stream, if it has an awslogs log (ECS developer guide, "Send Amazon ECS
    logs to CloudWatch")."""
    options = task.definition.container.get("logConfiguration", {}).get("options")
    if not options:
        return None
    stream = f"{options['awslogs-stream-prefix']}/{task.container['name']}/{task.id}"
    return options["awslogs-group"], stream


def _container(task: Task) -> dict[str, Any]:
    container = task.container
    shown: dict[str, Any] = {
        "containerArn": f"{task.arn.replace(':task/', ':container/', 1)}/{task.id[:8]}",
        "taskArn": task.arn,
        "name": container["name"],
        "image": container["image"],
        "lastStatus": _container_status(task),
        "networkInterfaces": [
            {"attachmentId": task.id[:8], "privateIpv4Address": address_of(task)}
        ],
        "healthStatus": "UNKNOWN",
        "cpu": str(container.get("cpu", 0)),
    }
    for name in ("memory", "memoryReservation"):
        if name in container:
            shown[name] = str(container[name])
    if task.status not in (PROVISIONING, PENDING):
        shown["runtimeId"] = f"{task.id}-{task.id[:10]}"
    if task.exit_code is not None:
        shown["exitCode"] = task.exit_code
    if task.container_reason is not None:
        shown["reason"] = task.container_reason
    return shown


def _container_status(task: Task) -> str:
    if task.status == STOPPED or "executionStoppedAt" in task.times:
        return STOPPED
    return "RUNNING" if "startedAt" in task.times else PENDING


def _attachment(task: Task) -> dict[str, Any]:
    status = {PROVISIONING: "PRECREATED", STOPPED: "DELETED"}.get(task.status, "ATTACHED")
    details = {
        "subnetId": task.subnet,
        "networkInterfaceId": f"eni-{task.id[:17]}",
        "privateIPv4Address": address_of(task),
    }
    return {
        "id": task.id[:8],
        "type": "ElasticNetworkInterface",
        "status": status,
        "details": [{"name": name, "value": value} for name, value in details.items()],
    }
