"""Operations on job definitions, and tags of every Batch resource."""

from __future__ import annotations

import re
from typing import Any

from .. import limits
from ..errors import client_error
from .base import BatchBase, Params, operation, page, short_name
from .models import JobDefinition

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


class DefinitionOperations(BatchBase):
    """Job definitions, and tags."""

    @operation
    def register_job_definition(self, params: Params) -> Params:
        """RegisterJobDefinition: a new revision of a new or known name."""
        name = params["jobDefinitionName"]
        if not _NAME.fullmatch(name):
            raise client_error("JobDefinition name should match valid pattern")
        limits.check_definition(params)
        revisions = self.definitions.setdefault(name, [])
        revision = len(revisions) + 1
        arn = self.arn("job-definition", f"{name}:{revision}")
        detail: dict[str, Any] = {
            **params,
            "jobDefinitionArn": arn,
            "revision": revision,
            "status": "ACTIVE",
            "containerOrchestrationType": "ECS",
            "parameters": params.get("parameters", {}),
            "tags": dict(params.get("tags", {})),
        }
        if "containerProperties" in params:
            detail["containerProperties"] = _with_defaults(params["containerProperties"])
        revisions.append(JobDefinition(name, revision, arn, detail))
        return {"jobDefinitionName": name, "jobDefinitionArn": arn, "revision": revision}

    @operation
    def describe_job_definitions(self, params: Params) -> Params:
        """DescribeJobDefinitions by ARN, name:revision or name; newest revision first."""
        wanted = params.get("jobDefinitions")
        if wanted:
            limits.check_ids(wanted, "jobDefinitions")
            found = [d for text in wanted for d in self._matching(text)]
        elif params.get("jobDefinitionName"):
            found = self._matching(params["jobDefinitionName"])
        else:
            found = [d for revisions in self.definitions.values() for d in reversed(revisions)]
        status = params.get("status")
        details = [d.detail for d in found if status in (None, d.detail["status"])]
        part, token = page(details, params, limits.DESCRIBE_PAGE)
        return {"jobDefinitions": part, **token}

    @operation
    def deregister_job_definition(self, params: Params) -> Params:
        """DeregisterJobDefinition by ARN or name:revision."""
        text = params["jobDefinition"]
        found = self._matching(text) if ":" in short_name(text) else []
        if not found:
            raise client_error(f"JobDefinition {text} not found.")
        found[0].detail["status"] = "INACTIVE"
        return {}

    @operation
    def tag_resource(self, params: Params) -> Params:
        """TagResource of an environment, queue, definition, job or scheduling policy."""
        tags = self._tags_of(params["resourceArn"])
        limits.check_tags({**tags, **params["tags"]})
        tags.update(params["tags"])
        return {}

    @operation
    def untag_resource(self, params: Params) -> Params:
        """UntagResource."""
        tags = self._tags_of(params["resourceArn"])
        for key in params["tagKeys"]:
            tags.pop(key, None)
        return {}

    @operation
    def list_tags_for_resource(self, params: Params) -> Params:
        """ListTagsForResource."""
        return {"tags": self._tags_of(params["resourceArn"])}

    def find_definition(self, text: str) -> JobDefinition:
        """The active definition of an ARN, name:revision, or a name's newest active revision.

        Raises
        ------
        ApiError
            There is none.
        """
        for definition in self._matching(text):
            if definition.is_active:
                return definition
        raise client_error(f"JobDefinition {text} not found.")

    def _matching(self, text: str) -> list[JobDefinition]:
        if text.startswith("arn:") and not text.startswith(self.arn("job-definition", "")):
            return []
        name, _, revision = short_name(text).partition(":")
        revisions = self.definitions.get(name, [])
        if not revision:
            return revisions[::-1]
        if revision.isdigit() and 1 <= int(revision) <= len(revisions):
            return [revisions[int(revision) - 1]]
        return []

    def _tags_of(self, arn: str) -> dict[str, str]:
        kind, _, name = arn.rpartition(":job-definition/")
        details: list[dict[str, Any]] = []
        if kind:
            details = [d.detail for d in self._matching(arn) if d.arn == arn]
        else:
            kind, _, name = arn.rpartition("/")
            if kind.endswith(":job"):
                job = self.jobs.get(name)
                if job is not None:
                    return job.tags
            elif kind.endswith(":job-queue") and name in self.queues:
                details = [self.queues[name].detail]
            elif kind.endswith(":compute-environment") and name in self.environments:
                details = [self.environments[name].detail]
            elif arn in self.policies:
                details = [self.policies[arn]]
        if not details:
            raise client_error(f"Resource {arn} not found.")
        tags: dict[str, str] = details[0]["tags"]
        return tags


def _with_defaults(container: dict[str, Any]) -> dict[str, Any]:
    """Members that Batch shows as empty lists where a definition leaves them out."""
    empty = ("command", "volumes", "environment", "mountPoints", "ulimits", "secrets")
    return {
        **{member: [] for member in empty},
        "resourceRequirements": [],
        **container,
    }
