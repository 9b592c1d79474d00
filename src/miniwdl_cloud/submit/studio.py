"""SageMaker Studio: a user's home directory on EFS as the shared filesystem.

In Studio a file tells the domain and the user (SageMaker developer guide, on metadata of apps). The
domain's users have their home directories on one EFS file system, each at ``/<uid>`` (SageMaker's
API: ``HomeEfsFileSystemId`` of DescribeDomain, ``HomeEfsFileSystemUid`` of DescribeUserProfile).
A deployment for such a domain has a workflow job queue whose tags name that file system or an
access point of it, and an access point for each user, whose root is the home directory.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import settings as s
from ..errors import AccessDenied, ConfigurationError, UsageError
from .options import Options

if TYPE_CHECKING:
    from ..aws.batch import BatchClient
    from ..aws.efs import AccessPoint
    from ..aws.session import AwsSession

METADATA = Path("/opt/ml/metadata/resource-metadata.json")
"""Where Studio keeps its metadata. Notebook instances have such a file too, without a domain."""


@dataclass(frozen=True)
class Studio:
    """Where in SageMaker Studio this process runs.

    Parameters
    ----------
    domain_id
        ``d-…``
    user_profile, space
        Names; at least one is there.
    """

    domain_id: str
    user_profile: str | None
    space: str | None

    @property
    def user(self) -> str:
        """Whose home directory it is, in words."""
        return f"user {self.user_profile}" if self.user_profile else f"space {self.space}"


def read_metadata(path: Path = METADATA) -> Studio | None:
    """What the metadata file says; ``None`` outside of Studio.

    Raises
    ------
    ConfigurationError
        The file is there, but cannot be understood.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exn:
        raise ConfigurationError(
            f"The metadata of SageMaker Studio, {path}, cannot be read: {exn}"
        ) from exn
    if not isinstance(content, dict) or not content.get("DomainId"):
        return None
    user, space = content.get("UserProfileName"), content.get("SpaceName")
    if not user and not space:
        raise ConfigurationError(
            f"The metadata of SageMaker Studio, {path}, name neither a user profile nor a space;"
            " name the workflow queue and the access point with --workflow-queue and --fsap."
        )
    return Studio(str(content["DomainId"]), str(user) if user else None, str(space or "") or None)


def detect(
    options: Options, session: AwsSession, batch: BatchClient, path: Path = METADATA
) -> tuple[Options, str | None]:
    """Fill in workflow queue and access point in SageMaker Studio, where nothing else says them.

    A workflow queue that is named and has a filesystem other than the domain's keeps it.

    Parameters
    ----------
    path
        Studio's metadata file.

    Returns
    -------
    tuple[Options, str | None]
        The options, and a sentence that says what was filled in, if anything was.

    Raises
    ------
    ConfigurationError
        Something in Studio or on EFS is missing.
    UsageError
        No workflow queue fits, or more than one.
    AccessDenied
        The credentials may not look.
    """
    settings = options.settings
    queue = settings.get(s.WORKFLOW_QUEUE)
    filesystem_said = bool(settings.get(s.FS) or settings.get(s.FSAP))
    if queue and filesystem_said:
        return options, None
    studio = read_metadata(path)
    if studio is None:
        return options, None
    tags: Mapping[str, str] = {}
    if queue:
        named = batch.describe_queues([queue])
        tags = (named[0].get("tags") or {}) if named else {}
    try:
        found = _Found.of(studio, session)
        if queue and not found.may_serve(tags):
            return options, None
        filled = {}
        if not queue:
            queue = found.queue(batch)
            filled[s.WORKFLOW_QUEUE.section, s.WORKFLOW_QUEUE.key] = queue
        said = f"SageMaker Studio: workflow queue {queue}"
        if not filesystem_said:
            uid, point = found.access_point(session)
            filled[s.FSAP.section, s.FSAP.key] = point.id
            said += f", home directory of {studio.user} (uid {uid}) by access point {point.id}"
    except AccessDenied as exn:
        if not exn.more_info:  # no credentials at all
            raise
        if any(tags.get(setting.tag or "") for setting in (s.FS, s.FSAP)):
            return options, None
        raise AccessDenied(
            f"{exn.message.rstrip('.')}; allow it to find what belongs to SageMaker Studio, or name"
            " --workflow-queue and --fsap.",
            exn.more_info,
        ) from exn
    ranked = settings.with_source(s.mapping_source(filled))
    given = bool(ranked.get(s.FSAP))
    return dataclasses.replace(options, settings=ranked, access_point_given=given), said


@dataclass(frozen=True)
class _Found:
    """The home file system of a domain, and its access points."""

    studio: Studio
    file_system_id: str
    access_points: tuple[AccessPoint, ...]

    @classmethod
    def of(cls, studio: Studio, session: AwsSession) -> _Found:
        from ..aws.efs import Efs
        from ..aws.sagemaker import SageMaker

        file_system = SageMaker(session).home_file_system(studio.domain_id)
        if not file_system:
            raise ConfigurationError(
                f"The SageMaker domain {studio.domain_id} has no EFS file system in this account"
                " and Region; choose the domain's Region with AWS_DEFAULT_REGION, or name"
                " --workflow-queue and --fsap."
            )
        return cls(studio, file_system, tuple(Efs(session).access_points(file_system)))

    def may_serve(self, tags: Mapping[str, str]) -> bool:
        """Whether a queue's tags name no other filesystem than this one."""
        file_system, access_point = tags.get(s.FS.tag or ""), tags.get(s.FSAP.tag or "")
        if file_system:
            return file_system == self.file_system_id
        return not access_point or self._has(access_point)

    def queue(self, batch: BatchClient) -> str:
        """The workflow job queue that serves this file system."""
        names = sorted(
            str(item["jobQueueName"])
            for item in batch.all_queues()
            if self._serves(item.get("tags") or {})
        )
        if len(names) == 1:
            return names[0]
        if names:
            raise UsageError(
                f"Several workflow queues serve {self.file_system_id}, the file system of this"
                f" SageMaker domain: {', '.join(names)}; name one with --workflow-queue or"
                f" {s.WORKFLOW_QUEUE.env}."
            )
        raise UsageError(
            f"No job queue has tags {s.TASK_QUEUE.tag} and {s.FS.tag}={self.file_system_id} (the"
            " file system of this SageMaker domain); name the workflow queue with --workflow-queue"
            f" or {s.WORKFLOW_QUEUE.env}."
        )

    def access_point(self, session: AwsSession) -> tuple[str, AccessPoint]:
        """The user's id, and the access point of the home directory."""
        from ..aws.sagemaker import SageMaker

        sagemaker, studio = SageMaker(session), self.studio
        uid = (
            sagemaker.user_uid(studio.domain_id, studio.user_profile)
            if studio.user_profile
            else sagemaker.space_uid(studio.domain_id, studio.space or "")
        )
        if not uid:
            raise ConfigurationError(
                f"The {studio.user} of the SageMaker domain {studio.domain_id} has no user id on"
                f" its file system {self.file_system_id}; name an access point with --fsap."
            )
        fits = [
            point
            for point in sorted(self.access_points, key=lambda point: point.id)
            if point.root.rstrip("/") == f"/{uid}"
            and point.state == "available"
            and (point.user is None or point.user.partition(":")[0] == uid)
        ]
        # One that makes everybody the user lets jobs write to the home directory.
        fits.sort(key=lambda point: point.user is None)
        if not fits:
            raise ConfigurationError(
                f"The file system {self.file_system_id} has no access point for the home directory"
                f" of {studio.user}; make one with the root directory /{uid} and the POSIX user"
                f" {uid}, or name another with --fsap."
            )
        return uid, fits[0]

    def _serves(self, tags: Mapping[str, str]) -> bool:
        if not tags.get(s.TASK_QUEUE.tag or ""):
            return False  # no workflow job queue
        file_system = tags.get(s.FS.tag or "")
        if file_system:
            return file_system == self.file_system_id
        return self._has(tags.get(s.FSAP.tag or "", ""))

    def _has(self, access_point: str) -> bool:
        return any(point.id == access_point for point in self.access_points)
