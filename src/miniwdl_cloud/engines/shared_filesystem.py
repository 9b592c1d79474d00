"""Which network filesystem an engine's tasks mount, looked up once."""

from __future__ import annotations

from collections.abc import Callable

from ..aws.batch import BatchClient
from ..aws.discovery import look_up_queues
from ..aws.efs import AccessPoint
from ..aws.efs import Efs as EfsClient
from ..aws.s3files import S3FilesClient
from ..aws.session import AwsSession
from ..errors import AccessDenied, ConfigurationError, NotFound
from ..filesystems import s3files
from ..filesystems.base import DivisibleFilesystem
from ..filesystems.efs import Efs
from ..filesystems.s3files import S3Files
from .config import EngineSettings


def network_filesystem(session: AwsSession, settings: EngineSettings) -> DivisibleFilesystem:
    """The EFS or S3 Files file system of the settings.

    Raises
    ------
    ConfigurationError
        None is set, or it cannot be mounted as the settings say.
    NotFound
        The access point does not exist.
    """
    if s3files.is_arn(settings.fs) or s3files.is_arn(settings.fsap):
        return _s3files(session, settings)
    return _efs(session, settings)


def check_platform(
    filesystem: DivisibleFilesystem, batch: BatchClient, settings: EngineSettings
) -> None:
    """Whether the Batch queues of the settings can mount it.

    Raises
    ------
    ConfigurationError
        They have EC2 compute environments, where a job with an S3 Files volume fails when it
        starts (Batch user guide, "S3 Files volumes").
    """
    if not isinstance(filesystem, S3Files):
        return
    names = [q for q in (settings.task_queue, settings.task_queue_fallback) if q]
    for queue in look_up_queues(batch, [(name, "task queue ([aws] task_queue)") for name in names]):
        if queue.platform == "EC2":
            raise ConfigurationError(
                f"The instances of the queue {queue.name} cannot mount S3 Files; name a queue of"
                " Fargate in [aws] task_queue, or use the engine aws_fargate."
            )


def _efs(session: AwsSession, settings: EngineSettings) -> Efs:
    iam = settings.efs_iam
    if iam and not settings.task_role:
        raise ConfigurationError(
            "Set [aws] task_role (MINIWDL__AWS__TASK_ROLE) to the role that task jobs mount EFS"
            " with, or turn [aws] efs_iam off."
        )
    if settings.fs and not settings.fsap:
        return Efs(settings.mount, settings.fs, iam=iam)
    if not settings.fsap:
        raise ConfigurationError(
            "Set [aws] fsap (MINIWDL__AWS__FSAP) to the EFS access point of the shared filesystem,"
            " or [aws] fs (MINIWDL__AWS__FS) to the EFS file system."
        )
    access_point = _access_point(EfsClient(session).access_point, "EFS", settings)
    if access_point is None:
        # Isolated tasks alone need to know more.
        return Efs(settings.mount, str(settings.fs), settings.fsap, root=None, iam=iam)
    return Efs(
        settings.mount,
        settings.fs or access_point.file_system_id,
        settings.fsap,
        access_point.root,
        access_point.user,
        iam,
    )


def _s3files(session: AwsSession, settings: EngineSettings) -> S3Files:
    file_system = settings.fs
    if settings.fsap:
        found = s3files.file_system_of(settings.fsap)
        if found is None or file_system not in (None, found):
            raise ConfigurationError(
                "[aws] fsap (MINIWDL__AWS__FSAP) should be the ARN of an access point of the S3"
                " Files file system in [aws] fs (MINIWDL__AWS__FS); correct one of them."
            )
        file_system = found
    if file_system is None or not s3files.is_file_system(file_system):
        raise ConfigurationError(
            "[aws] fs (MINIWDL__AWS__FS) is not the ARN of an S3 Files file system; it looks like"
            " arn:aws:s3files:REGION:ACCOUNT:file-system/fs-…."
        )
    if not settings.task_role:
        raise ConfigurationError(
            "Set [aws] task_role (MINIWDL__AWS__TASK_ROLE) to the role that tasks mount S3 Files"
            " with; it needs s3files:ClientMount and s3files:ClientWrite."
        )
    if settings.output_hardlinks:
        raise ConfigurationError(
            "S3 Files has no hard links; set [file_io] output_hardlinks to false"
            " (MINIWDL__FILE_IO__OUTPUT_HARDLINKS)."
        )
    if not settings.fsap:
        return S3Files(settings.mount, file_system)
    access_point = _access_point(S3FilesClient(session).access_point, "S3 Files", settings)
    if access_point is None:
        return S3Files(settings.mount, file_system, settings.fsap, root=None)
    return S3Files(settings.mount, file_system, settings.fsap, access_point.root, access_point.user)


def _access_point(
    look_up: Callable[[str], AccessPoint | None], kind: str, settings: EngineSettings
) -> AccessPoint | None:
    """The access point of the settings; ``None`` where the credentials may not look and need not
    to, since the file system is named."""
    name = str(settings.fsap)
    try:
        found = look_up(name)
    except AccessDenied:
        if settings.fs or s3files.is_arn(name):
            return None
        raise
    if found is None:
        raise NotFound(
            f"The {kind} access point {name} does not exist in this account and Region; correct"
            " [aws] fsap (MINIWDL__AWS__FSAP)."
        )
    return found
