"""Operations on task definitions, and tags of every ECS resource."""

from __future__ import annotations

from typing import Any

from ..errors import ApiError
from . import limits
from .base import (
    EcsBase,
    Params,
    client_error,
    invalid_parameter,
    operation,
    page,
    tag_list,
    tags_of,
)
from .models import Tags, TaskDefinition, now

_EMPTY = ("environment", "mountPoints", "volumesFrom", "portMappings", "systemControls")


class DefinitionOperations(EcsBase):
    """Task definitions, and tags."""

    @operation
    def register_task_definition(self, params: Params) -> Params:
        """RegisterTaskDefinition: a new revision of a new or known family."""
        cpu, memory = limits.check_definition(params)
        tags = tags_of(params.get("tags", []))
        family = params["family"]
        revisions = self.definitions.setdefault(family, [])
        revision = len(revisions) + 1
        arn = self.arn("task-definition", f"{family}:{revision}")
        detail: dict[str, Any] = {
            **{name: value for name, value in params.items() if name != "tags"},
            "taskDefinitionArn": arn,
            "revision": revision,
            "status": "ACTIVE",
            "cpu": str(cpu),
            "memory": str(memory),
            "volumes": params.get("volumes", []),
            "placementConstraints": [],
            "compatibilities": ["EC2", "FARGATE"],
            "containerDefinitions": [
                {**{name: [] for name in _EMPTY}, "cpu": 0, "essential": True, **container}
                for container in params["containerDefinitions"]
            ],
            "registeredAt": now(),
            "registeredBy": "arn:aws:iam::123456789012:root",
        }
        definition = TaskDefinition(family, revision, arn, detail, tags)
        revisions.append(definition)
        return {"taskDefinition": dict(detail), "tags": tag_list(tags)}

    @operation
    def describe_task_definition(self, params: Params) -> Params:
        """DescribeTaskDefinition by ARN, family:revision, or family for its newest active one."""
        definition = self._definition(
            params["taskDefinition"], "Unable to describe task definition."
        )
        answer: Params = {"taskDefinition": dict(definition.detail)}
        if "TAGS" in params.get("include", ()):
            answer["tags"] = tag_list(definition.tags)
        return answer

    @operation
    def list_task_definitions(self, params: Params) -> Params:
        """ListTaskDefinitions: of one family if it is named, by full name."""
        family = params.get("familyPrefix")
        status = params.get("status", "ACTIVE")
        arns = [
            definition.arn
            for name in sorted(self.definitions)
            if family in (None, name)
            for definition in self.definitions[name]
            if definition.detail["status"] == status
        ]
        if params.get("sort") == "DESC":
            arns.reverse()
        part, token = page(arns, params)
        return {"taskDefinitionArns": part, **token}

    @operation
    def list_task_definition_families(self, params: Params) -> Params:
        """ListTaskDefinitionFamilies, by the beginning of their names."""
        status = params.get("status", "ALL")
        families = [
            family
            for family in sorted(self.definitions)
            if family.startswith(params.get("familyPrefix", ""))
            and status in ("ALL", self._family_status(family))
        ]
        part, token = page(families, params)
        return {"families": part, **token}

    @operation
    def deregister_task_definition(self, params: Params) -> Params:
        """DeregisterTaskDefinition by ARN or family:revision."""
        text = params["taskDefinition"]
        if ":" not in text.rpartition("/")[2]:
            raise client_error("Invalid revision number. Number: null")
        definition = self._definition(text, "The specified task definition does not exist.")
        if definition.is_active:
            definition.detail.update(status="INACTIVE", deregisteredAt=now())
        return {"taskDefinition": dict(definition.detail)}

    @operation
    def tag_resource(self, params: Params) -> Params:
        """TagResource of a cluster, task definition or task."""
        tags = self._tags(params["resourceArn"])
        new = tags_of(params["tags"])
        tags_of(tag_list({**_users(tags), **new}))
        tags.update(new)
        return {}

    @operation
    def untag_resource(self, params: Params) -> Params:
        """UntagResource."""
        tags = self._tags(params["resourceArn"])
        for key in params["tagKeys"]:
            tags.pop(key, None)
        return {}

    @operation
    def list_tags_for_resource(self, params: Params) -> Params:
        """ListTagsForResource."""
        return {"tags": tag_list(self._tags(params["resourceArn"]))}

    def _definition(self, text: str, otherwise: str) -> TaskDefinition:
        found = self.matching_definitions(text)
        if not found:
            raise client_error(otherwise)
        return found[0]

    def _family_status(self, family: str) -> str:
        active = any(definition.is_active for definition in self.definitions[family])
        return "ACTIVE" if active else "INACTIVE"

    def _tags(self, arn: str) -> Tags:
        kind = arn.partition("/")[0].rpartition(":")[2]
        if kind == "task-definition":
            definitions = self.matching_definitions(arn)
            if definitions and definitions[0].arn == arn:
                return definitions[0].tags
        elif kind == "cluster":
            cluster = self.clusters.get(self.cluster_name(arn))
            if cluster is not None:
                return cluster.tags
        elif kind == "task":
            task = self.tasks.get(arn.rpartition("/")[2])
            if task is not None and task.arn == arn:
                return task.tags
        else:
            raise invalid_parameter("The ARN is not one of a taggable resource.")
        raise ApiError("ResourceNotFoundException", "The specified resource was not found.")


def _users(tags: Tags) -> Tags:
    """Without those that AWS itself has set, which do not count against the limit."""
    return {key: value for key, value in tags.items() if not key.startswith("aws:")}
