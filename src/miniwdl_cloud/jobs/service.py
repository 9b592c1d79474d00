"""What the dispatcher needs of a queue service (AWS Batch, later ECS and others)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .request import Definition, JobRequest, JobSnapshot, JobState


class QueueService(Protocol):
    """A service that runs jobs. Methods raise the errors of `miniwdl_cloud.errors`; all are called
    from several threads."""

    describe_max: int
    """Jobs that one `describe` call can ask for."""

    array_max: int
    """Children that one array job can have; 1 where the service has no array jobs."""

    def ensure_definition(self, definition: Definition) -> str:
        """A handle for an equal definition: one that exists, else one registered now."""

    def retire(self, definition: Definition) -> None:
        """Let go of a definition that no job will be submitted with any more."""

    def submit(self, requests: Sequence[JobRequest], definition_handle: str) -> str:
        """Submit one job, or several of one kind as an array job named as the first of them;
        returns the id of the job or of the array. Raises `DefinitionNotVisible` where the service
        does not know the definition yet."""

    def find(self, request: JobRequest) -> str | None:
        """The id of what an earlier, doubtful submission under this request's name made."""

    def describe(self, ids: Sequence[str]) -> Mapping[str, JobSnapshot]:
        """Jobs, array jobs or children by id; those that the service leaves out are not in the
        result."""

    def child_id(self, array_id: str, index: int) -> str:
        """The id of a child of an array job; ``index`` counts from 0."""

    def list_children(self, array_id: str, state: JobState) -> Sequence[str]:
        """The ids of an array job's children in a state."""

    def terminate(self, job_id: str, reason: str) -> None:
        """End a job, a child or a whole array job in whatever state."""


class DefinitionNotVisible(Exception):
    """The service does not know a definition that was registered a moment ago."""
