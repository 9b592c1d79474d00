"""What a process's tasks cost, looked up at AWS: one `Spending` for all engines of the process."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..aws.batch import BatchClient
from ..aws.ecs import EcsClient
from ..aws.pricing import Prices
from ..aws.session import AwsSession
from ..costs.machine import billed
from ..costs.prices import PriceBook
from ..costs.spending import Spending
from ..costs.usage import Usage
from ..errors import BudgetReached
from ..filesystems.weather import write_file_atomically
from ..jobs.registry import shared
from ..jobs.request import JobRequest, JobSnapshot, JobState
from ..miniwdl_compat import log_message as _
from .config import EngineSettings

PRICES = "_PRICES.json"
"""File that keeps prices from run to run, beside the accounting directory."""


class AwsMachines:
    """Implements `costs.spending.MachineSource` over AWS.

    Parameters
    ----------
    session
        Of the Region.
    """

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    def instances(self, cluster: str, arns: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """DescribeContainerInstances."""
        return EcsClient(self._session).describe_instances(cluster, arns)

    def environment_types(self, queue: str) -> Mapping[str, str]:
        """DescribeJobQueues and DescribeComputeEnvironments."""
        batch = BatchClient(self._session)
        names = [
            entry["computeEnvironment"]
            for found in batch.describe_queues([queue])
            for entry in found.get("computeEnvironmentOrder", [])
        ]
        return {
            str(item["ecsClusterArn"]).rpartition("/")[2]: str(item["computeResources"]["type"])
            for item in (batch.describe_compute_environments(names) if names else [])
            if item.get("ecsClusterArn") and item.get("computeResources")
        }

    def tag(self, job_id: str, name: str, value: str) -> None:
        """TagResource of Batch, or of ECS where the workflow job is a task."""
        if job_id.startswith("arn:"):
            EcsClient(self._session).tag_resource(job_id, {name: value})
            return
        batch = BatchClient(self._session)
        job = batch.describe_jobs([job_id]).get(job_id)
        if job is not None:
            batch.tag_resource(str(job["jobArn"]), {name: value})


def spending(settings: EngineSettings) -> Spending:
    """The costs of this process's tasks, whatever engines run them."""
    key = (
        "costs",
        settings.region,
        settings.boto3_retries,
        settings.accounting_dir,
        settings.budget_usd,
    )

    def make() -> Spending:
        session = AwsSession(settings.region, json.loads(settings.boto3_retries))
        path = Path(settings.accounting_dir).with_name(PRICES)
        return Spending(
            AwsMachines(session),
            PriceBook(Prices(session), session.region, path),
            settings.budget_usd,
            settings.parent_job_id,
        )

    return shared(key, make)


def changed(settings: EngineSettings, request: JobRequest | None, snapshot: JobSnapshot) -> None:
    """Take note of a job's new state; only one that runs has its costs."""
    if snapshot.state is JobState.RUNNING and request is not None:
        costs = spending(settings)
        costs.began(snapshot.job_id, snapshot.detail, request.resources, request.queue)


def keep_detail(
    path: Path,
    settings: EngineSettings,
    request: JobRequest | None,
    snapshot: JobSnapshot,
    usage: Usage | None,
    logger: logging.Logger,
) -> None:
    """Write what the queue service said last of a job that has ended, with what it used and costs.

    Parameters
    ----------
    path
        The file.
    request
        What it was submitted with; ``None`` if another process submitted it.
    """
    known: dict[str, Any] = {}
    if usage is not None:
        known["usage"] = usage.as_json()
        logger.info(_("used", **known["usage"]))
    if request is not None and snapshot.detail:
        began, over = billed(snapshot.detail)
        quote = spending(settings).ended(
            snapshot.job_id, snapshot.detail, request.resources, request.queue, began, over
        )
        if quote is not None:
            known["price"] = quote.as_json()
    detail = {**snapshot.detail, **({"miniwdlCloud": known} if known else {})}
    write_file_atomically(json.dumps(detail, indent=2, sort_keys=True, default=str), path)


def check_budget(settings: EngineSettings) -> None:
    """Refuse a submission where what the run may cost is spent.

    Raises
    ------
    BudgetReached
        It is.
    """
    message = spending(settings).exhausted()
    if message is not None:
        raise BudgetReached(message, {"verdict": "budget"})
