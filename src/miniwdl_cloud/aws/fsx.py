"""Amazon FSx for Lustre: file systems, their links to S3, and tasks that export files there."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import MiniwdlCloudError, NotFound, ServiceError
from .error_mapping import map_errors
from .s3 import S3, S3Uri, parse_s3_uri
from .session import AwsSession

TASK_PATHS_MAX = 100
"""Paths of one data repository task (API reference, CreateDataRepositoryTask, `Paths`)."""


@dataclass(frozen=True)
class FsxFileSystem:
    """An FSx file system.

    Parameters
    ----------
    id
        ``fs-…``
    kind
        ``LUSTRE``, ``WINDOWS``, ``ONTAP`` or ``OPENZFS``.
    lifecycle
        ``AVAILABLE``, ``CREATING``…
    vpc_id
        The VPC that it is in.
    mount_name
        The name that clients mount it by; empty if it is not Lustre.
    export_path
        Where all of an older file system is exported to, if it was made with an import path.
    """

    id: str
    kind: str
    lifecycle: str
    vpc_id: str
    mount_name: str
    export_path: str | None


@dataclass(frozen=True)
class Association:
    """A directory of a file system, relative to its root, and the S3 folder linked to it."""

    path: str
    location: S3Uri


@dataclass(frozen=True)
class ExportTask:
    """An export task.

    Parameters
    ----------
    id
        ``task-…``
    lifecycle
        ``PENDING``, ``EXECUTING``, ``SUCCEEDED``, ``FAILED``, ``CANCELING`` or ``CANCELED``.
    message
        Why it failed, if FSx says so.
    """

    id: str
    lifecycle: str
    message: str

    @property
    def has_ended(self) -> bool:
        """Whether it does nothing any more."""
        return self.lifecycle in ("SUCCEEDED", "FAILED", "CANCELED")


class Fsx:
    """Amazon FSx in one Region.

    Every method raises the errors of `miniwdl_cloud.errors` that `aws.error_mapping` makes of
    botocore's.
    """

    def __init__(self, session: AwsSession) -> None:
        self._client = session.client("fsx")

    def file_system(self, file_system_id: str) -> FsxFileSystem | None:
        """A file system by id, or ``None`` if there is none."""
        try:
            with map_errors(f"looking up the FSx file system {file_system_id}"):
                found = self._client.describe_file_systems(FileSystemIds=[file_system_id])
        except NotFound:
            return None
        for item in found["FileSystems"]:
            return _file_system(item)
        return None

    def by_mount_name(self, mount_name: str) -> FsxFileSystem | None:
        """The Lustre file system of a mount name, which is unique in a Region but for the name
        ``fsx`` of older ones; ``None`` if there is none, or several."""
        with map_errors("looking up FSx file systems"):
            pages = self._client.get_paginator("describe_file_systems").paginate()
            items = [_file_system(item) for page in pages for item in page["FileSystems"]]
        found = [item for item in items if item.kind == "LUSTRE" and item.mount_name == mount_name]
        return found[0] if len(found) == 1 else None

    def associations(self, file_system_id: str) -> list[Association]:
        """The data repository associations that work."""
        items: list[dict[str, Any]] = []
        more: dict[str, str] = {}
        while True:
            with map_errors(f"looking up the S3 links of {file_system_id}"):
                page = self._client.describe_data_repository_associations(
                    Filters=[{"Name": "file-system-id", "Values": [file_system_id]}], **more
                )
            items += page["Associations"]
            if not page.get("NextToken"):
                break
            more = {"NextToken": page["NextToken"]}
        return [
            Association(
                item["FileSystemPath"].strip("/"),
                parse_s3_uri(item["DataRepositoryPath"]).folder(),
            )
            for item in items
            if item.get("Lifecycle") in ("AVAILABLE", "UPDATING")
        ]

    def start_export(
        self, file_system_id: str, paths: Sequence[str], report: S3Uri
    ) -> ExportTask | None:
        """Start an export task, or ``None`` while another task runs on the file system.

        Parameters
        ----------
        paths
            At most 100, relative to the root of the file system.
        report
            Folder in the linked S3 location where FSx puts a list of what failed.
        """
        try:
            with map_errors(f"exporting files of {file_system_id}"):
                made = self._client.create_data_repository_task(
                    Type="EXPORT_TO_REPOSITORY",
                    FileSystemId=file_system_id,
                    Paths=list(paths),
                    Report={
                        "Enabled": True,
                        "Path": str(report).rstrip("/"),
                        "Format": "REPORT_CSV_20191124",
                        "Scope": "FAILED_FILES_ONLY",
                    },
                )
        except ServiceError as exn:
            if exn.more_info.get("code") == "DataRepositoryTaskExecuting":
                return None
            raise
        return _task(made["DataRepositoryTask"])

    def export_task(self, task_id: str) -> ExportTask:
        """How an export task is."""
        with map_errors(f"looking at the export task {task_id}"):
            found = self._client.describe_data_repository_tasks(TaskIds=[task_id])
        return _task(found["DataRepositoryTasks"][0])

    def cancel_export(self, task_id: str) -> None:
        """Cancel an export task; nothing happens to one that has ended."""
        try:
            with map_errors(f"cancelling the export task {task_id}"):
                self._client.cancel_data_repository_task(TaskId=task_id)
        except ServiceError as exn:
            if exn.more_info.get("code") != "DataRepositoryTaskEnded":
                raise


def export_failures(s3: S3, report: S3Uri, task_id: str) -> dict[str, str]:
    """The error codes of files that a task did not export, by path in the file system; empty where
    the report cannot be read.

    FSx for Lustre user guide, "Working with task completion reports": CSV of path, ``failed`` and
    code; paths that begin with one of ``@+-=`` are quoted once more.
    """
    try:
        text = s3.get_bytes(report / f"{task_id}/failures.csv").decode(errors="replace")
    except MiniwdlCloudError:
        return {}
    failures = {}
    for row in csv.reader(text.splitlines()):
        if len(row) == 3:
            path = row[0]
            if path[:1] == path[-1:] == '"' and path[1:2] in tuple("@+-="):
                path = path[1:-1]
            failures[path] = row[2]
    return failures


def _file_system(item: dict[str, Any]) -> FsxFileSystem:
    lustre = item.get("LustreConfiguration") or {}
    repository = lustre.get("DataRepositoryConfiguration") or {}
    return FsxFileSystem(
        id=item["FileSystemId"],
        kind=item.get("FileSystemType", ""),
        lifecycle=item.get("Lifecycle", ""),
        vpc_id=item.get("VpcId", ""),
        mount_name=lustre.get("MountName", ""),
        export_path=repository.get("ExportPath"),
    )


def _task(item: dict[str, Any]) -> ExportTask:
    details = item.get("FailureDetails") or {}
    return ExportTask(item["TaskId"], item["Lifecycle"], details.get("Message", ""))
