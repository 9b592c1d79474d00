"""The shared filesystem of a workflow job: which one, where it is mounted, whether it can be."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import settings as s
from ..errors import AccessDenied, ConfigurationError, NotFound, UsageError
from ..filesystems import s3files
from ..filesystems.base import SharedFilesystem
from ..filesystems.efs import Efs
from ..filesystems.host_mount import HostMount
from ..filesystems.s3files import S3Files
from ..settings import Settings
from .options import Options

if TYPE_CHECKING:
    from ..aws.discovery import Queue
    from ..aws.session import AwsSession

_FS_ID = re.compile(r"fs-[0-9a-f]{8,40}")
_FSAP_ID = re.compile(r"fsap-[0-9a-f]{8,40}")
VOLUME = "shared"
"""Name of the shared filesystem's volume in the workflow job's definition."""
_USABLE = ("AVAILABLE", "UPDATING")


@dataclass(frozen=True)
class FileSystem:
    """The shared filesystem as the workflow job mounts it.

    Parameters
    ----------
    mount
        Mount point in every container; the host's too if ``efs_id`` is ``None``.
    efs_id, access_point_id
        EFS file system and access point; ``None`` for a filesystem that the host mounts.
    fsx_id
        FSx for Lustre file system that the host mounts, if it is known to be one.
    efs_iam
        Whether EFS is mounted with the permissions of the workflow job's role.
    s3files_arn
        S3 Files file system; its access point, if it has one, by its ARN in `access_point_id`.
    """

    mount: str
    efs_id: str | None = None
    access_point_id: str | None = None
    fsx_id: str | None = None
    efs_iam: bool = False
    s3files_arn: str | None = None

    @property
    def name(self) -> str | None:
        """What a job mounts over the network, for `[aws] fs`; ``None`` for what its host mounts."""
        return self.s3files_arn or self.efs_id

    @property
    def engine(self) -> str:
        """The container backend for this filesystem."""
        return "aws_batch_job" if self.name else "aws_batch_job_no_efs"

    @property
    def volume(self) -> dict[str, Any]:
        """The volume of the workflow job, the same for Batch and ECS."""
        shared: SharedFilesystem = HostMount(self.mount)
        if self.s3files_arn:
            shared = S3Files(self.mount, self.s3files_arn, self.access_point_id)
        elif self.efs_id:
            shared = Efs(self.mount, self.efs_id, self.access_point_id, iam=self.efs_iam)
        return {**shared.volumes()[0], "name": VOLUME}


def find(
    options: Options, settings: Settings, session: AwsSession, queues: Sequence[Queue]
) -> FileSystem:
    """The filesystem that options, settings and queue tags name, checked.

    Parameters
    ----------
    options
        The command line, whose settings are without the tags.
    settings
        The same settings with the tags.
    queues
        The job queues whose jobs will mount it.

    Raises
    ------
    UsageError
        None is named, or not well.
    NotFound
        It does not exist.
    ConfigurationError
        It exists but cannot be mounted.
    """
    fs_id = options.settings.get(s.FS)
    if fs_id and s.is_false(fs_id):
        return FileSystem(_mount(settings, "/mnt/net"))
    access_point_id = settings.get(s.FSAP) if options.access_point_given or not fs_id else None
    if not fs_id and not access_point_id:
        fs_id = settings.get(s.FS)  # the queue's tag
    if s3files.is_arn(fs_id) or s3files.is_arn(access_point_id):
        return _s3files(fs_id, access_point_id, settings, session)
    if fs_id and not _FS_ID.fullmatch(fs_id):
        raise UsageError(
            f"'{fs_id}' (--fsid, {s.FS.env}, tag {s.FS.tag}) is not the id of a file system; it"
            " begins with fs-."
        )
    iam = settings.get(s.EFS_IAM)
    if access_point_id:
        found = _access_point_file_system(access_point_id, fs_id, session)
        if fs_id and found != fs_id:
            raise ConfigurationError(
                f"The access point {access_point_id} belongs to the file system {found}, not to"
                f" {fs_id}; leave out --fsid, or name an access point of it."
            )
        return FileSystem(_mount(settings, "/mnt/efs"), found, access_point_id, efs_iam=iam)
    if not fs_id:
        raise UsageError(
            f"No shared filesystem is named; name an EFS access point with --fsap or {s.FSAP.env},"
            f" tag the workflow queue with {s.FSAP.tag}, or use --fsid or --no-efs."
        )
    from ..aws.efs import Efs as EfsClient

    if EfsClient(session).file_system_exists(fs_id):
        return FileSystem(_mount(settings, "/mnt/efs"), fs_id, efs_iam=iam)
    _check_fsx(fs_id, session, queues)
    return FileSystem(_mount(settings, "/mnt/fsx"), fsx_id=fs_id)


def _s3files(
    file_system: str | None, access_point: str | None, settings: Settings, session: AwsSession
) -> FileSystem:
    from ..aws.s3files import S3FilesClient

    if access_point:
        found = s3files.file_system_of(access_point)
        if found is None or file_system not in (None, found):
            raise UsageError(
                f"--fsap ({s.FSAP.env}) should be the ARN of an access point of the S3 Files file"
                f" system in --fsid ({s.FS.env}); correct one of them."
            )
        file_system = found
    if file_system is None or not s3files.is_file_system(file_system):
        raise UsageError(
            f"'{file_system}' (--fsid, {s.FS.env}, tag {s.FS.tag}) is not the ARN of an S3 Files"
            " file system; correct it."
        )
    client = S3FilesClient(session)
    for arn, look_up in (
        (file_system, client.file_system),
        (access_point, client.access_point),
    ):
        if arn is None:
            continue
        try:
            described = look_up(arn)
        except AccessDenied as exn:
            if not exn.more_info:  # no credentials at all
                raise
            continue
        if described is None:
            raise NotFound(
                f"{arn} does not exist in this account and Region; correct --fsid ({s.FS.env}) or"
                f" --fsap ({s.FSAP.env})."
            )
        if described.state != "available":
            raise ConfigurationError(
                f"{arn} is {described.state}, not available; wait until it is, or name another one."
            )
    mount = _mount(settings, "/mnt/s3files")
    return FileSystem(mount, access_point_id=access_point, s3files_arn=file_system)


def is_under(path: str, directory: str) -> bool:
    """Whether a path is a directory or something below it, by name alone."""
    path, directory = posixpath.normpath(path), posixpath.normpath(directory)
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _check_fsx(fs_id: str, session: AwsSession, queues: Sequence[Queue]) -> None:
    """Whether the compute environments can have mounted it."""
    from ..aws.fsx import Fsx

    try:
        found = Fsx(session).file_system(fs_id)
    except AccessDenied as exn:
        if not exn.more_info:  # no credentials at all
            raise
        return
    if found is None:
        raise NotFound(
            f"There is no EFS or FSx for Lustre file system {fs_id} in this account and Region;"
            f" correct --fsid, {s.FS.env} or the tag {s.FS.tag} of the workflow queue."
        )
    if found.kind != "LUSTRE":
        raise ConfigurationError(
            f"The FSx file system {fs_id} is of type {found.kind}; name one of type LUSTRE, or use"
            " --no-efs if the compute environments mount it."
        )
    if found.lifecycle not in _USABLE:
        raise ConfigurationError(
            f"The FSx for Lustre file system {fs_id} is {found.lifecycle}, not AVAILABLE; wait"
            " until it is, or name another one."
        )
    if not found.mount_name:
        raise ConfigurationError(
            f"The FSx for Lustre file system {fs_id} has no mount name yet; wait until it has."
        )
    _check_vpc(fs_id, found.vpc_id, session, queues)


def _check_vpc(fs_id: str, vpc_id: str, session: AwsSession, queues: Sequence[Queue]) -> None:
    from ..aws.ec2 import vpcs_of_subnets

    subnets = sorted({subnet for queue in queues for subnet in queue.subnets})
    try:
        vpcs = vpcs_of_subnets(session, subnets)
    except AccessDenied as exn:
        if not exn.more_info:
            raise
        return
    for queue in queues:
        elsewhere = {vpcs[subnet] for subnet in queue.subnets if subnet in vpcs} - {vpc_id}
        if elsewhere and vpc_id:
            raise ConfigurationError(
                f"The FSx for Lustre file system {fs_id} is in {vpc_id}, but the compute"
                f" environments of the queue {queue.name} are in {', '.join(sorted(elsewhere))};"
                " name a file system or a queue of the same VPC."
            )


def _access_point_file_system(access_point_id: str, fs_id: str | None, session: AwsSession) -> str:
    from ..aws.efs import Efs as EfsClient

    if not _FSAP_ID.fullmatch(access_point_id):
        raise UsageError(
            f"'{access_point_id}' (--fsap, {s.FSAP.env}, tag {s.FSAP.tag}) is not the id of an EFS"
            " access point; it begins with fsap-."
        )
    try:
        found = EfsClient(session).access_point(access_point_id)
    except AccessDenied as exn:
        if not fs_id or not exn.more_info:  # nothing to go by, or no credentials
            raise
        return fs_id
    if found is None:
        raise NotFound(
            f"The EFS access point {access_point_id} does not exist in this account and Region;"
            f" correct --fsap, {s.FSAP.env} or the tag {s.FSAP.tag} of the workflow queue."
        )
    if found.state != "available":
        raise ConfigurationError(
            f"The EFS access point {access_point_id} is {found.state}, not available; wait until it"
            " is, or name another one."
        )
    return found.file_system_id


def _mount(settings: Settings, default: str) -> str:
    mount = str(settings.get(s.MOUNT) or default)
    if not mount.startswith("/") or posixpath.normpath(mount) == "/":
        raise UsageError(
            f"The mount point '{mount}' (--mount) should be an absolute path below /; correct it."
        )
    return posixpath.normpath(mount)
