"""What a process knows of its ECS cluster, made once when the engine starts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..accounting.account import Account, AccountOptions
from ..aws.batch import BatchClient
from ..aws.ecs import EcsClient
from ..aws.session import AwsSession
from ..errors import AccessDenied, NotFound
from ..fargate_sizes import LARGEST
from ..jobs.dispatcher import Dispatcher
from ..jobs.options import DispatchOptions
from ..jobs.registry import shared
from .batch_queue import BatchQueue
from .context import EngineContext, Operation
from .ecs_queue import SPOT, EcsQueue, queue_name
from .fargate_config import FargateSettings
from .limits import Limits
from .shared_filesystem import network_filesystem

DEFINITION_BURST = 15
"""Task definitions that are registered or deregistered at once after a pause. ECS allows an account
20 (API reference, "Request throttling for the Amazon ECS API"); what is left lets calls come closer
together than they were sent."""
RUN_TASK_PERIOD = 0.05
"""Least seconds between two RunTask calls: 20 a second, and as many launches, for an account (ECS
developer guide, "AWS Fargate throttling quotas")."""


@dataclass(frozen=True)
class FargateContext(EngineContext):
    """All that the tasks of the Fargate engine share.

    Parameters
    ----------
    fargate
        Its own settings.
    has_spot
        Whether the cluster has Fargate Spot.
    """

    fargate: FargateSettings
    has_spot: bool


def make_fargate_context(settings: FargateSettings) -> FargateContext:
    """Look up what the engine needs, and start (or find) its dispatcher.

    Raises
    ------
    NotFound
        There is no such cluster.
    """
    common = settings.common
    session = AwsSession(settings.region, json.loads(common.boto3_retries))
    ecs = EcsClient(session)
    has_spot = _has_spot(ecs, settings.cluster)
    filesystem = network_filesystem(session, common)
    key = (
        "aws_fargate",
        settings.region,
        settings.cluster,
        settings.subnets,
        settings.security_groups,
        settings.assign_public_ip,
        settings.execute_command,
        common.boto3_retries,
        common.describe_period_s,
        common.submit_period_s,
        settings.definition_period_s,
        common.accounting_dir,
        common.adopt,
    )

    def make() -> Operation:
        # Workflow jobs are Batch jobs; whether one lives is asked there.
        batch = BatchClient(session)
        service = EcsQueue(
            ecs,
            settings.network,
            settings.execute_command,
            describe_others=BatchQueue(batch, batch).describe,
        )
        account = Account(
            service,
            AccountOptions(
                base=Path(common.accounting_dir),
                service=f"aws-ecs/{settings.region}",
                queues=tuple(queue_name(settings.cluster, spot) for spot in (True, False)),
                job_id=common.parent_job_id,
                attempt=common.parent_attempt,
                adopt=common.adopt,
                version=__version__,
            ),
        )
        options = DispatchOptions(
            describe_period=common.describe_period_s,
            submit_period=max(RUN_TASK_PERIOD, common.submit_period_s),
            array_min=0,
            definition_period=settings.definition_period_s,
            definition_burst=DEFINITION_BURST,
        )
        return Operation(Dispatcher(account.queue, options).start(), account)

    operation = shared(key, make)
    vcpus, memory_mib = LARGEST
    return FargateContext(
        common,
        filesystem,
        Limits(int(vcpus), memory_mib),
        operation.dispatcher,
        operation.account,
        settings,
        has_spot,
    )


def _has_spot(ecs: EcsClient, cluster: str) -> bool:
    """Whether a cluster has Fargate Spot; taken for granted where the credentials may not look."""
    try:
        found = ecs.describe_cluster(cluster)
    except AccessDenied:
        return True
    if found is None:
        raise NotFound(
            f"The ECS cluster {cluster} does not exist in this account and Region; correct"
            " [aws_fargate] cluster (MINIWDL__AWS_FARGATE__CLUSTER)."
        )
    return SPOT in found.get("capacityProviders", [])
