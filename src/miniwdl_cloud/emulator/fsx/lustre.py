"""What FSx accepts as a Lustre file system (botocore's FSx model, CreateFileSystem)."""

from __future__ import annotations

import secrets
import time
from typing import Any

from ..errors import ApiError

_THROUGHPUTS = {
    ("PERSISTENT_1", "SSD"): (50, 100, 200),
    ("PERSISTENT_1", "HDD"): (12, 40),
    ("PERSISTENT_2", "SSD"): (125, 250, 500, 1000),
}
_VERSIONS = ("2.10", "2.12", "2.15")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def bad_request(text: str) -> ApiError:
    """FSx's answer to a request that contradicts itself or the state of things."""
    return ApiError("BadRequest", text)


def check(params: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The LustreConfiguration of the answer, and the Lustre version.

    Raises
    ------
    ApiError
        FSx would refuse the request.
    """
    given = dict(params.get("LustreConfiguration") or {})
    kind = given.setdefault("DeploymentType", "SCRATCH_1")
    storage = params.get("StorageType", "SSD")
    version = _version(params, given, kind)
    if len(params["SubnetIds"]) != 1:
        raise bad_request("Exactly one subnet ID must be provided for a Lustre file system.")
    if storage == "INTELLIGENT_TIERING":
        if kind != "PERSISTENT_2" or version != "2.15":
            raise bad_request("INTELLIGENT_TIERING needs PERSISTENT_2 and Lustre version 2.15.")
        if "StorageCapacity" in params or "ThroughputCapacity" not in given:
            raise bad_request("INTELLIGENT_TIERING takes ThroughputCapacity, no StorageCapacity.")
    else:
        _check_throughput(given, kind, storage)
        _check_capacity(params, given, kind, storage)
    if "MetadataConfiguration" in given and kind != "PERSISTENT_2":
        raise bad_request("MetadataConfiguration is supported with PERSISTENT_2 only.")
    _move_repository(given, kind)
    given["MountName"] = "fsx" if kind == "SCRATCH_1" else _mount_name()
    return given, version


def _version(params: dict[str, Any], given: dict[str, Any], kind: str) -> str:
    default = "2.10"
    if kind == "PERSISTENT_2":
        default = "2.15" if "MetadataConfiguration" in given else "2.12"
    version = str(params.get("FileSystemTypeVersion", default))
    if version not in _VERSIONS:
        raise bad_request(f"FileSystemTypeVersion must be one of {', '.join(_VERSIONS)}.")
    if _VERSIONS.index(version) < _VERSIONS.index(default):
        raise bad_request(f"Lustre version {version} is not supported with this deployment type.")
    return version


def _check_throughput(given: dict[str, Any], kind: str, storage: str) -> None:
    throughput = given.get("PerUnitStorageThroughput")
    if kind.startswith("SCRATCH"):
        if storage != "SSD":
            raise bad_request(f"{kind} supports the storage type SSD only.")
        if throughput is not None:
            raise bad_request(f"PerUnitStorageThroughput is not supported with {kind}.")
        return
    allowed = _THROUGHPUTS.get((kind, storage))
    if allowed is None:
        raise bad_request(f"{kind} does not support the storage type {storage}.")
    if throughput not in allowed:
        raise ApiError(
            "InvalidPerUnitStorageThroughput",
            f"PerUnitStorageThroughput must be one of {', '.join(map(str, allowed))}.",
        )


def _check_capacity(params: dict[str, Any], given: dict[str, Any], kind: str, storage: str) -> None:
    capacity = params.get("StorageCapacity")
    if capacity is None:
        raise bad_request("StorageCapacity is required.")
    if storage == "HDD":
        step = 6000 if given["PerUnitStorageThroughput"] == 12 else 1800
        valid = capacity > 0 and capacity % step == 0
    else:
        step = 3600 if kind == "SCRATCH_1" else 2400
        valid = capacity in (1200, 2400) or (capacity > 0 and capacity % step == 0)
    if not valid:
        raise bad_request(f"StorageCapacity {capacity} GiB is not valid for {kind} with {storage}.")


def _move_repository(given: dict[str, Any], kind: str) -> None:
    """From the request's ImportPath and ExportPath to the answer's DataRepositoryConfiguration."""
    source, target = given.pop("ImportPath", None), given.pop("ExportPath", None)
    more = {
        name: given.pop(name)
        for name in ("ImportedFileChunkSize", "AutoImportPolicy")
        if name in given
    }
    if source is None:
        if target is not None or more:
            raise bad_request(
                "ExportPath, ImportedFileChunkSize and AutoImportPolicy need an ImportPath."
            )
        return
    if kind == "PERSISTENT_2":
        raise bad_request("ImportPath is not supported with PERSISTENT_2; make an association.")
    if not source.startswith("s3://"):
        raise ApiError("InvalidImportPath", "ImportPath must begin with s3://.")
    bucket = source[len("s3://") :].partition("/")[0]
    target = target or time.strftime(f"s3://{bucket}/FSxLustre%Y%m%dT%H%M%SZ", time.gmtime())
    if target.partition("://")[2].partition("/")[0] != bucket:
        raise ApiError("InvalidExportPath", "ExportPath must be in the bucket of ImportPath.")
    given["DataRepositoryConfiguration"] = {
        "Lifecycle": "AVAILABLE",
        "ImportPath": source,
        "ExportPath": target,
        "ImportedFileChunkSize": 1024,
        "AutoImportPolicy": "NONE",
        **more,
    }


def _mount_name() -> str:
    return secrets.choice(_LETTERS) + "".join(
        secrets.choice(_LETTERS + "0123456789") for _ in range(7)
    )
