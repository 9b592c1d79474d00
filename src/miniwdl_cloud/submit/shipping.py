"""How WDL source code travels with the workflow job that runs it; both ends.

The archive (as `miniwdl zip` makes it) is compressed with LZMA, written in URL-safe base64, and
placed in the first of these that holds it:

1. a variable of the workflow job's environment;
2. that, and tags on the workflow job;
3. those, and tags on a job definition of its own;
4. an object in the staging location in S3, which the environment names.

Tags are counted in the environment, so that the runner only asks AWS for them if there are any,
and a hash of the archive tells it whether it got everything.
"""

from __future__ import annotations

import base64
import hashlib
import lzma
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigurationError, NotFound, TooLarge
from ..workflow_job import is_ecs_task, workflow_job_id

if TYPE_CHECKING:
    from ..aws.batch import BatchClient
    from ..aws.ecs import EcsClient
    from ..aws.s3 import S3

WDL_SENTINEL = "@shipped-wdl"
"""Stands for the WDL file in the workflow job's command; the runner puts the archive's path
there."""

TEXT_ENV = "MINIWDL_CLOUD_WDL"
"""The beginning of the encoded archive."""
TAGS_ENV = "MINIWDL_CLOUD_WDL_TAGS"
"""Numbers of tags with the rest, on the job and on its definition: ``48,20``."""
HASH_ENV = "MINIWDL_CLOUD_WDL_SHA256"
"""SHA-256 of the archive, in hexadecimal."""
URI_ENV = "MINIWDL_CLOUD_WDL_URI"
"""The archive in the staging location, instead of the text."""

# Batch API reference, TagResource; the characters of URL-safe base64 are all allowed in tags.
MAX_TAGS = 50
TAG_KEY_MAX = 128
TAG_VALUE_MAX = 256
# A number keeps the keys apart, whatever the text in them.
_TAG_KEY = re.compile(r"MiniwdlCloudWdl(\d\d)-(.*)")
_TAG_TEXT = TAG_KEY_MAX - len("MiniwdlCloudWdl00-") + TAG_VALUE_MAX


@dataclass(frozen=True)
class Shipment:
    """Where an archive is placed.

    Parameters
    ----------
    environment
        Variables for the workflow job.
    job_tags, definition_tags
        Tags for the workflow job and for its job definition.
    staged_key
        Key below the staging location that the archive must be uploaded to first, if it travels
        that way.
    """

    environment: Mapping[str, str]
    job_tags: Mapping[str, str] = field(default_factory=dict)
    definition_tags: Mapping[str, str] = field(default_factory=dict)
    staged_key: str | None = None


@dataclass(frozen=True)
class Room:
    """What the request has room for.

    Parameters
    ----------
    environment
        Characters for the shipment's variables, as JSON in the container overrides.
    job_tags, definition_tags
        Numbers of tags.
    """

    environment: int
    job_tags: int
    definition_tags: int


def encode(archive: bytes) -> str:
    """The text that an archive travels as."""
    # The preset alone takes hundreds of MB of memory for its dictionary, of whatever archive.
    strongest = {
        "id": lzma.FILTER_LZMA1,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": 1 << max(12, min(26, len(archive).bit_length())),
    }
    packed = lzma.compress(archive, format=lzma.FORMAT_ALONE, filters=[strongest])
    return base64.urlsafe_b64encode(packed).decode("ascii")


def ship_in_request(archive: bytes, room: Room) -> Shipment | None:
    """Place an archive in the request that submits the workflow job; ``None`` if it does not fit.

    Parameters
    ----------
    archive
        The archive's bytes.
    room
        What the rest of the request leaves.
    """
    text = encode(archive)
    digest = hashlib.sha256(archive).hexdigest()
    fixed = overrides_length({TEXT_ENV: "", HASH_ENV: digest})
    if fixed + len(text) <= room.environment:
        return Shipment({TEXT_ENV: text, HASH_ENV: digest})
    head = max(0, room.environment - fixed - overrides_length({TAGS_ENV: "00,00"}))
    rest = [text[i : i + _TAG_TEXT] for i in range(head, len(text), _TAG_TEXT)]
    if room.environment < fixed or len(rest) > room.job_tags + room.definition_tags:
        return None
    on_job, on_definition = rest[: room.job_tags], rest[room.job_tags :]
    return Shipment(
        {
            TEXT_ENV: text[:head],
            TAGS_ENV: f"{len(on_job)},{len(on_definition)}",
            HASH_ENV: digest,
        },
        _as_tags(on_job),
        _as_tags(on_definition),
    )


def ship_by_staging(archive: bytes, stage_uri: str) -> Shipment:
    """Place an archive in the staging location.

    Parameters
    ----------
    archive
        The archive's bytes.
    stage_uri
        The staging location, ``s3://bucket/prefix``.
    """
    digest = hashlib.sha256(archive).hexdigest()
    key = f"wdl/sha256/{digest[:2]}/{digest}.zip"
    return Shipment(
        {URI_ENV: f"{stage_uri.rstrip('/')}/{key}", HASH_ENV: digest},
        staged_key=key,
    )


def too_large(length: int) -> TooLarge:
    """The error for an archive that nothing holds.

    Parameters
    ----------
    length
        Characters of its encoded text.
    """
    return TooLarge(
        f"The WDL source code is too large to travel with the job ({length:,} characters encoded);"
        " name a staging location with --stage s3://bucket/prefix (or a DefaultStageUri tag on the"
        " workflow job queue), or name the WDL by URL or by a path on the shared filesystem.",
        {"encoded_characters": length},
    )


def overrides_length(environment: Mapping[str, str]) -> int:
    """Characters that these variables add to the container overrides as JSON."""
    # {"name": "…", "value": "…"}, and a comma and a space
    return sum(len(name) + len(value) + 27 for name, value in environment.items())


def decode(
    environ: Mapping[str, str],
    job_tags: Mapping[str, str],
    definition_tags: Mapping[str, str],
) -> bytes:
    """The archive that travelled in a request.

    Raises
    ------
    ConfigurationError
        Part of it is missing or was changed.
    """
    counts = [int(n) for n in environ.get(TAGS_ENV, "0,0").split(",")]
    parts = [environ.get(TEXT_ENV, "")]
    for tags, count in zip((job_tags, definition_tags), counts, strict=True):
        parts.extend(_from_tags(tags, count))
    try:
        archive = lzma.decompress(base64.urlsafe_b64decode("".join(parts)))
    except (ValueError, lzma.LZMAError) as exn:
        raise _damaged() from exn
    return _checked(archive, environ)


def unpack_shipped_wdl(
    environ: Mapping[str, str],
    batch: BatchClient,
    s3: S3,
    directory: Path,
    ecs: Callable[[], EcsClient] | None = None,
) -> Path:
    """Write the archive that was shipped with this workflow job into a file.

    Parameters
    ----------
    environ
        The workflow job's environment.
    batch, s3
        Asked only if the environment says that there is more than it holds.
    directory
        Existing directory for the file.
    ecs
        Makes the client that is asked where the workflow job is an ECS task.

    Returns
    -------
    Path
        The archive, ready for `miniwdl run`.

    Raises
    ------
    ConfigurationError
        Nothing was shipped, or part of it is missing or was changed.
    """
    if environ.get(URI_ENV):
        from ..aws.s3 import parse_s3_uri

        archive = _checked(s3.get_bytes(parse_s3_uri(environ[URI_ENV])), environ)
    elif TEXT_ENV in environ:
        job_tags: Mapping[str, str] = {}
        definition_tags: Mapping[str, str] = {}
        if environ.get(TAGS_ENV):
            job_tags, definition_tags = _tags_of_this_job(environ, batch, ecs)
        archive = decode(environ, job_tags, definition_tags)
    else:
        raise ConfigurationError(
            f"No WDL source code came with this job, though its command asks for it"
            f" ({WDL_SENTINEL}); submit it with miniwdl-aws-submit."
        )
    path = directory / "shipped.zip"
    path.write_bytes(archive)
    return path


def _tags_of_this_job(
    environ: Mapping[str, str], batch: BatchClient, ecs: Callable[[], EcsClient] | None
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    job_id = workflow_job_id(environ) or ""
    if ecs is not None and is_ecs_task(job_id):
        return _tags_of_task(ecs(), job_id, not environ[TAGS_ENV].endswith(",0"))
    job = batch.describe_jobs([job_id]).get(job_id) if job_id else None
    if job is None:
        raise NotFound(
            "The WDL source code that came with this job is in its tags, but Batch does not know"
            f" the job {job_id or '(AWS_BATCH_JOB_ID is not set)'}; submit it again."
        )
    definition_tags: Mapping[str, str] = {}
    if not environ[TAGS_ENV].endswith(",0"):
        definition = batch.describe_definition(job["jobDefinition"])
        definition_tags = (definition or {}).get("tags") or {}
    return job.get("tags") or {}, definition_tags


def _tags_of_task(
    ecs: EcsClient, arn: str, with_definition: bool
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    task = ecs.describe_tasks(arn.split("/")[-2], [arn]).get(arn)
    if task is None:
        raise NotFound(
            "The WDL source code that came with this job is in its tags, but ECS does not know the"
            f" task {arn}; submit it again."
        )
    definition = ecs.describe_definition(task["taskDefinitionArn"]) if with_definition else None
    return tuple(  # type: ignore[return-value]
        {tag["key"]: tag.get("value", "") for tag in (what or {}).get("tags", [])}
        for what in (task, definition)
    )


def _as_tags(parts: list[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for number, part in enumerate(parts):
        prefix = f"MiniwdlCloudWdl{number:02}-"
        cut = TAG_KEY_MAX - len(prefix)
        tags[prefix + part[:cut]] = part[cut:]
    return tags


def _from_tags(tags: Mapping[str, str], count: int) -> list[str]:
    found: dict[int, str] = {}
    for key, value in tags.items():
        match = _TAG_KEY.fullmatch(key)
        if match:
            found[int(match[1])] = match[2] + value
    if sorted(found) != list(range(count)):
        raise _damaged()
    return [found[number] for number in range(count)]


def _checked(archive: bytes, environ: Mapping[str, str]) -> bytes:
    if hashlib.sha256(archive).hexdigest() != environ.get(HASH_ENV):
        raise _damaged()
    return archive


def _damaged() -> ConfigurationError:
    return ConfigurationError(
        "The WDL source code that came with this job is incomplete or was changed on the way;"
        " submit it again."
    )
