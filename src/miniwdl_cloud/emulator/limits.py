"""What AWS Batch refuses: quotas, patterns and rules of requests, beyond members and types.

Numbers are those of the Batch user guide ("AWS Batch service quotas") and of the member
documentation in botocore's Batch model; wordings are Batch's where an error report in public shows
them.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import ApiError, client_error
from .fargate import check_fargate

JOB_SIZE_KIB = 30
DEFINITION_SIZE_KIB = 24
OVERRIDES_LENGTH = 8192
DESCRIBE_IDS = 100
DESCRIBE_PAGE = 100
LIST_PAGE = 1000
LIST_PAGE_FILTERED = 100
TAGS = 50
DEPENDENCIES = 20
ENVIRONMENTS_PER_QUEUE = 3
ARRAY_SIZE = (2, 10_000)
REASON_LENGTH = 1024

JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
SHARE_IDENTIFIER = re.compile(r"[A-Za-z0-9]{1,255}\*?")
WHOLE_NUMBER = re.compile(r"[1-9][0-9]*")
GLOB = re.compile(r"[^*]*\*?")
EXIT_CODE_GLOB = re.compile(r"[0-9]*\*?")
TAG_PUNCTUATION = frozenset("_.:/=+-@")


def check_tags(tags: Mapping[str, str]) -> None:
    """Number, lengths and characters of tags."""
    if len(tags) > TAGS:
        raise client_error(f"Number of tags must be at most {TAGS}, got {len(tags)}.")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128:
            raise client_error("Tag key length must be between 1 and 128 characters.")
        if len(value) > 256:
            raise client_error(f"Value of tag {key} must be at most 256 characters long.")
        if key.lower().startswith("aws:"):
            raise client_error("Tag keys starting with aws: are reserved for system use.")
        if not is_tag_text(key) or not is_tag_text(value):
            raise client_error(f"Tag {key} has characters that are not allowed in tags.")


def check_ids(ids: Sequence[str], member: str) -> None:
    """How many things one call may name."""
    if len(ids) > DESCRIBE_IDS:
        raise client_error(f"{member} must have at most {DESCRIBE_IDS} entries, got {len(ids)}.")


def check_definition(params: Mapping[str, Any]) -> None:
    """A RegisterJobDefinition request."""
    size = len(compact_json(params).encode())
    if size > DEFINITION_SIZE_KIB * 1024:
        raise client_error(
            f"JobDefinition size must be less than {DEFINITION_SIZE_KIB} KiB,"
            f" got {-(-size // 1024)} KiB"
        )
    check_tags(params.get("tags", {}))
    check_retry_strategy(params.get("retryStrategy", {}))
    check_timeout(params.get("timeout", {}))
    _refuse_other_orchestration(params)
    if params["type"] != "container" or "containerProperties" not in params:
        raise client_error("containerProperties must be provided for a job of type container.")
    platforms = params.get("platformCapabilities", ["EC2"])
    if len(platforms) != 1:
        raise client_error("platformCapabilities must have exactly one value.")
    container = params["containerProperties"]
    check_container(container)
    check_resources(container, fargate=platforms == ["FARGATE"])


def _refuse_other_orchestration(params: Mapping[str, Any]) -> None:
    for member in ("ecsProperties", "eksProperties", "nodeProperties"):
        if member in params:
            raise ApiError(
                "ClientException",
                f"The embedded AWS runs single-container jobs only and lacks {member}; use"
                " containerProperties.",
            )


def check_container(container: Mapping[str, Any]) -> None:
    """The containerProperties of a job definition, on either platform."""
    image = container.get("image", "")
    if not image:
        raise client_error("Container image is not provided.")
    if len(image) > 255:
        raise client_error("Container image must be at most 255 characters long.")
    check_environment(container.get("environment", []))
    volumes = [volume.get("name", "") for volume in container.get("volumes", [])]
    if len(set(volumes)) != len(volumes) or not all(volumes):
        raise client_error("Every volume must have a name of its own.")
    for volume in container.get("volumes", []):
        _check_efs(volume.get("efsVolumeConfiguration"), container)
    for mount in container.get("mountPoints", []):
        if mount.get("sourceVolume") not in volumes:
            raise client_error(
                f"Unknown volume '{mount.get('sourceVolume')}' in the container's mountPoints."
            )
        if not mount.get("containerPath"):
            raise client_error("containerPath of a mount point is not provided.")


def _check_efs(efs: Mapping[str, Any] | None, container: Mapping[str, Any]) -> None:
    if efs is None:
        return
    authorization = efs.get("authorizationConfig", {})
    encrypted = efs.get("transitEncryption") == "ENABLED"
    if authorization.get("accessPointId"):
        if not encrypted:
            raise client_error(
                "transitEncryption must be ENABLED when an EFS access point is specified."
            )
        if efs.get("rootDirectory", "/") not in ("", "/"):
            raise client_error(
                "rootDirectory must be omitted or set to / when an EFS access point is specified."
            )
    if authorization.get("iam") == "ENABLED":
        if not encrypted:
            raise client_error("transitEncryption must be ENABLED when IAM is used for EFS.")
        if not container.get("jobRoleArn"):
            raise client_error("jobRoleArn is required when IAM is used for EFS.")


def check_environment(environment: Sequence[Mapping[str, str]]) -> None:
    """Environment variables of a container."""
    for variable in environment:
        if not variable.get("name"):
            raise client_error("Environment variable name must not be empty.")
        if variable["name"].startswith("AWS_BATCH"):
            raise client_error(
                f"Environment variable {variable['name']}: names starting with AWS_BATCH are"
                " reserved."
            )


def check_resources(container: Mapping[str, Any], fargate: bool) -> tuple[float, int, int]:
    """vCPUs, memory (MiB) and GPUs of a container, checked for its platform."""
    required = {r["type"]: r["value"] for r in container.get("resourceRequirements", [])}
    if len(required) != len(container.get("resourceRequirements", [])):
        raise client_error("resourceRequirements must not have a type twice.")
    if fargate:
        return check_fargate(container, required)
    for member in ("networkConfiguration", "fargatePlatformConfiguration", "ephemeralStorage"):
        if container.get(member):
            raise client_error(f"{member} is only applicable for Fargate.")
    for kind, member, name in (("VCPU", "vcpus", "vCPU"), ("MEMORY", "memory", "Memory")):
        if container.get(member) and kind not in required:
            required[kind] = str(container[member])
        if kind not in required:
            raise client_error(f"{name} is not provided.")
    for kind, value in required.items():
        if not WHOLE_NUMBER.fullmatch(value):
            raise client_error(
                f"Value {value} for type {kind} in resourceRequirement is not valid."
                " Please provide a numeric value."
            )
    memory = int(required["MEMORY"])
    if memory < 4:
        raise client_error("Container memory should be at least 4 MiB.")
    return float(required["VCPU"]), memory, int(required.get("GPU", 0))


def check_retry_strategy(strategy: Mapping[str, Any]) -> None:
    """Attempts, and the rules of evaluateOnExit."""
    if not 1 <= strategy.get("attempts", 1) <= 10:
        raise client_error("Retry attempts must be between 1 and 10.")
    rules = strategy.get("evaluateOnExit", [])
    if len(rules) > 5:
        raise client_error("evaluateOnExit must have at most 5 conditions.")
    for rule in rules:
        conditions = {k: v for k, v in rule.items() if k != "action"}
        if not conditions:
            raise client_error("A condition of evaluateOnExit is empty.")
        for member, value in conditions.items():
            pattern = EXIT_CODE_GLOB if member == "onExitCode" else GLOB
            if len(value) > 512 or not value or not pattern.fullmatch(value):
                raise client_error(
                    f"{member} of evaluateOnExit must be at most 512 characters, with an asterisk"
                    " at its end only."
                )


def check_timeout(timeout: Mapping[str, Any]) -> None:
    """The attempt duration of a timeout, in seconds."""
    if "attemptDurationSeconds" in timeout and timeout["attemptDurationSeconds"] < 60:
        raise client_error("Timeout must be at least 60 seconds.")


def check_time_limit_actions(actions: Sequence[Mapping[str, Any]]) -> None:
    """A queue's limits on the time that jobs may be RUNNABLE, in seconds."""
    for action in actions:
        if not 600 <= action["maxTimeSeconds"] <= 86400:
            raise client_error(
                "maxTimeSeconds of jobStateTimeLimitActions must be between 600 and 86400."
            )


def check_submission(params: Mapping[str, Any]) -> None:
    """What a SubmitJob request says by itself, before its queue and definition are looked up."""
    size = len(compact_json(params).encode())
    if size > JOB_SIZE_KIB * 1024:
        raise client_error(
            f"Job size must be less than {JOB_SIZE_KIB} KiB, got {-(-size // 1024)} KiB"
        )
    if not JOB_NAME.fullmatch(params["jobName"]):
        raise client_error("Job name should match valid pattern")
    check_tags(params.get("tags", {}))
    check_retry_strategy(params.get("retryStrategy", {}))
    check_timeout(params.get("timeout", {}))
    overrides = params.get("containerOverrides", {})
    if any(part == "" for part in overrides.get("command", [])):
        raise client_error("The command of containerOverrides must not have an empty string.")
    check_environment(overrides.get("environment", []))
    for member in ("nodeOverrides", "eksPropertiesOverride", "ecsPropertiesOverride"):
        if params.get(member):
            raise client_error(f"{member} is not applicable for a single-container job.")
    if len(params.get("dependsOn", [])) > DEPENDENCIES:
        raise client_error(f"dependsOn must have at most {DEPENDENCIES} jobs.")
    if "arrayProperties" in params:
        size = params["arrayProperties"].get("size", 0)
        if not ARRAY_SIZE[0] <= size <= ARRAY_SIZE[1]:
            raise client_error(
                f"Array size must be between {ARRAY_SIZE[0]} and {ARRAY_SIZE[1]}, got {size}."
            )
    if not 0 <= params.get("schedulingPriorityOverride", 0) <= 9999:
        raise client_error("schedulingPriorityOverride must be between 0 and 9999.")


def check_share(identifier: str | None, has_policy: bool) -> None:
    """A share identifier goes with a queue that has a fair-share policy, and only there."""
    if has_policy and not identifier:
        raise client_error("shareIdentifier is required for a job queue with a scheduling policy.")
    if identifier and not has_policy:
        raise client_error("shareIdentifier needs a job queue with a scheduling policy.")
    if identifier and not SHARE_IDENTIFIER.fullmatch(identifier):
        raise client_error("shareIdentifier should match valid pattern")


def compact_json(value: Any) -> str:
    """A value as the shortest JSON, by which sizes are measured."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def is_tag_text(text: str) -> bool:
    """Whether a text has only characters that tags may have."""
    return all(c in TAG_PUNCTUATION or unicodedata.category(c)[0] in "LZN" for c in text)
