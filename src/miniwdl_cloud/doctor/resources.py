"""Buckets, images, log groups and the queue of events."""

from __future__ import annotations

from collections.abc import Iterator

from .. import settings as s
from ..aws.ecs import EcsClient
from ..aws.s3 import parse_s3_uri
from ..submit.options import DEFAULT_IMAGE
from .facts import Facts
from .finding import Finding, Level, ok, problem, warning


def check_buckets(facts: Facts) -> Iterator[Finding]:
    """Buckets for source code, local inputs and outputs."""
    for setting in (s.STAGE_URI, s.S3_UPLOAD_FOLDER):
        text = facts.settings.get(setting)
        if not text:
            continue
        bucket = parse_s3_uri(str(text)).bucket
        region = facts.aws.bucket_region(bucket)
        if region is None:
            yield problem(
                "bucket-missing",
                f"The bucket {bucket} of {setting.env} does not exist.",
                "Runs that need it are refused.",
                f"Make it, or correct {setting.env}"
                + (f" or the tag {setting.tag}." if setting.tag else "."),
            )
        elif region != facts.session.region:
            yield warning(
                "bucket-in-another-region",
                f"The bucket {bucket} is in {region}, the deployment in {facts.session.region}.",
                "Every file costs its transfer between Regions, and takes longer.",
                "Use a bucket in the deployment's Region.",
            )
        else:
            yield ok("bucket", f"The bucket {bucket} is there, in the same Region.")


def check_image(facts: Facts) -> Iterator[Finding]:
    """The image of the workflow job."""
    image = str(facts.settings.get(s.WORKFLOW_IMAGE) or DEFAULT_IMAGE)
    found = facts.aws.has_image(image)
    if found is False:
        yield problem(
            "image-missing",
            f"There is no image {image} in Amazon ECR.",
            "Workflow jobs do not start.",
            f"Push it, or correct {s.WORKFLOW_IMAGE.env}.",
        )
    elif found is None:
        yield Finding(
            "image",
            Level.UNKNOWN,
            f"The image {image} is not in this Region's Amazon ECR, and was not looked at.",
        )
    else:
        yield ok("image", f"The image {image} is there.")


def check_cluster(facts: Facts) -> Iterator[Finding]:
    """What the engine aws_fargate needs, where it is deployed."""
    cluster = facts.settings.get(s.FARGATE_CLUSTER)
    if not cluster:
        return
    found = EcsClient(facts.session).describe_cluster(str(cluster))
    if found is None or found.get("status") not in (None, "ACTIVE"):
        yield problem(
            "cluster-missing",
            f"There is no active ECS cluster {cluster}.",
            "The engine aws_fargate starts no task.",
            f"Correct {s.FARGATE_CLUSTER.env} or the tag {s.FARGATE_CLUSTER.tag}.",
        )
    else:
        yield ok("cluster", f"The ECS cluster {cluster} is active.")
    group = facts.settings.get(s.FARGATE_LOG_GROUP)
    if group and not s.is_false(str(group)):
        if facts.aws.has_log_group(str(group)):
            yield ok("log-group", f"The log group {group} is there.")
        else:
            yield problem(
                "log-group-missing",
                f"There is no log group {group}.",
                "Tasks on Fargate do not start: they cannot open their log.",
                f"Make it, or correct {s.FARGATE_LOG_GROUP.env} or the tag"
                f" {s.FARGATE_LOG_GROUP.tag}.",
            )


def check_events(facts: Facts) -> Iterator[Finding]:
    """The queue that tells of state changes."""
    url = facts.settings.get(s.EVENT_QUEUE)
    if not url or s.is_false(str(url)):
        return
    if facts.aws.has_sqs_queue(str(url)):
        yield ok("event-queue", f"The event queue {url} is there.")
    else:
        yield warning(
            "event-queue-missing",
            f"There is no event queue {url}.",
            "Engines ask Batch instead: more calls, and ends are noticed later.",
            f"Correct {s.EVENT_QUEUE.env} or the tag {s.EVENT_QUEUE.tag}, or set it to 0.",
        )
