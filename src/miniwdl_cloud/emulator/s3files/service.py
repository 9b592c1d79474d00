"""The operations of the embedded S3 Files: the HTTP API with the same dictionaries."""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moto.ec2.models import ec2_backends
from moto.s3.models import s3_backends

from ..batch.models import ACCOUNT_ID
from ..errors import ApiError
from ..strict_shapes import StrictModel
from .sync import Synchronized

logger = logging.getLogger(__name__)

Params = dict[str, Any]
PERIOD_S = 1.0
"""Seconds between two looks at what has changed."""
_IDLE = 20
"""How many times as long as a look takes there is rest after it."""


class S3FilesService:
    """Amazon S3 Files of one Region.

    Parameters
    ----------
    region
        Region.
    filesystem
        Directory that stands for the file system that is made first.
    others
        Where the directories of other ones are made.
    """

    def __init__(self, region: str, filesystem: Path, others: Path) -> None:
        self.region = region
        self.model = StrictModel("s3files")
        self._filesystem = filesystem
        self._others = others
        self._lock = threading.RLock()
        self._file_systems: dict[str, Params] = {}
        self._directories: dict[str, Path] = {}
        self._synchronized: dict[str, Synchronized] = {}
        self._access_points: dict[str, Params] = {}
        self._mount_targets: dict[str, Params] = {}
        self._tokens: dict[str, tuple[Params, str]] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """Bring the last changes to the buckets, and stop."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self.synchronize()

    def synchronize(self) -> None:
        """Make directories and buckets the same now."""
        with self._lock:
            every = list(self._synchronized.values())
        for one in every:
            one.synchronize()

    def call(self, operation: str, params: Params) -> tuple[int, Params]:
        """Call an operation by the API's name.

        Returns
        -------
        tuple
            HTTP status and answer.

        Raises
        ------
        ApiError
            S3 Files refuses the request, or the emulator lacks the operation.
        """
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        method: Callable[[Params], Params] | None = getattr(self, f"_{name}", None)
        if method is None:
            raise ApiError(
                "ValidationException", f"The embedded AWS S3 Files does not have {operation}."
            )
        checked = self.model.check(operation, params)
        with self._lock:
            answer = method(checked)
        return int(self.model.operation(operation).http.get("responseCode", 200)), answer

    def resolve(
        self, file_system: str, access_point: str | None, root_directory: str = "/"
    ) -> Path:
        """The directory of a file system, or of one of its access points, by their ARNs.

        Raises
        ------
        LookupError
            There is no such one, or the file system has no mount target.
        """
        with self._lock:
            found = self._file_systems.get(file_system.rpartition("/")[2])
            if found is None or found["fileSystemArn"] != file_system:
                raise LookupError(f"Failed to resolve file system {file_system}")
            identifier = found["fileSystemId"]
            if not any(t["fileSystemId"] == identifier for t in self._mount_targets.values()):
                raise LookupError(f"No mount target of file system {file_system} is available")
            below = root_directory.strip("/")
            if access_point is not None:
                point = self._access_points.get(access_point.rpartition("/")[2])
                if point is None or point["accessPointArn"] != access_point:
                    raise LookupError(f"Failed to resolve access point {access_point}")
                below = point.get("rootDirectory", {}).get("path", "/").strip("/")
            directory = self._directories[identifier] / below
        if access_point is not None:
            directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _create_file_system(self, params: Params) -> Params:
        known = self._repeated("file system", params)
        if known is not None:
            return self._file_systems[known]
        name = params["bucket"].rpartition(":")[2]
        bucket = s3_backends[ACCOUNT_ID]["aws"].buckets.get(name)
        if bucket is None:
            raise _not_found(f"The bucket {name} does not exist.")
        if not bucket.is_versioned:
            # S3 user guide, "Prerequisites for S3 Files": versioning must be on.
            raise ApiError("ValidationException", f"The bucket {name} has no versioning enabled.")
        identifier = f"fs-{secrets.token_hex(8)}0"
        arn = f"arn:aws:s3files:{self.region}:{ACCOUNT_ID}:file-system/{identifier}"
        prefix = params.get("prefix", "")
        detail = {
            "creationTime": int(time.time()),
            "fileSystemArn": arn,
            "fileSystemId": identifier,
            "bucket": params["bucket"],
            "prefix": prefix,
            "status": "available",
            "roleArn": params["roleArn"],
            "ownerId": ACCOUNT_ID,
            **_common(params),
        }
        if "kmsKeyId" in params:
            detail["kmsKeyId"] = params["kmsKeyId"]
        is_first = self._filesystem not in self._directories.values()
        directory = self._filesystem if is_first else self._others / identifier
        directory.mkdir(parents=True, exist_ok=True)
        self._file_systems[identifier] = detail
        self._directories[identifier] = directory
        self._synchronized[identifier] = Synchronized(directory, name, prefix)
        self._remember("file system", params, identifier)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="emulator-s3files", daemon=True)
            self._thread.start()
        return {**detail, "status": "creating"}

    def _get_file_system(self, params: Params) -> Params:
        return self._file_system(params)

    def _list_file_systems(self, params: Params) -> Params:
        wanted = params.get("bucket")
        return {
            "fileSystems": [
                {k: v for k, v in item.items() if k not in ("tags", "clientToken", "prefix")}
                for item in self._file_systems.values()
                if wanted in (None, item["bucket"])
            ]
        }

    def _delete_file_system(self, params: Params) -> Params:
        identifier = self._file_system(params)["fileSystemId"]
        for kind, items in (
            ("mount targets", self._mount_targets),
            ("access points", self._access_points),
        ):
            if any(item["fileSystemId"] == identifier for item in items.values()):
                raise ApiError("ConflictException", f"{identifier} has {kind}.", 409)
        self._synchronized.pop(identifier).synchronize()
        del self._file_systems[identifier], self._directories[identifier]
        return {}

    def _create_access_point(self, params: Params) -> Params:
        known = self._repeated("access point", params)
        if known is not None:
            return self._access_points[known]
        system = self._file_system(params)
        identifier = f"fsap-{secrets.token_hex(8)}0"
        detail = {
            "accessPointArn": f"{system['fileSystemArn']}/access-point/{identifier}",
            "accessPointId": identifier,
            "fileSystemId": system["fileSystemId"],
            "status": "available",
            "ownerId": ACCOUNT_ID,
            "rootDirectory": params.get("rootDirectory", {"path": "/"}),
            **_common(params),
        }
        if "posixUser" in params:
            detail["posixUser"] = params["posixUser"]
        self._access_points[identifier] = detail
        self._remember("access point", params, identifier)
        return {**detail, "status": "creating"}

    def _get_access_point(self, params: Params) -> Params:
        return self._access_point(params)

    def _list_access_points(self, params: Params) -> Params:
        identifier = self._file_system(params)["fileSystemId"]
        return {
            "accessPoints": [
                {k: v for k, v in item.items() if k not in ("tags", "clientToken")}
                for item in self._access_points.values()
                if item["fileSystemId"] == identifier
            ]
        }

    def _delete_access_point(self, params: Params) -> Params:
        del self._access_points[self._access_point(params)["accessPointId"]]
        return {}

    def _create_mount_target(self, params: Params) -> Params:
        system = self._file_system(params)
        backend = ec2_backends[ACCOUNT_ID][self.region]
        subnet = next(
            (
                zone[params["subnetId"]]
                for zone in backend.subnets.values()
                if params["subnetId"] in zone
            ),
            None,
        )
        if subnet is None:
            raise _not_found(f"The subnet {params['subnetId']} does not exist.")
        zone = subnet.availability_zone_id
        for item in self._mount_targets.values():
            same = item["fileSystemId"] == system["fileSystemId"]
            if same and item["availabilityZoneId"] == zone:
                raise ApiError("ConflictException", f"There is a mount target in {zone}.", 409)
        identifier = f"fsmt-{secrets.token_hex(8)}0"
        detail = {
            "availabilityZoneId": zone,
            "ownerId": ACCOUNT_ID,
            "mountTargetId": identifier,
            "fileSystemId": system["fileSystemId"],
            "subnetId": params["subnetId"],
            "vpcId": subnet.vpc_id,
            "securityGroups": params.get("securityGroups", []),
            "status": "available",
        }
        self._mount_targets[identifier] = detail
        return {**detail, "status": "creating"}

    def _get_mount_target(self, params: Params) -> Params:
        return self._mount_target(params)

    def _list_mount_targets(self, params: Params) -> Params:
        if "accessPointId" in params:
            identifier = self._access_point(params)["fileSystemId"]
        elif "fileSystemId" in params:
            identifier = self._file_system(params)["fileSystemId"]
        else:
            raise ApiError("ValidationException", "Specify fileSystemId or accessPointId.")
        targets = self._mount_targets.values()
        return {"mountTargets": [t for t in targets if t["fileSystemId"] == identifier]}

    def _delete_mount_target(self, params: Params) -> Params:
        del self._mount_targets[self._mount_target(params)["mountTargetId"]]
        return {}

    def _list_tags_for_resource(self, params: Params) -> Params:
        return {"tags": self._resource(params)["tags"]}

    def _tag_resource(self, params: Params) -> Params:
        resource = self._resource(params)
        _tag(resource, {t["key"]: t["value"] for t in [*resource["tags"], *params["tags"]]})
        return {}

    def _untag_resource(self, params: Params) -> Params:
        resource = self._resource(params)
        kept = [t for t in resource["tags"] if t["key"] not in params["tagKeys"]]
        _tag(resource, {t["key"]: t["value"] for t in kept})
        return {}

    def _file_system(self, params: Params) -> Params:
        return _find(self._file_systems, params["fileSystemId"], "file system")

    def _access_point(self, params: Params) -> Params:
        return _find(self._access_points, params["accessPointId"], "access point")

    def _mount_target(self, params: Params) -> Params:
        return _find(self._mount_targets, params["mountTargetId"], "mount target")

    def _resource(self, params: Params) -> Params:
        every = {**self._file_systems, **self._access_points}
        return _find(every, params["resourceId"], "resource")

    def _repeated(self, kind: str, params: Params) -> str | None:
        """What a request with the same client token has made."""
        known = self._tokens.get(f"{kind}:{params.get('clientToken')}")
        if known is None:
            return None
        if known[0] != params:
            raise ApiError("ConflictException", "The client token was used before.", 409)
        return known[1]

    def _remember(self, kind: str, params: Params, made: str) -> None:
        if "clientToken" in params:
            self._tokens[f"{kind}:{params['clientToken']}"] = (params, made)

    def _run(self) -> None:
        wait = PERIOD_S
        while not self._closing.wait(wait):
            before = time.monotonic()
            try:
                self.synchronize()
            except Exception:
                # The next look may find what this one could not understand.
                logger.exception("S3 Files could not synchronise")
            wait = max(PERIOD_S, _IDLE * (time.monotonic() - before))


def _find(items: dict[str, Params], name_or_arn: str, what: str) -> Params:
    found = items.get(name_or_arn.rpartition("/")[2])
    if found is None:
        raise _not_found(f"The {what} {name_or_arn} does not exist.")
    return found


def _not_found(text: str) -> ApiError:
    return ApiError("ResourceNotFoundException", text, 404)


def _common(params: Params) -> Params:
    detail: Params = {"clientToken": params.get("clientToken") or secrets.token_hex(16)}
    _tag(detail, {tag["key"]: tag["value"] for tag in params.get("tags", [])})
    return detail


def _tag(detail: Params, tags: dict[str, str]) -> None:
    detail["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
    detail.pop("name", None)
    if "Name" in tags:
        detail["name"] = tags["Name"]
