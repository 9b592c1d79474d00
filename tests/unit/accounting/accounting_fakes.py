"""A queue service in memory, and time that passes only when slept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from miniwdl_cloud.accounting.tagged import OpenJob
from miniwdl_cloud.jobs.request import (
    ArrayItem,
    Definition,
    JobRequest,
    JobSnapshot,
    JobState,
)


class Clock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let them pass."""
        self.now += seconds


class Service:
    """Jobs by id and name; ``fail`` is raised by the next calls, first come first."""

    describe_max = 100
    array_max = 10_000

    def __init__(self) -> None:
        self.jobs: dict[str, JobSnapshot] = {}
        self.names: dict[str, str] = {}
        self.terminated: list[str] = []
        self.tags: list[tuple[str, str, str]] = []
        self.open: list[OpenJob] = []
        self.fail: list[Exception] = []
        self.ends = True

    def _maybe_fail(self) -> None:
        if self.fail:
            raise self.fail.pop(0)

    def add(self, job_id: str, state: JobState, name: str = "") -> None:
        """Make a job known."""
        self.jobs[job_id] = JobSnapshot(job_id, state)
        self.names[name or f"name-{job_id}"] = job_id

    def ensure_definition(self, definition: Definition) -> str:
        return "handle"

    def submit(self, requests: Sequence[JobRequest], definition_handle: str) -> str:
        self._maybe_fail()
        job_id = f"id-{requests[0].name}"
        self.add(job_id, JobState.RUNNING, requests[0].name)
        return job_id

    def retire(self, definition: Definition) -> None:
        pass

    def find(self, request: JobRequest) -> str | None:
        self._maybe_fail()
        return self.names.get(request.name)

    def describe(self, ids: Sequence[str]) -> Mapping[str, JobSnapshot]:
        assert len(ids) <= self.describe_max
        self._maybe_fail()
        return {id_: self.jobs[id_] for id_ in ids if id_ in self.jobs}

    def child_id(self, array_id: str, index: int) -> str:
        return f"{array_id}:{index}"

    def list_children(self, array_id: str, state: JobState) -> Sequence[str]:
        return []

    def terminate(self, job_id: str, reason: str) -> None:
        self._maybe_fail()
        self.terminated.append(job_id)
        if self.ends:
            self.jobs[job_id] = JobSnapshot(job_id, JobState.FAILED)

    def open_jobs(self, queue: str) -> Sequence[OpenJob]:
        return [job for job in self.open if job.queue == queue]

    def tag(self, job_id: str, name: str, value: str) -> None:
        self._maybe_fail()
        self.tags.append((job_id, name, value))


def request(name: str, directory: str = "/run/call-t", key: str = "key") -> JobRequest:
    """A job request."""
    item = ArrayItem(directory, "", attempt=1, cache_key=key)
    return JobRequest(name, "queue", Definition("{}"), item=item)
