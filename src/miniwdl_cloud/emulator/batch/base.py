"""What the groups of Batch operations share: the store, its lock, ARNs, and what a call checks."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..errors import client_error
from ..shapes import RequestModel
from .models import ACCOUNT_ID, Attempt, ComputeEnvironment, Job, JobDefinition, JobQueue

if TYPE_CHECKING:
    from .scheduler import Scheduler

Params = dict[str, Any]
_S = TypeVar("_S", bound="BatchBase")


class Resolver(Protocol):
    """Finds the directory that stands for a file system."""

    def __call__(
        self, file_system: str, access_point: str | None, root_directory: str = "/", /
    ) -> Path:
        """The directory, or one below it that may not exist; `LookupError` if there is no such file
        system or access point."""


class BatchBase:
    """State of the service. Everything in it is read and changed under ``lock``.

    Parameters
    ----------
    region
        Region of every ARN.
    """

    scheduler: Scheduler

    def __init__(self, region: str) -> None:
        self.region = region
        self.lock = threading.RLock()
        self.model = RequestModel("batch", client_error)
        self.environments: dict[str, ComputeEnvironment] = {}
        self.queues: dict[str, JobQueue] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        self.definitions: dict[str, list[JobDefinition]] = {}
        self.jobs: dict[str, Job] = {}
        self.container_instances: dict[str, tuple[Job, Attempt]] = {}

    def arn(self, kind: str, name: str) -> str:
        """The ARN of a Batch resource."""
        return f"arn:aws:batch:{self.region}:{ACCOUNT_ID}:{kind}/{name}"


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


def page(items: list[Any], params: Params, largest: int) -> tuple[list[Any], dict[str, str]]:
    """One page of a listing, and the ``nextToken`` member if more follows.

    Parameters
    ----------
    items
        The whole listing; what is there keeps its order between pages.
    params
        The request, with ``maxResults`` and ``nextToken``.
    largest
        Size of the largest page that the operation gives.

    Raises
    ------
    ApiError
        The token is not one of ours.
    """
    token = params.get("nextToken") or "0"
    if not token.isdigit():
        raise client_error("nextToken is not valid.")
    start = int(token)
    end = start + max(1, min(params.get("maxResults") or largest, largest))
    return items[start:end], ({"nextToken": str(end)} if end < len(items) else {})


def short_name(name_or_arn: str) -> str:
    """The name at the end of an ARN, or the name itself."""
    return name_or_arn.rsplit("/", 1)[-1]
