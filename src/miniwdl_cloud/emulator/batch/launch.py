"""From a job to the container that an executor runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..executors.base import ContainerSpec, Mount, ulimits_of
from ..limits import compact_json
from ..recording import access_key
from .base import Resolver
from .models import Attempt, Job


class LaunchError(Exception):
    """The container cannot be made; the text is its reason as ECS words it."""


@dataclass(frozen=True)
class Surroundings:
    """What containers are told, and where their volumes are.

    Parameters
    ----------
    region
        Region.
    endpoint_url
        Where the emulator answers, as seen from a container.
    resolve_efs
        Finds the directory of an EFS file system or access point.
    resolve_s3files
        The same for S3 Files, whose file systems and access points have ARNs.
    """

    region: str
    endpoint_url: str
    resolve_efs: Resolver
    resolve_s3files: Resolver


def make_spec(job: Job, attempt: Attempt, around: Surroundings) -> ContainerSpec:
    """The container of an attempt.

    Raises
    ------
    LaunchError
        A volume cannot be had.
    """
    container = job.container
    return ContainerSpec(
        name=f"{attempt.environment.name[:40]}-{attempt.task_id}",
        image=container["image"],
        command=tuple(substitute(container.get("command", []), job.parameters)),
        environment={
            **emulator_environment(around, container.get("jobRoleArn")),
            **{e["name"]: e["value"] for e in container.get("environment", [])},
            **_batch_environment(job, attempt),
        },
        mounts=tuple(mounts_of(container, container.get("volumes", []), around)),
        vcpus=job.vcpus,
        memory_mib=job.memory_mib,
        gpus=job.gpus,
        privileged=bool(container.get("privileged", False)),
        user=container.get("user"),
        read_only_root=bool(container.get("readonlyRootFilesystem", False)),
        ulimits=ulimits_of(container),
        shared_memory_mib=(container.get("linuxParameters") or {}).get("sharedMemorySize"),
    )


def substitute(command: list[str], parameters: dict[str, str]) -> list[str]:
    """Replace ``Ref::name`` placeholders; those without a parameter stay as they are."""
    names = sorted(parameters, key=len, reverse=True)
    parts = []
    for part in command:
        for name in names:
            part = part.replace(f"Ref::{name}", parameters[name])
        parts.append(part)
    return parts


def overrides_length(job: Job) -> int:
    """Characters of the container overrides that Batch hands to ECS for a job.

    ECS counts the JSON formatting too (ECS API reference, ``RunTask``, ``overrides``).
    """
    overrides: dict[str, Any] = job.request.get("containerOverrides", {})
    given = dict(overrides)
    if given.get("command"):
        given["command"] = substitute(given["command"], job.parameters)
    return len(compact_json(given))


def _batch_environment(job: Job, attempt: Attempt) -> dict[str, str]:
    """Variables that Batch sets (Batch user guide, "Job environment variables")."""
    variables = {
        "AWS_BATCH_JOB_ID": job.id,
        "AWS_BATCH_JOB_ATTEMPT": str(attempt.number),
        "AWS_BATCH_JQ_NAME": job.queue.name,
        "AWS_BATCH_CE_NAME": attempt.environment.name,
    }
    if job.parent is not None and job.parent.children is not None:
        variables["AWS_BATCH_JOB_ARRAY_INDEX"] = str(job.index)
        variables["AWS_BATCH_JOB_ARRAY_SIZE"] = str(len(job.parent.children))
    return variables


def emulator_environment(around: Surroundings, role_arn: str | None) -> dict[str, str]:
    """Variables by which AWS clients in the container find the emulator; the keys stand for the
    job role's."""
    return {
        "AWS_ENDPOINT_URL": around.endpoint_url,
        "AWS_DEFAULT_REGION": around.region,
        "AWS_REGION": around.region,
        "AWS_ACCESS_KEY_ID": access_key(role_arn),
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def mounts_of(
    container: dict[str, Any], given: list[dict[str, Any]], around: Surroundings
) -> list[Mount]:
    """What a container mounts of the volumes that are given.

    Raises
    ------
    LaunchError
        A volume cannot be had.
    """
    volumes = {volume["name"]: volume for volume in given}
    return [
        Mount(
            source=_directory(volumes[mount["sourceVolume"]], around),
            target=mount["containerPath"],
            read_only=bool(mount.get("readOnly", False)),
        )
        for mount in container.get("mountPoints", [])
    ]


def _directory(volume: dict[str, Any], around: Surroundings) -> Path:
    if "efsVolumeConfiguration" in volume:
        efs = volume["efsVolumeConfiguration"]
        access_point_id = efs.get("authorizationConfig", {}).get("accessPointId")
        return _mounted(
            "EFS",
            around.resolve_efs,
            efs["fileSystemId"],
            access_point_id,
            efs.get("rootDirectory"),
        )
    if "s3filesVolumeConfiguration" in volume:
        s3files = volume["s3filesVolumeConfiguration"]
        return _mounted(
            "S3Files",
            around.resolve_s3files,
            s3files["fileSystemArn"],
            s3files.get("accessPointArn"),
            s3files.get("rootDirectory"),
        )
    source = volume.get("host", {}).get("sourcePath")
    if not source:
        raise LaunchError(
            f"CannotCreateVolumeError: the embedded AWS cannot make volume '{volume['name']}';"
            " give it efsVolumeConfiguration, s3filesVolumeConfiguration or host.sourcePath."
        )
    return Path(source)


def _mounted(
    kind: str, resolve: Resolver, file_system: str, access_point: str | None, root: str | None
) -> Path:
    """The directory that a network filesystem's volume shows."""
    below = (root or "/").strip("/")
    try:
        directory = resolve(file_system, access_point, below)
    except LookupError as exn:
        raise LaunchError(
            f"ResourceInitializationError: failed to invoke EFS utils commands to set up {kind}"
            f" volumes: stderr: {exn.args[0]} : unsuccessful EFS utils command execution; code: 1"
        ) from None
    if not directory.is_dir():
        raise LaunchError(
            f"ResourceInitializationError: failed to invoke EFS utils commands to set up {kind}"
            f" volumes: stderr: mount.nfs4: mounting {file_system}:/{below} failed, reason given by"
            " server: No such file or directory"
        )
    return directory
