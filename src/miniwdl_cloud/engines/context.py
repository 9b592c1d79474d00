"""What a process knows of its queue, filesystem and account, made once when an engine starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..accounting.account import Account, AccountOptions
from ..aws.batch import BatchClient
from ..aws.ecs import EcsClient
from ..aws.session import AwsSession
from ..aws.sqs import SqsQueue
from ..filesystems.base import DivisibleFilesystem
from ..filesystems.host_mount import HostMount
from ..jobs.dispatcher import Dispatcher
from ..jobs.options import DispatchOptions
from ..jobs.registry import shared
from ..jobs.request import JobSnapshot
from .batch_queue import BatchQueue
from .config import EngineSettings
from .ecs_queue import EcsQueue
from .event_queue import BatchEventQueue
from .limits import Limits, largest, queue_limits
from .shared_filesystem import check_platform, network_filesystem


@dataclass(frozen=True)
class EngineContext:
    """All that the tasks of an engine share."""

    settings: EngineSettings
    filesystem: DivisibleFilesystem
    limits: Limits
    dispatcher: Dispatcher
    account: Account


@dataclass(frozen=True)
class Operation:
    """A dispatcher and its account; the registry keeps it."""

    dispatcher: Dispatcher
    account: Account

    @property
    def closed(self) -> bool:
        """Whether the dispatcher has stopped."""
        return self.dispatcher.closed

    def close(self) -> None:
        """Stop the dispatcher, then settle the account."""
        self.dispatcher.close()
        self.account.close()


def _describe_tasks(
    session: AwsSession,
) -> Callable[[Sequence[str]], Mapping[str, JobSnapshot]]:
    """Describes workflow jobs that are ECS tasks."""
    return lambda ids: EcsQueue(EcsClient(session), {}).describe_workflow_jobs(ids)


def make_context(settings: EngineSettings, efs: bool) -> EngineContext:
    """Look up what the engine needs, and start (or find) its dispatcher.

    Parameters
    ----------
    efs
        Whether the shared filesystem is EFS (or S3 Files); else the compute environment's instances
        mount it.
    """
    session = AwsSession(settings.region, json.loads(settings.boto3_retries))
    batch = BatchClient(session)
    filesystem: DivisibleFilesystem = (
        network_filesystem(session, settings) if efs else HostMount(settings.mount)
    )
    check_platform(filesystem, batch, settings)
    key = (
        session.region,
        settings.boto3_retries,
        settings.describe_period_s,
        settings.submit_period_s,
        settings.array_jobs_min,
        settings.event_queue,
        settings.accounting_dir,
        settings.adopt,
    )

    def make() -> Operation:
        account = Account(
            BatchQueue(
                batch,
                BatchClient(session, retrying=False),
                describe_others=_describe_tasks(session),
            ),
            AccountOptions(
                base=Path(settings.accounting_dir),
                service=f"aws-batch/{session.region}",
                queues=settings.queues,
                job_id=settings.parent_job_id,
                attempt=settings.parent_attempt,
                adopt=settings.adopt,
                version=__version__,
            ),
        )
        options = DispatchOptions(
            describe_period=settings.describe_period_s,
            submit_period=settings.submit_period_s,
            array_min=settings.array_jobs_min,
        )
        events = None
        if settings.event_queue:
            events = BatchEventQueue(SqsQueue(session, settings.event_queue))
        return Operation(Dispatcher(account.queue, options, events=events).start(), account)

    # Before there is a lease: this is what fails where the settings are wrong.
    limits = largest(
        queue_limits(session, batch, queue)
        for queue in (settings.task_queue, *settings.task_queues)
    )
    operation = shared(key, make)
    return EngineContext(settings, filesystem, limits, operation.dispatcher, operation.account)
