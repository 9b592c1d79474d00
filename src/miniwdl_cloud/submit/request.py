"""The exact requests that make a workflow job: its definition, and the Batch job or ECS task.

All that is the same for many runs is in the job definition, which is named by the hash of what it
holds and so found again; what differs is in the overrides.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import settings as s
from ..errors import TooLarge, UsageError
from ..filesystems.base import mount_point
from . import ecs_request
from .deployment import Deployment
from .filesystem import VOLUME
from .options import Options
from .shipping import MAX_TAGS, TAG_KEY_MAX, TAG_VALUE_MAX, Room, Shipment

DEFINITION_PREFIX = "miniwdl-cloud-workflow-"
JOB_NAME_MAX = 128
OVERRIDES_MAX = 7168
"""Characters of overrides. ECS takes 8,192 (RunTask, `overrides`); the rest is for the variables
that Batch adds itself."""
# AWS Batch user guide, "Service quotas": 30 KiB and 24 KiB, less a little for how Batch counts.
# ECS takes larger definitions, and names no limit for RunTask.
SUBMIT_MAX = 30 * 1024 - 512
DEFINITION_MAX = 24 * 1024 - 512
# One tag as JSON, with quotes, colon and comma.
_TAG_SIZE = TAG_KEY_MAX + TAG_VALUE_MAX + 8

# These make the workflow job what it is; inside it they are set anew, or come as arguments.
LAUNCH_SETTINGS = (
    s.FS,
    s.FSAP,
    s.TASK_QUEUE,
    s.TASK_QUEUE_FALLBACK,
    s.WORKFLOW_ENGINE,
    s.WORKFLOW_QUEUE,
    s.WORKFLOW_ROLE,
    s.TASK_ROLE,
    s.EVENT_QUEUE,
    s.WORKFLOW_IMAGE,
    s.STAGE_URI,
    s.MOUNT,
    s.S3_UPLOAD_FOLDER,
    s.DELETE_AFTER,
    s.FILE_IO_ROOT,
    s.ADOPT,
    s.FSX_FILE_SYSTEM,
)
LAUNCH_VARIABLES = frozenset(
    s.env_name(setting.section, key)
    for setting in LAUNCH_SETTINGS
    for key in (setting.key, *setting.aliases)
)


@dataclass(frozen=True)
class WorkflowRequest:
    """The requests of one workflow job.

    Parameters
    ----------
    definition
        RegisterJobDefinition or RegisterTaskDefinition, needed only if there is no definition of
        its name.
    submit
        SubmitJob or RunTask; names the definition without a revision, as all its revisions are
        equal.
    """

    definition: dict[str, Any]
    submit: dict[str, Any]

    @property
    def definition_name(self) -> str:
        """Name of the job definition, or family of the task definition."""
        return str(self.definition.get("jobDefinitionName") or self.definition["family"])

    @property
    def name(self) -> str:
        """Name of the workflow job."""
        return str(self.submit.get("jobName") or self.submit["startedBy"])

    @property
    def overrides(self) -> dict[str, Any]:
        """The overrides, which AWS limits as a whole."""
        found: dict[str, Any] = self.submit.get("containerOverrides") or self.submit["overrides"]
        return found

    @property
    def environment(self) -> list[dict[str, str]]:
        """The variables of the workflow job."""
        container = self.overrides.get("containerOverrides", [self.overrides])[0]
        return list(container["environment"])


def run_command(deployment: Deployment, arguments: Sequence[str]) -> list[str]:
    """The workflow job's command for a run.

    Raises
    ------
    UsageError
        An argument is empty, which Batch does not take.
    """
    command = ["miniwdl-run-s3upload", *arguments, "--dir", deployment.directory]
    if deployment.upload_folder:
        command += ["--s3upload", deployment.upload_folder]
    if deployment.delete_after:
        command += ["--delete-after", deployment.delete_after]
    return _without_empty(command)


def self_test_command(deployment: Deployment, arguments: Sequence[str], unique: str) -> list[str]:
    """The workflow job's command for miniwdl's self-test, in a directory of its own."""
    directory = f"{deployment.filesystem.mount}/miniwdl_run_self_test/{unique}"
    return _without_empty(["miniwdl", "run_self_test", *arguments, "--dir", directory])


def environment(
    deployment: Deployment, options: Options, environ: Mapping[str, str]
) -> dict[str, str]:
    """The variables of the workflow job, but for those that ship the WDL.

    Parameters
    ----------
    deployment, options
        What the job will run on.
    environ
        The environment of this process, for the ``MINIWDL__*`` variables that pass through.
    """
    filesystem = deployment.filesystem
    variables = {
        s.FILE_IO_ROOT.env: filesystem.mount,
        s.WORKFLOW_IMAGE.env: deployment.image,
        s.CONTAINER_BACKEND.env: deployment.engine or filesystem.engine,
        s.FS.env: filesystem.name or "0",
    }
    placed: dict[str, str] = {}
    if deployment.place:
        placed = ecs_request.place_variables(deployment.place)
    elif deployment.engine == "aws_fargate" and options.settings.get(s.FARGATE_CLUSTER):
        placed = {s.FARGATE_CLUSTER.env: options.settings.get(s.FARGATE_CLUSTER)}
    variables.update(placed)
    if deployment.task_queue:
        variables[s.TASK_QUEUE.env] = deployment.task_queue
    if deployment.task_queue_fallback:
        variables[s.TASK_QUEUE_FALLBACK.env] = deployment.task_queue_fallback
    if deployment.task_role:
        variables[s.TASK_ROLE.env] = deployment.task_role
    if deployment.event_queue:
        variables[s.EVENT_QUEUE.env] = deployment.event_queue
    if options.settings.get(s.ADOPT):
        variables[s.ADOPT.env] = "true"
    if filesystem.access_point_id:
        variables[s.FSAP.env] = filesystem.access_point_id
    if filesystem.fsx_id:
        variables[s.FSX_FILE_SYSTEM.env] = filesystem.fsx_id
    if options.pass_environment:
        for name in sorted(environ):
            # An engine for this machine (docker, podman, …) is no use in the workflow job.
            foreign = name == s.CONTAINER_BACKEND.env and (
                options.task_engine or not environ[name].startswith("aws_")
            )
            launching = name in LAUNCH_VARIABLES or name in placed or foreign
            if name.startswith("MINIWDL__") and not launching:
                variables[name] = environ[name]
        if environ.get(s.S3_ENDPOINT):
            variables[s.S3_ENDPOINT] = environ[s.S3_ENDPOINT]
    return variables


def job_name(options: Options, wdl: str | None, unique: str) -> str:
    """A name for the workflow job that no other has.

    Parameters
    ----------
    options
        With the ``--name``, if given.
    wdl
        File name or URL of the WDL; ``None`` for the self-test.
    unique
        A random ending of letters and digits.
    """
    name = options.name
    if not name and wdl is None:
        name = "miniwdl_run_self_test"
    elif not name and wdl is not None:
        stem = posixpath.basename(wdl.rstrip("/")).lstrip(".")
        name = "miniwdl_run_" + re.split(r"[.?#]", stem)[0]
    # SubmitJob, `jobName`: begins with a letter or digit.
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", name or "").lstrip("_-") or "miniwdl_run"
    return f"{name[: JOB_NAME_MAX - len(unique) - 1]}-{unique}"


def room_for_wdl(request: WorkflowRequest) -> Room:
    """What a request without WDL leaves for it.

    Raises
    ------
    TooLarge
        It is too large without.
    """
    overrides = len(json.dumps(request.overrides))
    if overrides > OVERRIDES_MAX:
        raise TooLarge(
            f"Arguments and environment of the workflow job are {overrides:,} characters, more than"
            f" the {OVERRIDES_MAX:,} that fit; give inputs in a file with --input, and pass fewer"
            " MINIWDL__* variables (--no-env passes none).",
            {"characters": overrides},
        )
    free_submit = SUBMIT_MAX - len(json.dumps(request.submit)) - (OVERRIDES_MAX - overrides)
    free_definition = DEFINITION_MAX - len(json.dumps(request.definition))
    own_tags = len(request.submit.get("tags", {}))
    return Room(
        environment=OVERRIDES_MAX - overrides,
        job_tags=max(0, min(MAX_TAGS - own_tags, free_submit // _TAG_SIZE)),
        definition_tags=max(0, min(MAX_TAGS, free_definition // _TAG_SIZE)),
    )


def build(
    deployment: Deployment,
    options: Options,
    name: str,
    command: Sequence[str],
    variables: Mapping[str, str],
    shipment: Shipment | None = None,
    region: str = "",
) -> WorkflowRequest:
    """Make the requests.

    Parameters
    ----------
    deployment, options
        What the job runs on, and its size.
    name
        Job name, from `job_name`.
    command, variables
        What it runs.
    shipment
        The WDL source code, if it travels with the job.
    region
        The Region; an ECS task has to say where its log group is.
    """
    shipment = shipment or Shipment({})
    tags = {**deployment.tags, **shipment.job_tags}
    if deployment.place is not None:
        content = ecs_request.definition_content(
            deployment, deployment.filesystem.volume, region, shipment.definition_tags
        )
        family = DEFINITION_PREFIX + _digest(content)
        run = ecs_request.run_task(
            deployment, options, name, family, command, {**variables, **shipment.environment}, tags
        )
        return WorkflowRequest({"family": family, **content}, run)
    definition: dict[str, Any] = {
        "type": "container",
        "platformCapabilities": [deployment.platform],
        "containerProperties": _container(deployment, options),
        # A second attempt would find the run directory of the first.
        "retryStrategy": {"attempts": 1},
    }
    if shipment.definition_tags:
        definition["tags"] = dict(shipment.definition_tags)
    definition["jobDefinitionName"] = DEFINITION_PREFIX + _digest(definition)
    submit: dict[str, Any] = {
        "jobName": name,
        "jobQueue": deployment.workflow_queue,
        "jobDefinition": definition["jobDefinitionName"],
        "containerOverrides": {
            "command": list(command),
            "environment": [
                {"name": key, "value": value}
                for key, value in {**variables, **shipment.environment}.items()
            ],
            "resourceRequirements": [
                {"type": "VCPU", "value": _vcpus(options, deployment.platform)},
                {"type": "MEMORY", "value": str(options.memory_mib)},
            ],
        },
    }
    if tags:  # none at all need no permission to tag
        submit["tags"] = tags
    return WorkflowRequest(definition, submit)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _container(deployment: Deployment, options: Options) -> dict[str, Any]:
    mount = deployment.filesystem.mount
    container: dict[str, Any] = {
        "image": deployment.image,
        # Overridden by each job; Fargate wants a valid size here too.
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "4096"},
        ],
        "volumes": [deployment.filesystem.volume],
        "mountPoints": [mount_point(mount, VOLUME)],
        # The default, non-blocking with 1 MB, loses lines of a burst; blocking would halt miniwdl
        # when CloudWatch does. All of it is in workflow.log on the shared filesystem besides.
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"mode": "non-blocking", "max-buffer-size": "25m"},
        },
    }
    if deployment.role:
        container["jobRoleArn"] = deployment.role
        container["executionRoleArn"] = deployment.role
    if deployment.platform == "FARGATE":
        container["fargatePlatformConfiguration"] = {"platformVersion": "1.4.0"}
        container["networkConfiguration"] = {
            "assignPublicIp": "ENABLED" if options.public_ip else "DISABLED"
        }
    return container


def _vcpus(options: Options, platform: str) -> str:
    # EC2 jobs get whole vCPUs (Batch API reference, ResourceRequirement, `value`).
    return f"{options.vcpus:g}" if platform == "FARGATE" else str(max(1, round(options.vcpus)))


def _without_empty(command: list[str]) -> list[str]:
    if "" in command:
        raise UsageError(
            "A workflow job takes no empty argument; leave it out (an empty string input is set"
            " with --empty NAME)."
        )
    return command
