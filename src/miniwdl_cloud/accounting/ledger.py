"""The ledger of a lease: an append-only file of the jobs that its process submitted.

A line of JSON for each submission goes out before the request does, with the unique name that it
will be looked up by, and reaches the disk first. A short line tells its id once that is known. So
two small writes a submission, one of them synchronous, however many tasks an array job has.

    {"name": NAME, "queue": QUEUE, "tasks": [[DIRECTORY, ATTEMPT, KEY], …]}
    {"name": NAME, "id": ID}
    {"name": NAME, "refused": true}
    {"adopted": ID, "name": NAME, "queue": QUEUE, "task": [DIRECTORY, ATTEMPT, KEY],
     "earlier": [DIRECTORY, …]}
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, MiniwdlCloudError, NoCapacity, Unreachable
from ..filesystems.weather import retried
from ..jobs.request import Definition, JobRequest, JobSnapshot, JobState
from ..jobs.service import QueueService


@dataclass(frozen=True)
class Task:
    """One task of a submission.

    Parameters
    ----------
    directory
        Its run directory.
    attempt
        Which of its attempts the job is.
    key
        What the task does on which inputs; empty if unknown.
    """

    directory: str
    attempt: int
    key: str = ""


@dataclass(frozen=True)
class Submission:
    """What a ledger says of a submission.

    Parameters
    ----------
    name, queue
        What it is looked up by.
    tasks
        One, or those of an array job by their index.
    job_id
        ``None`` if the ledger does not say.
    adopted
        Whether the job was another process's; ``job_id`` may be that of an array's child then.
    earlier
        Of an adopted job: the run directories that the task had before, newest first.
    """

    name: str
    queue: str
    tasks: tuple[Task, ...]
    job_id: str | None = None
    adopted: bool = False
    earlier: tuple[str, ...] = ()

    @property
    def request(self) -> JobRequest:
        """As much of a request as it takes to look the job up."""
        return JobRequest(self.name, self.queue, Definition(""))


class Ledger:
    """Appends to a ledger; may be used from several threads.

    Parameters
    ----------
    path
        The file; it is made when there is something to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._torn = False

    def submitting(self, name: str, queue: str, tasks: Sequence[Task]) -> None:
        """A request is going to be sent. Returns once the line is on disk.

        Raises
        ------
        ConfigurationError, FilesystemFull
            It cannot be written; the request must not be sent.
        """
        lines = [[task.directory, task.attempt, task.key] for task in tasks]
        self._append({"name": name, "queue": queue, "tasks": lines}, durable=True)

    def submitted(self, name: str, job_id: str) -> None:
        """A job has its id. If that cannot be written, its name will have to do."""
        try:
            self._append({"name": name, "id": job_id}, durable=False)
        except MiniwdlCloudError:
            pass

    def refused(self, name: str) -> None:
        """A request was refused: there is no job. If that cannot be written, a look will tell."""
        try:
            self._append({"name": name, "refused": True}, durable=False)
        except MiniwdlCloudError:
            pass

    def adopted(self, submission: Submission) -> None:
        """A job of another process is in the care of this one now.

        Raises
        ------
        ConfigurationError, FilesystemFull
            It cannot be written.
        """
        (task,) = submission.tasks
        self._append(
            {
                "adopted": submission.job_id,
                "name": submission.name,
                "queue": submission.queue,
                "task": [task.directory, task.attempt, task.key],
                "earlier": list(submission.earlier),
            },
            durable=True,
        )

    def _append(self, line: Mapping[str, Any], durable: bool) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"

        def write() -> None:
            torn, self._torn = self._torn, True
            # Until all of it is written, what follows has to begin on a line of its own.
            _append_to(self.path, b"\n" + data if torn else data, durable)
            self._torn = False

        with self._lock:
            try:
                retried(write, self.path)
            except OSError as exn:
                raise ConfigurationError(
                    f"The ledger of submitted jobs {self.path} cannot be written"
                    f" ({exn.strerror}); see to the shared filesystem, and run again."
                ) from exn


def _append_to(path: Path, data: bytes, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_ledger(path: Path) -> list[Submission]:
    """What a ledger says, in its order; a line that is not whole is left out.

    Raises
    ------
    OSError
        It is there but cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    found: dict[str, Submission] = {}
    for line in data.split(b"\n")[:-1]:
        try:
            fields = json.loads(line)
            _take(fields, found)
        except (ValueError, KeyError, TypeError):
            continue
    return list(found.values())


def _take(fields: Mapping[str, Any], found: dict[str, Submission]) -> None:
    if "adopted" in fields:
        task, job_id = Task(*fields["task"]), str(fields["adopted"])
        found[f"adopted {job_id}"] = Submission(
            fields["name"], fields["queue"], (task,), job_id, True, tuple(fields["earlier"])
        )
    elif "refused" in fields:
        found.pop(fields["name"], None)
    elif "id" in fields:
        found[fields["name"]] = replace(found[fields["name"]], job_id=str(fields["id"]))
    else:
        tasks = tuple(Task(*item) for item in fields["tasks"])
        found[fields["name"]] = Submission(fields["name"], fields["queue"], tasks)


class AccountedQueue:
    """A queue service that keeps a ledger; implements `jobs.service.QueueService`.

    Parameters
    ----------
    service
        The queue service itself.
    ledger
        Where its submissions are written down.
    """

    def __init__(self, service: QueueService, ledger: Ledger) -> None:
        self._service = service
        self._ledger = ledger
        self._written: dict[str, tuple[Task, ...]] = {}
        self._terminated: dict[str, bool] = {}
        self.describe_max = service.describe_max
        self.array_max = service.array_max

    def ensure_definition(self, definition: Definition) -> str:
        """As the service's."""
        return self._service.ensure_definition(definition)

    def retire(self, definition: Definition) -> None:
        """As the service's."""
        self._service.retire(definition)

    def submit(self, requests: Sequence[JobRequest], definition_handle: str) -> str:
        """Write the submission down, submit, and write its id down."""
        name = requests[0].name
        tasks = tuple(Task(r.item.directory, r.item.attempt, r.item.cache_key) for r in requests)
        # It is tried again after throttling; the ledger need not hold it twice.
        if self._written.get(name) != tasks:
            self._ledger.submitting(name, requests[0].queue, tasks)
            self._written[name] = tasks
        try:
            job_id = self._service.submit(requests, definition_handle)
        except MiniwdlCloudError as exn:
            # Unanswered, it may have taken effect; throttled, it is sent again. A job that there
            # was no room for may never be.
            if isinstance(exn, NoCapacity) or not isinstance(exn, Unreachable):
                del self._written[name]
                self._ledger.refused(name)
            raise
        self._has_id(name, job_id)
        return job_id

    def find(self, request: JobRequest) -> str | None:
        """Look a submission in doubt up, and write down what was found."""
        job_id = self._service.find(request)
        if job_id is not None:
            self._has_id(request.name, job_id)
        return job_id

    def _has_id(self, name: str, job_id: str) -> None:
        self._written.pop(name, None)
        self._ledger.submitted(name, job_id)

    def describe(self, ids: Sequence[str]) -> Mapping[str, JobSnapshot]:
        """As the service's."""
        return self._service.describe(ids)

    def child_id(self, array_id: str, index: int) -> str:
        """As the service's."""
        return self._service.child_id(array_id, index)

    def list_children(self, array_id: str, state: JobState) -> Sequence[str]:
        """As the service's."""
        return self._service.list_children(array_id, state)

    def terminate(self, job_id: str, reason: str) -> None:
        """As the service's."""
        self._terminated[job_id] = False
        self._service.terminate(job_id, reason)
        self._terminated[job_id] = True

    def is_ending(self, job_id: str, tasks: int) -> bool:
        """Whether a job was terminated, or what was left of an array job of so many tasks."""
        ids = [job_id, *(self.child_id(job_id, index) for index in range(tasks) if tasks > 1)]
        answers = [self._terminated[id_] for id_ in ids if id_ in self._terminated]
        return bool(answers) and all(answers)
