"""Which permissions an API call needs.

Actions and their resources: Service Authorization Reference. A call that makes something with tags
needs the service's TagResource too (IAM user guide, "Controlling access to AWS resources using
tags"; each service's own guide), and one that hands on a role iam:PassRole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from miniwdl_cloud.emulator.iam_policy import Request

ACCOUNT, REGION = "123456789012", "us-east-1"
ECS_TASKS = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}

Call = Mapping[str, str]
"""A line of the emulator's record."""


def requests_of(call: Call) -> list[Request]:
    """The permissions that a call needs.

    Parameters
    ----------
    call
        A line of the emulator's record.
    """
    service, operation = call["service"], call["operation"]
    if service == "s3":
        return list(_s3(operation, call["uri"]))
    body = json.loads(call["body"]) if call["body"].startswith("{") else {}
    known = _KNOWN.get((service, operation))
    if known is not None:
        return list(known(body, call))
    if (service, operation) in _EVERYWHERE:
        return [Request(f"{service}:{operation}", "*")]
    raise AssertionError(f"{service} {operation} is not known here: add what permission it needs")


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def _full(service: str, kind: str, name: str) -> str:
    return name if name.startswith("arn:") else _arn(service, f"{kind}/{name}")


_EVERYWHERE = {
    ("batch", "DescribeComputeEnvironments"),
    ("batch", "DescribeJobDefinitions"),
    ("batch", "DescribeJobQueues"),
    ("batch", "DescribeJobs"),
    ("batch", "ListJobs"),
    ("ec2", "DescribeInstanceTypes"),
    ("ec2", "DescribeSpotPriceHistory"),
    ("ecs", "DescribeTaskDefinition"),
    ("ecs", "ListTaskDefinitions"),
    ("fsx", "DescribeDataRepositoryAssociations"),
    ("fsx", "DescribeDataRepositoryTasks"),
    ("fsx", "DescribeFileSystems"),
    ("pricing", "GetProducts"),
}

Body = dict[str, Any]


def _roles(*arns: str | None) -> Iterator[Request]:
    for arn in filter(None, arns):
        yield Request("iam:PassRole", str(arn), ECS_TASKS)


def _point(name: str) -> str:
    return _arn("elasticfilesystem", f"access-point/{name}")


def _submit(body: Body, _: Call) -> Iterator[Request]:
    yield Request("batch:SubmitJob", _full("batch", "job-definition", body["jobDefinition"]))
    yield Request("batch:SubmitJob", _full("batch", "job-queue", body["jobQueue"]))
    if body.get("tags"):
        yield Request("batch:TagResource", _arn("batch", "job/not-there-yet"))


def _register(body: Body, _: Call) -> Iterator[Request]:
    definition = _arn("batch", f"job-definition/{body['jobDefinitionName']}")
    yield Request("batch:RegisterJobDefinition", definition)
    if body.get("tags"):
        yield Request("batch:TagResource", definition)
    container = body.get("containerProperties", {})
    yield from _roles(container.get("jobRoleArn"), container.get("executionRoleArn"))


def _deregister(body: Body, _: Call) -> Iterator[Request]:
    definition = _full("batch", "job-definition", body["jobDefinition"])
    yield Request("batch:DeregisterJobDefinition", definition)


def _terminate(body: Body, _: Call) -> Iterator[Request]:
    yield Request("batch:TerminateJob", _arn("batch", f"job/{body['jobId']}"))


def _tag_batch(_: Body, call: Call) -> Iterator[Request]:
    yield Request("batch:TagResource", unquote(call["uri"].partition("/v1/tags/")[2]))


def _queue(action: str) -> Callable[[Body, Call], Iterator[Request]]:
    def needed(body: Body, _: Call) -> Iterator[Request]:
        name = body["QueueUrl"].rpartition("/")[2]
        yield Request(f"sqs:{action}", _arn("sqs", name))

    return needed


def _run_task(body: Body, _: Call) -> Iterator[Request]:
    cluster = _full("ecs", "cluster", body["cluster"])
    definition = _full("ecs", "task-definition", body["taskDefinition"])
    yield Request("ecs:RunTask", definition, {"ecs:cluster": cluster})
    if body.get("tags"):
        yield Request("ecs:TagResource", f"{cluster.replace(':cluster/', ':task/')}/not-there-yet")
    overrides = body.get("overrides", {})
    yield from _roles(overrides.get("taskRoleArn"), overrides.get("executionRoleArn"))


def _register_task(body: Body, _: Call) -> Iterator[Request]:
    definition = _arn("ecs", f"task-definition/{body['family']}:1")
    yield Request("ecs:RegisterTaskDefinition", definition)
    yield from _roles(body.get("taskRoleArn"), body.get("executionRoleArn"))


def _tasks(action: str, member: str) -> Callable[[Body, Call], Iterator[Request]]:
    def needed(body: Body, _: Call) -> Iterator[Request]:
        cluster = _full("ecs", "cluster", body.get("cluster", "default")).rpartition("/")[2]
        names = body[member] if isinstance(body[member], list) else [body[member]]
        for name in names:
            yield Request(f"ecs:{action}", _full("ecs", f"task/{cluster}", name))

    return needed


def _list_tasks(body: Body, _: Call) -> Iterator[Request]:
    cluster = _full("ecs", "cluster", body.get("cluster", "default"))
    yield Request("ecs:ListTasks", "*", {"ecs:cluster": cluster})


def _clusters(body: Body, _: Call) -> Iterator[Request]:
    for name in body["clusters"]:
        yield Request("ecs:DescribeClusters", _full("ecs", "cluster", name))


def _machines(body: Body, _: Call) -> Iterator[Request]:
    for name in body["containerInstances"]:
        yield Request("ecs:DescribeContainerInstances", _full("ecs", "container-instance", name))


def _export(body: Body, _: Call) -> Iterator[Request]:
    for resource in (f"file-system/{body['FileSystemId']}", "task/not-there-yet"):
        yield Request("fsx:CreateDataRepositoryTask", _arn("fsx", resource))


def _access_points(_: Body, call: Call) -> Iterator[Request]:
    query = dict(part.split("=", 1) for part in call["uri"].partition("?")[2].split("&"))
    yield Request("elasticfilesystem:DescribeAccessPoints", _point(query["AccessPointId"]))


_KNOWN: dict[tuple[str, str], Callable[[Body, Call], Iterator[Request]]] = {
    ("batch", "DeregisterJobDefinition"): _deregister,
    ("batch", "RegisterJobDefinition"): _register,
    ("batch", "SubmitJob"): _submit,
    ("batch", "TagResource"): _tag_batch,
    ("batch", "TerminateJob"): _terminate,
    ("ecs", "DeregisterTaskDefinition"): lambda *_: iter(
        [Request("ecs:DeregisterTaskDefinition", "*")]
    ),
    ("ecs", "DescribeClusters"): _clusters,
    ("ecs", "DescribeContainerInstances"): _machines,
    ("ecs", "DescribeTasks"): _tasks("DescribeTasks", "tasks"),
    ("ecs", "ListTasks"): _list_tasks,
    ("ecs", "RegisterTaskDefinition"): _register_task,
    ("ecs", "RunTask"): _run_task,
    ("ecs", "StopTask"): _tasks("StopTask", "task"),
    ("ecs", "TagResource"): lambda body, _: iter([Request("ecs:TagResource", body["resourceArn"])]),
    ("elasticfilesystem", "DescribeAccessPoints"): _access_points,
    ("fsx", "CreateDataRepositoryTask"): _export,
    ("sqs", "ChangeMessageVisibilityBatch"): _queue("ChangeMessageVisibility"),
    ("sqs", "DeleteMessageBatch"): _queue("DeleteMessage"),
    ("sqs", "ReceiveMessage"): _queue("ReceiveMessage"),
}

_OBJECTS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CompleteMultipartUpload": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListParts": "s3:ListMultipartUploadParts",
    "PutObject": "s3:PutObject",
    "UploadPart": "s3:PutObject",
}
_BUCKETS = {
    "GetBucketLocation": "s3:GetBucketLocation",
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
}


def _s3(operation: str, uri: str) -> Iterator[Request]:
    path = unquote(uri.partition("?")[0]).lstrip("/")
    bucket, _, key = path.partition("/")
    if operation in _OBJECTS:
        yield Request(_OBJECTS[operation], f"arn:aws:s3:::{bucket}/{key}")
    elif operation in _BUCKETS:
        yield Request(_BUCKETS[operation], f"arn:aws:s3:::{bucket}")
    else:
        raise AssertionError(f"s3 {operation} is not known here: add what permission it needs")
