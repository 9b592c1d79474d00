"""What a job runs on, by what the queue services say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

EC2, FARGATE = "EC2", "FARGATE"
ARM = "arm64"


@dataclass(frozen=True)
class Machine:
    """What a job runs on.

    Parameters
    ----------
    kind
        `EC2` or `FARGATE`.
    spot
        Whether it may be interrupted; ``None`` where nothing says.
    zone
        Availability zone.
    instance_type
        Of EC2: ``m5.large``.
    vcpus, memory_mib, gpus
        Of EC2: what jobs can have of the instance.
    architecture
        ``x86_64`` or ``arm64``.
    """

    kind: str
    spot: bool | None = None
    zone: str | None = None
    instance_type: str | None = None
    vcpus: float = 0.0
    memory_mib: int = 0
    gpus: int = 0
    architecture: str | None = None

    @property
    def name(self) -> str:
        """In words."""
        words = [self.instance_type or {FARGATE: "Fargate"}.get(self.kind, self.kind)]
        words += ["Spot"] if self.spot else []
        return " ".join(words)

    def as_json(self) -> dict[str, Any]:
        """For the file that keeps a job's detail."""
        lifecycle = None if self.spot is None else "spot" if self.spot else "on-demand"
        return {
            "kind": self.kind,
            "instanceType": self.instance_type,
            "availabilityZone": self.zone,
            "lifecycle": lifecycle,
            "architecture": self.architecture,
        }


def cluster_of(detail: Mapping[str, Any]) -> str | None:
    """Name of the ECS cluster that a Batch job is in, once it is in one: ARNs of its task and its
    container instance have it (ECS developer guide, "Amazon Resource Names")."""
    container = detail.get("container") or {}
    arn = container.get("containerInstanceArn") or container.get("taskArn") or ""
    parts = str(arn).split("/")
    return parts[-2] if len(parts) == 3 else None


def instance_arn_of(detail: Mapping[str, Any]) -> str | None:
    """ARN of the container instance that a Batch job runs on."""
    arn = (detail.get("container") or {}).get("containerInstanceArn")
    return str(arn) if arn else None


def billed(detail: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """From when to when a job is paid for, in seconds since the epoch; ``None`` where it did not
    begin or has not ended. Fargate counts from the beginning of the image's download (AWS Fargate
    pricing, "Duration")."""
    began = detail.get("pullStartedAt") if "taskArn" in detail else None
    return moment(began or detail.get("startedAt")), moment(detail.get("stoppedAt"))


def moment(value: Any) -> float | None:
    """Seconds since the epoch of Batch's milliseconds, of ECS's dates, or of their text."""
    try:
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, str):
            return datetime.fromisoformat(value).timestamp()
        return float(value) / 1000 if value else None
    except (TypeError, ValueError):
        return None


def machine_of_task(task: Mapping[str, Any]) -> Machine:
    """A Fargate task's, as DescribeTasks shows it."""
    return Machine(
        FARGATE,
        spot=task.get("capacityProviderName") == "FARGATE_SPOT",
        zone=task.get("availabilityZone"),
        architecture=_attributes(task).get("ecs.cpu-architecture"),
    )


def machine_of_instance(instance: Mapping[str, Any], environment_type: str | None) -> Machine:
    """A container instance's, as DescribeContainerInstances shows it. Its attributes have its type
    and zone (ECS developer guide, "Container instance attributes").

    Parameters
    ----------
    environment_type
        `computeResources.type` of the Batch compute environment that it belongs to.
    """
    attributes = _attributes(instance)
    resources = {item.get("name"): item for item in instance.get("registeredResources", [])}
    return Machine(
        EC2,
        spot=None if environment_type is None else environment_type == "SPOT",
        zone=attributes.get("ecs.availability-zone"),
        instance_type=attributes.get("ecs.instance-type"),
        # ECS counts 1,024 units a vCPU.
        vcpus=resources.get("CPU", {}).get("integerValue", 0) / 1024,
        memory_mib=resources.get("MEMORY", {}).get("integerValue", 0),
        gpus=len(resources.get("GPU", {}).get("stringSetValue", [])),
        architecture=attributes.get("ecs.cpu-architecture"),
    )


def _attributes(thing: Mapping[str, Any]) -> dict[str, str]:
    return {
        str(item.get("name")): str(item["value"])
        for item in thing.get("attributes", [])
        if item.get("value")
    }
