"""Where the workflow job will run: queues or cluster, role, image, filesystem and S3 locations, all
checked.

Checks come before anything is uploaded, registered or submitted. What the caller's credentials may
not look at is taken on trust: it is the workflow job's role that has to have the permission.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .. import settings as s
from ..errors import AccessDenied, ConfigurationError, NotFound, UsageError
from ..fargate_sizes import check_size
from ..settings import Settings
from . import filesystem as shared
from .filesystem import FileSystem, is_under
from .options import DEFAULT_IMAGE, DELETE_AFTER_CHOICES, ENGINES, Options

if TYPE_CHECKING:
    from ..aws.batch import BatchClient
    from ..aws.discovery import Queue
    from ..aws.ecs import EcsClient
    from ..aws.s3 import S3
    from ..aws.session import AwsSession
    from ..engines.ecs_place import EcsPlace

# Registry host and port, path, tag, digest. At most 255 characters: Batch API, ContainerProperties.
_IMAGE = re.compile(
    r"(?:[\w.-]+(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[\w][\w.-]{0,127})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


FARGATE = "aws_fargate"
"""The container backend of tasks on Fargate."""


@dataclass(frozen=True)
class Deployment:
    """All that the request for a workflow job needs to know of where it runs.

    Parameters
    ----------
    workflow_queue, task_queue, task_queue_fallback
        Names or ARNs as given, if they are needed.
    platform
        ``FARGATE`` or ``EC2``: what the workflow job runs on.
    role
        ARN, or ``None`` on EC2 where the instance's role may do.
    task_role
        ARN of the role that the engine gives task jobs, if there is one.
    event_queue
        URL of the SQS queue that the engine hears of task jobs' state changes from, if there is
        one.
    image
        Container image.
    filesystem
        Shared filesystem.
    engine
        Container backend that runs the tasks; ``None`` for Batch's for this filesystem.
    directory
        Run directory prefix.
    stage_uri
        Staging location, if there is one.
    upload_folder, delete_after
        As the runner takes them, if set.
    tags
        For every job.
    place
        Where the workflow job runs if it is an ECS task; ``None`` if it is a Batch job.
    """

    workflow_queue: str | None
    task_queue: str | None
    task_queue_fallback: str | None
    platform: str
    role: str | None
    task_role: str | None
    event_queue: str | None
    image: str
    filesystem: FileSystem
    engine: str | None
    directory: str
    stage_uri: str | None
    upload_folder: str | None
    delete_after: str | None
    tags: dict[str, str]
    place: EcsPlace | None = None


def resolve(
    options: Options, session: AwsSession, batch: BatchClient, ecs: EcsClient, s3: S3
) -> Deployment:
    """Find and check the deployment that the options, settings and queue tags name.

    Raises
    ------
    UsageError
        Something is not set, or not well formed.
    NotFound
        Something that is named does not exist.
    ConfigurationError
        Something exists but does not fit.
    """
    from ..aws.discovery import look_up_queues

    workflow_queue = options.settings.get(s.WORKFLOW_QUEUE)
    engine = _engine(options.settings)
    if engine == "batch" and not workflow_queue:
        raise UsageError(
            "No workflow job queue is named; name one with --workflow-queue or"
            f" {s.WORKFLOW_QUEUE.env}."
        )
    # What can be seen to be wrong without asking AWS comes first.
    _check_upload_settings(options.settings)
    image = _image(options.settings)
    queue = None
    if workflow_queue:
        queue = look_up_queues(batch, [(workflow_queue, "workflow queue (--workflow-queue)")])[0]
    settings, place = options.settings.with_tags(queue.tags if queue else {}), None
    if engine == "fargate":
        settings, place = _place(settings, queue, ecs)
        if not options.public_ip:
            place = replace(place, assign_public_ip=False)
        _check_log(options, place)
    tags = {str(key): str(value) for key, value in settings.get(s.JOB_TAGS).items()}
    backend = _backend(options, engine, queue.tags if queue else {})
    task_queue, fallback, task_queues = _task_queues(settings, batch, backend != FARGATE)
    queues = [queue, *task_queues] if queue else list(task_queues)
    filesystem = shared.find(options, settings, session, queues)
    platform = "FARGATE" if place or filesystem.name else "EC2"
    if queue and not place:
        platform = queue.platform or platform
    if platform == "FARGATE":
        if not filesystem.name:
            raise ConfigurationError(
                "Workflow jobs on ECS run on Fargate, where no host mounts"
                f" {filesystem.mount}; name an EFS access point with --fsap, or use --engine batch."
                if place
                else f"The workflow queue {workflow_queue} runs on Fargate, where no host mounts"
                f" {filesystem.mount}; name a queue with an EC2 compute environment."
            )
        check_size(options.vcpus, options.memory_mib)
    elif filesystem.s3files_arn:
        raise ConfigurationError(
            f"The workflow queue {workflow_queue} runs on EC2 instances, which cannot mount S3"
            " Files; name a queue of Fargate, or use --engine fargate."
        )
    if filesystem.s3files_arn and backend != FARGATE:
        raise ConfigurationError(
            "Task queues run on EC2 instances, which cannot mount S3 Files; use --task-engine"
            " fargate."
        )
    if backend == FARGATE and not filesystem.name:
        raise ConfigurationError(
            f"Tasks on Fargate need EFS, and {filesystem.mount} is a filesystem that hosts mount;"
            " name an EFS access point with --fsap, or use --task-engine batch."
        )
    return Deployment(
        workflow_queue=workflow_queue,
        task_queue=task_queue,
        task_queue_fallback=fallback,
        platform=platform,
        role=_role(settings, session, platform),
        task_role=settings.get(s.TASK_ROLE),
        event_queue=_event_queue(settings),
        image=image,
        filesystem=filesystem,
        engine=backend,
        directory=_directory(options, filesystem.mount),
        stage_uri=_s3_location(settings, s.STAGE_URI, "staging location (--stage)", s3),
        upload_folder=_s3_location(settings, s.S3_UPLOAD_FOLDER, "--s3upload", s3),
        delete_after=settings.get(s.DELETE_AFTER) and settings.get(s.DELETE_AFTER).lower(),
        tags=tags,
        place=place,
    )


def _engine(settings: Settings) -> str:
    """What runs the workflow job."""
    named = settings.get(s.WORKFLOW_ENGINE)
    if named and named.lower() not in ENGINES:
        raise UsageError(
            f"--engine ({s.WORKFLOW_ENGINE.env}) should be one of {', '.join(ENGINES)}; correct it."
        )
    if named:
        return str(named.lower())
    only_ecs = settings.get(s.FARGATE_CLUSTER) and not settings.get(s.WORKFLOW_QUEUE)
    return "fargate" if only_ecs else "batch"


def _backend(options: Options, engine: str, tags: Mapping[str, str]) -> str | None:
    """The container backend for tasks; ``None`` for Batch's, which depends on the filesystem."""
    if options.task_engine:
        return FARGATE if options.task_engine == "fargate" else None
    named = str(options.settings.get(s.CONTAINER_BACKEND) or "")
    # What is set here may be an engine for this machine (docker, podman, …).
    if options.pass_environment and named.startswith("aws_"):
        return named
    if engine == "fargate":
        return FARGATE
    return Settings(s.tag_source(tags)).get(s.CONTAINER_BACKEND) or None


def _place(settings: Settings, queue: Queue | None, ecs: EcsClient) -> tuple[Settings, EcsPlace]:
    """Where the workflow job's task will run; the settings are with the cluster's own tags now, if
    there is no queue that has some."""
    from ..engines.ecs_place import find_place

    cluster = settings.get(s.FARGATE_CLUSTER)
    if not cluster:
        raise UsageError(
            "No ECS cluster is known for --engine fargate; name the workflow queue of a deployment"
            f" that has one with --workflow-queue, or a cluster with --cluster or"
            f" {s.FARGATE_CLUSTER.env}."
        )
    try:
        found = ecs.describe_cluster(cluster)
    except AccessDenied as exn:
        if not exn.more_info:  # no credentials at all
            raise
        return settings, find_place(settings, queue)
    if found is None:
        raise NotFound(
            f"The ECS cluster {cluster} does not exist in this account and Region; correct"
            f" --cluster, {s.FARGATE_CLUSTER.env} or the tag {s.FARGATE_CLUSTER.tag} of the"
            " workflow queue."
        )
    if queue is None:
        settings = settings.with_tags({tag["key"]: tag["value"] for tag in found.get("tags", [])})
    return settings, find_place(settings, queue)


def _check_log(options: Options, place: EcsPlace) -> None:
    if options.follow and not place.log_group:
        raise UsageError(
            "There is no log group, so that --follow has nothing to show; name one in [aws_fargate]"
            f" log_group ({s.FARGATE_LOG_GROUP.env}), or use --wait."
        )


def _event_queue(settings: Settings) -> str | None:
    url = settings.get(s.EVENT_QUEUE)
    return None if url is None or s.is_false(url) else str(url)


def _check_upload_settings(settings: Settings) -> None:
    delete_after = settings.get(s.DELETE_AFTER)
    if not delete_after:
        return
    if delete_after.lower() not in DELETE_AFTER_CHOICES:
        raise UsageError(
            f"--delete-after ({s.DELETE_AFTER.env}) should be one of"
            f" {', '.join(DELETE_AFTER_CHOICES)}; correct it."
        )
    if not settings.get(s.S3_UPLOAD_FOLDER):
        raise UsageError(
            f"--delete-after ({s.DELETE_AFTER.env}) needs an upload location; name one with"
            f" --s3upload or {s.S3_UPLOAD_FOLDER.env}."
        )


def _image(settings: Settings) -> str:
    image = str(settings.get(s.WORKFLOW_IMAGE) or DEFAULT_IMAGE)
    if len(image) > 255 or not _IMAGE.fullmatch(image):
        raise UsageError(
            f"The image '{image}' (--image, {s.WORKFLOW_IMAGE.env}) is not the name of a container"
            " image; write it as registry/name:tag."
        )
    return image


def _task_queues(
    settings: Settings, batch: BatchClient, needed: bool
) -> tuple[str | None, str | None, Sequence[Queue]]:
    """Task queue, fallback, and what they are; only looked up if they are needed."""
    from ..aws.discovery import look_up_queues

    task_queue = settings.get(s.TASK_QUEUE)
    if not needed:
        return task_queue, settings.get(s.TASK_QUEUE_FALLBACK), []
    if not task_queue:
        raise UsageError(
            f"No task queue is named; name one with --task-queue or {s.TASK_QUEUE.env}, or tag the"
            f" workflow queue with {s.TASK_QUEUE.tag}."
        )
    fallback = settings.get(s.TASK_QUEUE_FALLBACK)
    wanted = [(task_queue, "task queue (--task-queue)")]
    if fallback:
        wanted.append((fallback, "fallback task queue (--task-queue-fallback)"))
    found = look_up_queues(batch, wanted)
    for queue, (name, called) in zip(found, wanted, strict=True):
        if queue.platform == "FARGATE":
            raise ConfigurationError(
                f"The {called} {name} runs on Fargate, but task jobs need EC2; name a queue with an"
                " EC2 compute environment."
            )
    return str(task_queue), fallback, found


def _directory(options: Options, mount: str) -> str:
    directory = options.directory or f"{mount}/miniwdl_run"
    if not is_under(directory, mount):
        raise UsageError(
            f"--dir {directory} is not on the shared filesystem; name a directory under {mount}."
        )
    return directory


def _role(settings: Settings, session: AwsSession, platform: str) -> str | None:
    from ..aws.iam import ROLE_ARN, Iam

    role = settings.get(s.WORKFLOW_ROLE)
    if not role:
        if platform == "EC2":
            return None
        raise UsageError(
            f"No role for the workflow job is named; name one with --workflow-role or"
            f" {s.WORKFLOW_ROLE.env}, or tag the workflow queue with {s.WORKFLOW_ROLE.tag}."
        )
    if not ROLE_ARN.fullmatch(role):
        raise UsageError(
            f"'{role}' (--workflow-role, {s.WORKFLOW_ROLE.env}, tag {s.WORKFLOW_ROLE.tag}) is not"
            " the ARN of an IAM role; write it as arn:aws:iam::123456789012:role/name."
        )
    if Iam(session).role_exists(role) is False:
        raise NotFound(
            f"The role {role} of the workflow job does not exist; correct --workflow-role,"
            f" {s.WORKFLOW_ROLE.env} or the tag {s.WORKFLOW_ROLE.tag} of the workflow queue."
        )
    return str(role)


def _s3_location(settings: Settings, setting: s.Setting, called: str, s3: S3) -> str | None:
    from ..aws.s3 import parse_s3_uri

    text = settings.get(setting)
    if not text:
        return None
    uri = parse_s3_uri(text)
    try:
        exists = s3.bucket_exists(uri.bucket)
    except AccessDenied as exn:
        if not exn.more_info:  # no credentials at all
            raise
        return str(text)
    if not exists:
        raise NotFound(
            f"The bucket {uri.bucket} of the {called} {text} does not exist; correct it."
        )
    return str(text)
