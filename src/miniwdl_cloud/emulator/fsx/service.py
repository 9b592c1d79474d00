"""The operations of the embedded FSx: the HTTP API with the same dictionaries."""

from __future__ import annotations

import base64
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moto.ec2.models import ec2_backends

from ..batch.models import ACCOUNT_ID
from ..errors import ApiError
from ..strict_shapes import StrictModel
from . import lustre
from .lustre import bad_request
from .repository import FileFault
from .store import FileSystem, Store, link_to, now
from .tasks import Tasks

Params = dict[str, Any]
ASSOCIATIONS_MAX = 8
"""Of a file system (botocore's model, CreateDataRepositoryAssociation)."""


class FsxService:
    """Amazon FSx of one Region.

    Parameters
    ----------
    region
        Region.
    filesystem
        Directory that stands for the Lustre file system that is made first.
    others
        Where the directories of other ones are made.

    Attributes
    ----------
    file_fault
        Asked of each file that a task is to export; tests set it.
    """

    def __init__(self, region: str, filesystem: Path, others: Path) -> None:
        self._store = Store(region)
        self._model = StrictModel("fsx")
        self._filesystem = filesystem
        self._others = others
        self.file_fault: FileFault = lambda path: None
        self._tasks = Tasks(self._store, lambda path: self.file_fault(path))

    @property
    def region(self) -> str:
        """Its Region."""
        return self._store.region

    def close(self) -> None:
        """Cancel what runs."""
        self._tasks.close()

    def call(self, operation: str, params: Any) -> Params:
        """Call an operation by the API's name.

        Raises
        ------
        ApiError
            FSx refuses the request, or the emulator lacks the operation.
        """
        if not self._model.has(operation):
            raise ApiError("UnknownOperationException", "FSx has no such operation.", 404)
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        method: Callable[[Params], Params] | None = getattr(self, f"_{name}", None)
        if method is None:
            raise ApiError(
                "UnsupportedOperation", f"The embedded AWS FSx does not have {operation}."
            )
        checked = self._model.check(operation, params)
        with self._store.lock:
            return self._once(operation, checked, method)

    def _once(self, operation: str, params: Params, method: Callable[[Params], Params]) -> Params:
        """A repeated request with the same client request token gets the first one's answer."""
        token = params.get("ClientRequestToken")
        if token is None:
            return method(params)
        known = self._store.tokens.get(f"{operation}:{token}")
        if known is None:
            answer = method(params)
            self._store.tokens[f"{operation}:{token}"] = (params, answer)
            return answer
        if known[0] != params:
            raise ApiError(
                "IncompatibleParameterError",
                "A request with this client request token was made with other parameters.",
            )
        return known[1]

    def _create_file_system(self, params: Params) -> Params:
        kind = params["FileSystemType"]
        detail: Params = {}
        version = ""
        if kind == "LUSTRE":
            detail["LustreConfiguration"], version = lustre.check(params)
            detail["FileSystemTypeVersion"] = version
        else:
            member = {"WINDOWS": "Windows", "ONTAP": "Ontap", "OPENZFS": "OpenZFS"}[kind]
            if f"{member}Configuration" not in params:
                raise ApiError(
                    "MissingFileSystemConfiguration", f"{member}Configuration is required."
                )
            detail[f"{member}Configuration"] = params[f"{member}Configuration"]
        identifier = "fs-" + secrets.token_hex(8) + "0"
        detail.update(
            OwnerId=ACCOUNT_ID,
            CreationTime=now(),
            FileSystemId=identifier,
            FileSystemType=kind,
            Lifecycle="AVAILABLE",
            StorageCapacity=params.get("StorageCapacity", 0),
            StorageType=params.get("StorageType", "SSD"),
            VpcId=self._vpc(params["SubnetIds"]),
            SubnetIds=params["SubnetIds"],
            DNSName=f"{identifier}.fsx.{self.region}.amazonaws.com",
            ResourceARN=self._store.arn("file-system", identifier),
            Tags=params.get("Tags", []),
        )
        is_first = kind == "LUSTRE" and not any(
            item.directory == self._filesystem for item in self._store.file_systems.values()
        )
        directory = self._filesystem if is_first else self._others / identifier
        directory.mkdir(parents=True, exist_ok=True)
        self._store.file_systems[identifier] = FileSystem(detail, directory, version)
        return {"FileSystem": {**detail, "Lifecycle": "CREATING"}}

    def _vpc(self, subnets: list[str]) -> str:
        known = {
            name: subnet
            for zone in list(ec2_backends[ACCOUNT_ID][self.region].subnets.values())
            for name, subnet in list(zone.items())
        }
        vpcs = {known[name].vpc_id for name in subnets if name in known}
        if len(vpcs) != 1 or any(name not in known for name in subnets):
            raise ApiError(
                "InvalidNetworkSettings", f"Invalid subnet IDs provided: {', '.join(subnets)}"
            )
        return str(vpcs.pop())

    def _describe_file_systems(self, params: Params) -> Params:
        wanted = params.get("FileSystemIds")
        items = [self._file_system(name).detail for name in wanted or self._store.file_systems]
        return _page("FileSystems", items, params, 50)

    def _delete_file_system(self, params: Params) -> Params:
        found = self._file_system(params["FileSystemId"])
        if self._tasks.unfinished(found.id):
            raise bad_request("The file system has data repository tasks that have not ended.")
        del self._store.file_systems[found.id]
        for name, item in list(self._store.associations.items()):
            if item["FileSystemId"] == found.id:
                del self._store.associations[name]
        return {"FileSystemId": found.id, "Lifecycle": "DELETING"}

    def _create_data_repository_association(self, params: Params) -> Params:
        found = self._file_system(params["FileSystemId"])
        self._check_can_be_associated(found)
        path, location = params.get("FileSystemPath", "/"), params["DataRepositoryPath"]
        if not path.startswith("/"):
            raise bad_request("FileSystemPath must begin with a forward slash.")
        if not location.startswith("s3://"):
            raise bad_request("DataRepositoryPath must begin with s3://.")
        new = link_to(path, location)
        others = [
            link_to(item["FileSystemPath"], item["DataRepositoryPath"])
            for item in self._store.associations.values()
            if item["FileSystemId"] == found.id
        ]
        for other in others:
            if _overlap(new.path, other.path):
                raise bad_request(f"FileSystemPath {path} overlaps with another association's.")
            if (new.bucket, new.prefix) == (other.bucket, other.prefix):
                raise bad_request(f"{location} is linked to the file system already.")
        if len(others) >= ASSOCIATIONS_MAX:
            raise bad_request(
                f"A file system has at most {ASSOCIATIONS_MAX} data repository associations."
            )
        (found.directory / new.path).mkdir(parents=True, exist_ok=True)
        identifier = "dra-" + secrets.token_hex(8) + "0"
        detail = {
            **{k: v for k, v in params.items() if k != "ClientRequestToken"},
            "AssociationId": identifier,
            "ResourceARN": self._store.arn(f"association/{found.id}", identifier),
            "FileSystemPath": path,
            "Lifecycle": "AVAILABLE",
            "BatchImportMetaDataOnCreate": params.get("BatchImportMetaDataOnCreate", False),
            "ImportedFileChunkSize": params.get("ImportedFileChunkSize", 1024),
            "Tags": params.get("Tags", []),
            "CreationTime": now(),
        }
        self._store.associations[identifier] = detail
        if detail["BatchImportMetaDataOnCreate"]:
            self._tasks.start(
                found,
                {
                    "Type": "IMPORT_METADATA_FROM_REPOSITORY",
                    "FileSystemId": found.id,
                    "Paths": [location],
                    "Report": {"Enabled": False},
                },
            )
        return {"Association": {**detail, "Lifecycle": "CREATING"}}

    def _check_can_be_associated(self, found: FileSystem) -> None:
        if found.detail["FileSystemType"] != "LUSTRE":
            raise ApiError("UnsupportedOperation", "Only Lustre file systems have associations.")
        configuration = found.lustre
        if configuration["DeploymentType"] == "SCRATCH_1" or found.version == "2.10":
            raise ApiError(
                "UnsupportedOperation",
                "Data repository associations need Lustre 2.12 or 2.15, and not SCRATCH_1.",
            )
        if found.detail["StorageType"] == "INTELLIGENT_TIERING":
            raise ApiError(
                "UnsupportedOperation", "INTELLIGENT_TIERING does not have associations."
            )
        if "DataRepositoryConfiguration" in configuration:
            raise bad_request("The file system is linked by its ImportPath already.")

    def _describe_data_repository_associations(self, params: Params) -> Params:
        known = self._store.associations
        names = params.get("AssociationIds") or list(known)
        for name in names:
            if name not in known:
                raise ApiError(
                    "DataRepositoryAssociationNotFound", f"Association {name} does not exist."
                )
        items = [known[name] for name in names]
        for item in params.get("Filters", []):
            if item.get("Name") != "file-system-id":
                raise bad_request(f"The embedded AWS FSx has no filter {item.get('Name')} here.")
            items = [one for one in items if one["FileSystemId"] in item.get("Values", [])]
        return _page("Associations", items, params, 25)

    def _delete_data_repository_association(self, params: Params) -> Params:
        name = params["AssociationId"]
        detail = self._store.associations.get(name)
        if detail is None:
            raise ApiError(
                "DataRepositoryAssociationNotFound", f"Association {name} does not exist."
            )
        found = self._file_system(detail["FileSystemId"])
        if self._tasks.unfinished(found.id):
            raise bad_request("The file system has data repository tasks that have not ended.")
        del self._store.associations[name]
        delete = params.get("DeleteDataInFileSystem", False)
        if delete:
            for entry in (found.directory / detail["FileSystemPath"].strip("/")).iterdir():
                shutil.rmtree(
                    entry
                ) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        return {"AssociationId": name, "Lifecycle": "DELETING", "DeleteDataInFileSystem": delete}

    def _create_data_repository_task(self, params: Params) -> Params:
        found = self._file_system(params["FileSystemId"])
        return {"DataRepositoryTask": self._tasks.create(found, params)}

    def _describe_data_repository_tasks(self, params: Params) -> Params:
        return _page("DataRepositoryTasks", self._tasks.describe(params), params, 50)

    def _cancel_data_repository_task(self, params: Params) -> Params:
        return {"TaskId": params["TaskId"], "Lifecycle": self._tasks.cancel(params["TaskId"])}

    def _tag_resource(self, params: Params) -> Params:
        detail = self._resource(params["ResourceARN"])
        new = {item["Key"]: item for item in params["Tags"]}
        detail["Tags"] = [t for t in detail.get("Tags", []) if t["Key"] not in new]
        detail["Tags"] += new.values()
        return {}

    def _untag_resource(self, params: Params) -> Params:
        detail = self._resource(params["ResourceARN"])
        gone = set(params["TagKeys"])
        detail["Tags"] = [t for t in detail.get("Tags", []) if t["Key"] not in gone]
        return {}

    def _list_tags_for_resource(self, params: Params) -> Params:
        return {"Tags": self._resource(params["ResourceARN"]).get("Tags", [])}

    def _resource(self, arn: str) -> Params:
        store = self._store
        details = [
            *(item.detail for item in store.file_systems.values()),
            *store.associations.values(),
            *(item.detail for item in store.tasks.values()),
        ]
        for detail in details:
            if detail["ResourceARN"] == arn:
                return detail
        raise ApiError("ResourceNotFound", f"The resource {arn} does not exist.")

    def _file_system(self, identifier: str) -> FileSystem:
        found = self._store.file_systems.get(identifier)
        if found is None:
            raise ApiError("FileSystemNotFound", f"File system '{identifier}' does not exist.")
        return found


def _overlap(one: str, other: str) -> bool:
    return (
        not one
        or not other
        or one == other
        or one.startswith(other + "/")
        or other.startswith(one + "/")
    )


def _page(member: str, items: list[Params], params: Params, largest: int) -> Params:
    try:
        start = int(base64.b64decode(params["NextToken"])) if "NextToken" in params else 0
    except ValueError:
        raise bad_request("NextToken is not valid.") from None
    end = start + min(params.get("MaxResults", largest), largest)
    more = {"NextToken": base64.b64encode(str(end).encode()).decode()} if end < len(items) else {}
    return {member: items[start:end], **more}
