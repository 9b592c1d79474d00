"""What a process knows of its queue, filesystem and account, made once when an engine starts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..aws.batch import BatchClient
from ..aws.efs import Efs as EfsClient
from ..aws.session import AwsSession
from ..aws.sqs import SqsQueue
from ..errors import ConfigurationError, NotFound, Unreachable
from ..filesystems.base import SharedFilesystem
from ..filesystems.efs import Efs
from ..filesystems.host_mount import HostMount
from ..jobs.dispatcher import Dispatcher
from ..jobs.options import DispatchOptions
from ..jobs.registry import dispatcher_for
from .batch_queue import BatchQueue
from .config import EngineSettings
from .event_queue import BatchEventQueue
from .limits import Limits, queue_limits


@dataclass(frozen=True)
class BatchContext:
    """All that the tasks of an engine share."""

    settings: EngineSettings
    filesystem: SharedFilesystem
    limits: Limits
    dispatcher: Dispatcher


def efs_filesystem(session: AwsSession, settings: EngineSettings) -> Efs:
    """The EFS file system of the settings.

    Raises
    ------
    ConfigurationError
        Neither a file system nor an access point is set.
    NotFound
        The access point does not exist.
    """
    if settings.fs:
        return Efs(settings.mount, settings.fs, settings.fsap)
    if not settings.fsap:
        raise ConfigurationError(
            "Set [aws] fsap (MINIWDL__AWS__FSAP) to the EFS access point of the shared filesystem,"
            " or [aws] fs (MINIWDL__AWS__FS) to the EFS file system."
        )
    access_point = EfsClient(session).access_point(settings.fsap)
    if access_point is None:
        raise NotFound(
            f"The EFS access point {settings.fsap} does not exist in this account and Region;"
            " correct [aws] fsap (MINIWDL__AWS__FSAP)."
        )
    return Efs(settings.mount, access_point.file_system_id, settings.fsap)


OUTAGE_MOST = 900.0
"""Seconds for which an engine that starts waits for AWS to answer."""
_T = TypeVar("_T")


def patiently(
    look_up: Callable[[], _T],
    cancelled: Callable[[], bool],
    waiting: Callable[[Unreachable], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> _T:
    """What a look-up returns, once AWS answers: an outage when the first task starts should cost
    no more than one in the middle of a run.

    Parameters
    ----------
    look_up
        May raise `Unreachable`; then it is called again, ever more slowly.
    cancelled
        Whether the run is being ended.
    waiting
        Told of the first failure.
    clock, sleep
        Monotonic seconds, and a way to let them pass.

    Raises
    ------
    Unreachable
        AWS has not answered for `OUTAGE_MOST` seconds, or the run is being ended.
    """
    began, pause = clock(), 1.0
    while True:
        try:
            return look_up()
        except Unreachable as exn:
            if cancelled() or clock() - began + pause > OUTAGE_MOST:
                raise
            if pause == 1.0:
                waiting(exn)
        sleep(pause)
        pause = min(20.0, pause * 2)


def make_context(settings: EngineSettings, efs: bool) -> BatchContext:
    """Look up what the engine needs, and start (or find) its dispatcher.

    Parameters
    ----------
    efs
        Whether the shared filesystem is EFS; else the compute environment's instances mount it.
    """
    session = AwsSession(settings.region, json.loads(settings.boto3_retries))
    batch = BatchClient(session)
    filesystem: SharedFilesystem = (
        efs_filesystem(session, settings) if efs else HostMount(settings.mount)
    )
    key = (
        session.region,
        settings.boto3_retries,
        settings.describe_period_s,
        settings.submit_period_s,
        settings.array_jobs_min,
        settings.event_queue,
    )

    def make() -> Dispatcher:
        queue = BatchQueue(batch, BatchClient(session, retrying=False))
        options = DispatchOptions(
            describe_period=settings.describe_period_s,
            submit_period=settings.submit_period_s,
            array_min=settings.array_jobs_min,
        )
        events = None
        if settings.event_queue:
            events = BatchEventQueue(SqsQueue(session, settings.event_queue))
        return Dispatcher(queue, options, events=events).start()

    return BatchContext(
        settings=settings,
        filesystem=filesystem,
        limits=queue_limits(session, batch, settings.task_queue),
        dispatcher=dispatcher_for(key, make),
    )
