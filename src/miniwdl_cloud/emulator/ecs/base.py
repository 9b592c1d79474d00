"""What the groups of ECS operations share: the store, its lock, ARNs, errors, look-ups."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..batch.models import ACCOUNT_ID
from ..errors import ApiError
from ..limits import TAGS, is_tag_text
from ..rates import RateLimit
from ..shapes import RequestModel
from .models import FARGATE, FARGATE_SPOT, Cluster, Tags, Task, TaskDefinition

if TYPE_CHECKING:
    from .lifecycle import Lifecycle

Params = dict[str, Any]
_S = TypeVar("_S", bound="EcsBase")

RUN_TASK_PER_S = 20.0
LAUNCHES_PER_S = 20.0
LAUNCH_BURST = 100
# ECS developer guide, "AWS Fargate throttling quotas".


def client_error(text: str) -> ApiError:
    """A request that ECS refuses."""
    return ApiError("ClientException", text)


def invalid_parameter(text: str) -> ApiError:
    """A parameter that ECS refuses."""
    return ApiError("InvalidParameterException", text)


def throttled() -> ApiError:
    """The answer to a call above the allowed rate (ECS API reference, "Request throttling")."""
    return ApiError("ThrottlingException", "Rate exceeded")


BatchInstances = Callable[[str, list[str]], "dict[str, dict[str, Any]] | None"]
"""Finds container instances of one of Batch's clusters by ARN; ``None`` if it is none of these."""


class EcsBase:
    """State of the service. Everything in it is read and changed under ``lock``.

    Parameters
    ----------
    region
        Region of every ARN.
    """

    lifecycle: Lifecycle

    def __init__(self, region: str) -> None:
        self.region = region
        self.lock = threading.RLock()
        self.model = RequestModel("ecs", client_error)
        self.clusters: dict[str, Cluster] = {}
        self.definitions: dict[str, list[TaskDefinition]] = {}
        self.tasks: dict[str, Task] = {}
        self.batch_instances: BatchInstances = lambda cluster, arns: None
        self.run_task_calls = RateLimit(RUN_TASK_PER_S)
        self.launches = {
            provider: RateLimit(LAUNCHES_PER_S, LAUNCH_BURST)
            for provider in (FARGATE, FARGATE_SPOT)
        }

    def arn(self, kind: str, name: str) -> str:
        """The ARN of an ECS resource."""
        return f"arn:aws:ecs:{self.region}:{ACCOUNT_ID}:{kind}/{name}"

    def find_cluster(self, text: str | None) -> Cluster:
        """The active cluster of a name or ARN; by default the one named ``default``.

        Raises
        ------
        ApiError
            There is none.
        """
        found = self.clusters.get(self.cluster_name(text or "default"))
        if found is None or not found.is_active:
            raise ApiError("ClusterNotFoundException", "Cluster not found.")
        return found

    def cluster_name(self, text: str) -> str:
        """The name in a cluster's ARN of this account and Region, or the name itself."""
        prefix = self.arn("cluster", "")
        if text.startswith("arn:") and not text.startswith(prefix):
            return ""
        return text.rpartition("/")[2]

    def matching_definitions(self, text: str) -> list[TaskDefinition]:
        """The revisions that an ARN, family:revision or family means, newest first."""
        prefix = self.arn("task-definition", "")
        if text.startswith("arn:"):
            if not text.startswith(prefix):
                return []
            text = text[len(prefix) :]
        family, _, revision = text.partition(":")
        revisions = self.definitions.get(family, [])
        if not revision:
            return [definition for definition in reversed(revisions) if definition.is_active]
        if revision.isdigit() and 1 <= int(revision) <= len(revisions):
            return [revisions[int(revision) - 1]]
        return []


def operation(method: Callable[[_S, Params], Params]) -> Callable[[_S, Params], Params]:
    """An operation of the API: the request is checked against botocore's model, and the store is
    locked while it runs."""
    name = "".join(word.capitalize() for word in method.__name__.split("_"))

    @functools.wraps(method)
    def call(self: _S, params: Params) -> Params:
        checked = self.model.check(name, params)
        with self.lock:
            return method(self, checked)

    return call


def page(items: Sequence[Any], params: Params) -> tuple[list[Any], dict[str, str]]:
    """One page of a listing of at most 100, and the ``nextToken`` member if more follows.

    Raises
    ------
    ApiError
        The token is not one of ours, or maxResults not between 1 and 100.
    """
    size = params.get("maxResults", 100)
    if not 1 <= size <= 100:
        raise invalid_parameter("maxResults must be between 1 and 100.")
    token = params.get("nextToken") or "0"
    if not token.isdigit():
        raise invalid_parameter("Invalid token")
    start = int(token)
    end = start + size
    return list(items[start:end]), ({"nextToken": str(end)} if end < len(items) else {})


def tags_of(items: Sequence[Mapping[str, str]]) -> Tags:
    """Tags by key.

    Raises
    ------
    ApiError
        There are too many, or one is not allowed (botocore's model, ``RunTaskRequest.tags``).
    """
    tags = {item.get("key", ""): item.get("value", "") for item in items}
    if len(tags) != len(items):
        raise invalid_parameter("Duplicate tag keys found. Please note that tag keys are unique.")
    if len(tags) > TAGS:
        raise invalid_parameter(f"The maximum number of tags per resource is {TAGS}.")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise invalid_parameter(
                "A tag key must have 1 to 128 characters, and its value at most 256."
            )
        if key.lower().startswith("aws:"):
            raise invalid_parameter("Tag keys beginning with aws: are reserved.")
        if not is_tag_text(key) or not is_tag_text(value):
            raise invalid_parameter(f"Tag {key} has characters that are not allowed in tags.")
    return tags


def tag_list(tags: Tags) -> list[dict[str, str]]:
    """Tags as the API shows them."""
    return [{"key": key, "value": value} for key, value in tags.items()]


def missing(arn: str) -> dict[str, str]:
    """The failure of a thing that is not there (ECS developer guide, "API failure reasons")."""
    return {"arn": arn, "reason": "MISSING"}


def too_many(items: Sequence[Any], member: str) -> None:
    """Refuse more than the hundred that a call may name."""
    if len(items) > 100:
        raise invalid_parameter(f"{member} cannot have more than 100 entries.")
