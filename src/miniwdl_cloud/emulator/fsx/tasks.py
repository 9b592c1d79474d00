"""Data repository tasks of the embedded FSx: one at a time a file system, each in a thread."""

from __future__ import annotations

import logging
import secrets
import threading
from typing import Any

from ..errors import ApiError
from . import repository
from .lustre import bad_request
from .repository import Failure, FileFault, InvalidPath
from .store import FileSystem, Link, Store, Task, link_to, now

logger = logging.getLogger(__name__)

_EXPORT = "EXPORT_TO_REPOSITORY"
_IMPORT = "IMPORT_METADATA_FROM_REPOSITORY"


class Tasks:
    """The tasks of all file systems.

    Parameters
    ----------
    store
        Where they are; its lock is held by whoever calls a method, but not by the threads.
    fault
        What fails.
    """

    def __init__(self, store: Store, fault: FileFault) -> None:
        self._store = store
        self._fault = fault

    def close(self) -> None:
        """Cancel all and wait for them."""
        tasks = list(self._store.tasks.values())
        for task in tasks:
            task.cancelled.set()
        for task in tasks:
            if task.thread is not None:
                task.thread.join()

    def unfinished(self, file_system_id: str) -> bool:
        """Whether a file system has a task that has not ended."""
        return any(
            task.is_unfinished and task.detail["FileSystemId"] == file_system_id
            for task in self._store.tasks.values()
        )

    def create(self, found: FileSystem, params: dict[str, Any]) -> dict[str, Any]:
        """Check a request and start its task; returns the task's description."""
        if found.detail["FileSystemType"] != "LUSTRE":
            raise ApiError("UnsupportedOperation", "Only Lustre file systems have tasks.")
        if params["Type"] not in (_EXPORT, _IMPORT):
            raise ApiError(
                "UnsupportedOperation", f"The embedded AWS FSx does not do {params['Type']}."
            )
        links = self._store.links(found)
        if not links:
            raise ApiError(
                "UnsupportedOperation", "No data repository is linked to the file system."
            )
        _check_report(params["Report"], links)
        if params["Type"] == _IMPORT and any(
            not path.startswith("s3://") for path in params.get("Paths", [])
        ):
            raise bad_request("The paths of an import task begin with s3://.")
        if self.unfinished(found.id):
            raise ApiError(
                "DataRepositoryTaskExecuting",
                "An existing data repository task is currently executing on the file system.",
            )
        return self.start(found, params)

    def start(self, found: FileSystem, params: dict[str, Any]) -> dict[str, Any]:
        """Start a task without checks; returns its description."""
        identifier = "task-" + secrets.token_hex(8) + "0"
        detail = {
            **{k: v for k, v in params.items() if k != "ClientRequestToken"},
            "TaskId": identifier,
            "Lifecycle": "PENDING",
            "CreationTime": now(),
            "ResourceARN": self._store.arn("task", identifier),
            "Tags": params.get("Tags", []),
        }
        task = Task(detail)
        self._store.tasks[identifier] = task
        answer = dict(detail)
        task.thread = threading.Thread(
            target=self._run, args=(task, found), name=f"fsx-{identifier}", daemon=True
        )
        task.thread.start()
        return answer

    def describe(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        """Descriptions by id or filter."""
        names = params.get("TaskIds") or list(self._store.tasks)
        for name in names:
            self._find(name)
        items = [dict(self._store.tasks[name].detail) for name in names]
        members = {"file-system-id": "FileSystemId", "task-lifecycle": "Lifecycle"}
        for item in params.get("Filters", []):
            member = members.get(item.get("Name"))
            if member is None:
                raise bad_request(f"The embedded AWS FSx has no filter {item.get('Name')} here.")
            items = [one for one in items if one[member] in item.get("Values", [])]
        return items

    def cancel(self, identifier: str) -> str:
        """Cancel a task; returns its lifecycle."""
        task = self._find(identifier)
        if not task.is_unfinished:
            raise ApiError("DataRepositoryTaskEnded", f"The task {identifier} has ended.")
        task.detail["Lifecycle"] = "CANCELING"
        task.cancelled.set()
        return "CANCELING"

    def _find(self, identifier: str) -> Task:
        task = self._store.tasks.get(identifier)
        if task is None:
            raise ApiError("DataRepositoryTaskNotFound", f"Task {identifier} does not exist.")
        return task

    def _run(self, task: Task, found: FileSystem) -> None:
        with self._store.lock:
            if not task.cancelled.is_set():
                task.detail["Lifecycle"] = "EXECUTING"
            task.detail["StartTime"] = now()
            links = self._store.links(found)
        message = ""
        failures: list[Failure] = []
        try:
            failures = self._work(task, found, links)
            if failures:
                message = f"{len(failures)} files could not be processed."
        except InvalidPath as exn:
            message = f"The path '{exn}' is not valid."[:256]
        except Exception as exn:
            logger.exception("data repository task %s", task.detail["TaskId"])
            message = f"{type(exn).__name__}: {exn}"[:256]
        report = task.detail["Report"]
        if failures and report["Enabled"]:
            name = "failures.csv" if task.detail["Type"] == _EXPORT else "report.csv"
            repository.write_report(report["Path"], task.detail["TaskId"], name, failures)
        with self._store.lock:
            task.detail["EndTime"] = now()
            if message:
                task.detail.update(Lifecycle="FAILED", FailureDetails={"Message": message})
            elif task.cancelled.is_set():
                task.detail["Lifecycle"] = "CANCELED"
            else:
                task.detail["Lifecycle"] = "SUCCEEDED"

    def _work(self, task: Task, found: FileSystem, links: list[Link]) -> list[Failure]:
        paths = task.detail.get("Paths", [])
        if task.detail["Type"] == _IMPORT:
            return repository.import_all(found, links, paths)
        files = repository.files_of(found, paths)
        status = task.detail["Status"] = {
            "TotalCount": len(files),
            "SucceededCount": 0,
            "FailedCount": 0,
            "LastUpdatedTime": now(),
        }
        failures = []
        for relative in files:
            if task.cancelled.is_set():
                break
            code = repository.export(found, links, relative, self._fault)
            if code:
                failures.append(Failure(relative, code))
            with self._store.lock:
                status["FailedCount" if code else "SucceededCount"] += 1
                status["LastUpdatedTime"] = now()
        return failures


def _check_report(report: dict[str, Any], links: list[Link]) -> None:
    if not report["Enabled"]:
        return
    missing = [name for name in ("Path", "Format", "Scope") if name not in report]
    if missing:
        raise bad_request(f"A report that is enabled needs {', '.join(missing)}.")
    if not report["Path"].startswith("s3://"):
        raise bad_request("The Path of a report begins with s3://.")
    place = link_to("/", report["Path"])
    if not any(
        place.bucket == link.bucket and place.prefix.startswith(link.prefix) for link in links
    ):
        raise bad_request("The Path of a report must be in the linked data repository.")
