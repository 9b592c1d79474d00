"""What a task can ask for by itself: each setting once, and how they are read.

A task says them in ``runtime { aws: object { … } }``, as keys ``aws_…`` of its runtime section, or
in ``hints { aws: object { … } }`` (WDL 1.2); ``[aws] task_settings`` says them for tasks by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ..errors import UsageError

BATCH, FARGATE = "Batch", "Fargate"
BATCH_ENGINES = ("aws_batch_job", "aws_batch_job_no_efs")
FARGATE_ENGINE = "aws_fargate"
ENGINES = (*BATCH_ENGINES, FARGATE_ENGINE)
PREFIX = "aws_"
"""Of a setting as a key of the runtime section."""
BATCH_TIMEOUT_S = 60
"""Least timeout of a Batch job (API reference, JobTimeout)."""
SHARE = re.compile(r"[A-Za-z0-9]{1,255}\*?")
"""API reference, SubmitJob, `shareIdentifier`."""
ULIMITS = frozenset(
    ("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc")
    + ("rss", "rtprio", "rttime", "sigpending", "stack")
)
"""API reference, Ulimit, `name`; the same for ECS."""
TAGS_MOST = 40
"""A Batch job and an ECS task have 50 tags at most (API references, SubmitJob and RunTask); some
are ours."""


def family(engine: str) -> str:
    """Where an engine runs tasks: `BATCH` or `FARGATE`."""
    return FARGATE if engine == FARGATE_ENGINE else BATCH


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _whole(least: int, most: int | None = None) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return least <= value and (most is None or value <= most)

    return fits


def _is_limit(value: Any) -> bool:
    limits = value if isinstance(value, list) and len(value) == 2 else [value, value]
    return all(_whole(0)(limit) for limit in limits) and limits[0] <= limits[1]


def _are_ulimits(value: Any) -> bool:
    return isinstance(value, dict) and set(value) <= ULIMITS and all(map(_is_limit, value.values()))


def _are_tags(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= TAGS_MOST
        and all(0 < len(name) <= 128 and not name.lower().startswith("aws:") for name in value)
        and all(isinstance(text, str) and len(text) <= 256 for text in value.values())
    )


@dataclass(frozen=True)
class TaskSetting:
    """One setting of a task.

    Parameters
    ----------
    name, wdl_type
        As WDL has them.
    should
        What its value has to be, after "should be".
    help
        What it does, with units.
    fits
        Whether a JSON value is one of its values.
    on
        Where it takes effect: `BATCH`, `FARGATE` or both.
    why_not
        Why it does not take effect elsewhere, and what to do.
    """

    name: str
    wdl_type: str
    should: str
    help: str
    fits: Callable[[Any], bool] = field(repr=False)
    on: tuple[str, ...] = (BATCH, FARGATE)
    why_not: str = ""


_ON_BATCH = "run the task with the engine aws_batch_job, or take it out"

SETTINGS: tuple[TaskSetting, ...] = (
    TaskSetting(
        "engine",
        "String",
        f"one of {', '.join(ENGINES)}",
        "engine that runs the task",
        lambda value: value in ENGINES,
    ),
    TaskSetting(
        "queue",
        "String",
        "the name of a job queue",
        "Batch job queue: `[aws] task_queue`, `task_queue_fallback`, or one of `task_queues`",
        _text,
        (BATCH,),
        f"ECS has no job queues; {_ON_BATCH}",
    ),
    TaskSetting(
        "fallback",
        "String or Boolean",
        "the name of a job queue, or false",
        "Batch job queue after `preemptible` interruptions, as of `queue`; false for none",
        lambda value: value is False or _text(value),
        (BATCH,),
        f"ECS has no job queues; {_ON_BATCH}",
    ),
    TaskSetting(
        "timeout",
        "Int",
        "a number of seconds above 0",
        "seconds an attempt may run; 60 at least on Batch",
        _whole(1),
    ),
    TaskSetting(
        "share_identifier",
        "String",
        "up to 255 letters and digits, perhaps with a * after them",
        "share of a job queue with a fair-share policy",
        lambda value: isinstance(value, str) and bool(SHARE.fullmatch(value)),
        (BATCH,),
        f"ECS has no fair-share policies; {_ON_BATCH}",
    ),
    TaskSetting(
        "scheduling_priority",
        "Int",
        "a number from 0 to 9999",
        "priority within the share identifier, the highest first",
        _whole(0, 9999),
        (BATCH,),
        f"ECS has no scheduling priorities; {_ON_BATCH}",
    ),
    TaskSetting(
        "ephemeral_storage_gib",
        "Int",
        "a number from 21 to 200",
        "GiB of the task's own disk; comes before `disks`",
        _whole(21, 200),
        (FARGATE,),
        "the disk of a Batch job is its instance's, which the launch template of the compute"
        " environment makes; name a queue with larger disks in `queue`, or take it out",
    ),
    TaskSetting(
        "shared_memory_mib",
        "Int",
        "a number of MiB above 0",
        "MiB of /dev/shm",
        _whole(1),
        (BATCH,),
        f"Fargate does not let a task choose the size of /dev/shm; {_ON_BATCH}",
    ),
    TaskSetting(
        "ulimits",
        "Object",
        "an object of limits by name, each a number or [soft, hard]",
        "resource limits, such as `object { nofile: 65536 }`; on Fargate `nofile` only",
        _are_ulimits,
    ),
    TaskSetting(
        "tags",
        "Object",
        f"an object of at most {TAGS_MOST} texts, whose names do not begin with aws:",
        "further tags of the task's job, beside `[aws] job_tags`",
        _are_tags,
    ),
    TaskSetting(
        "isolation",
        "String",
        '"shared" or "strict"',
        "what the task sees of the shared filesystem; never more than `[aws] isolation` allows",
        lambda value: value in ("shared", "strict"),
    ),
    TaskSetting(
        "array",
        "Boolean",
        "true or false",
        "whether the task may become part of a Batch array job",
        lambda value: isinstance(value, bool),
        (BATCH,),
        f"ECS has no array jobs; {_ON_BATCH}",
    ),
)
BY_NAME: Mapping[str, TaskSetting] = {setting.name: setting for setting in SETTINGS}
UNAVAILABLE: Mapping[str, str] = {
    "instance_types": "AWS Batch chooses instances by the compute environments of a job queue, not"
    " by the job; name a queue with the instance types you want in `queue`"
}
"""What people look for here, and why it is not to be had."""


@dataclass(frozen=True)
class Said:
    """One setting, and who says it.

    Parameters
    ----------
    place
        For a person, such as ``align.wdl:12:5: runtime.aws.queue``.
    """

    name: str
    value: Any
    place: str


def check(name: str, value: Any, place: str) -> Said:
    """A setting that was said somewhere, checked by itself.

    Raises
    ------
    UsageError
        There is no such setting, or the value is none of its values.
    """
    if name in UNAVAILABLE:
        raise UsageError(f"{place} is not to be had: {UNAVAILABLE[name]}.")
    setting = BY_NAME.get(name)
    if setting is None:
        raise UsageError(f"{place} is not a task setting; known are {', '.join(BY_NAME)}.")
    if not setting.fits(value):
        raise UsageError(f"{place} should be {setting.should}; correct it.")
    return Said(name, value, place)


def check_engine(said: Mapping[str, Said], engine: str) -> None:
    """Refuse what an engine cannot do.

    Raises
    ------
    UsageError
        With the reason.
    """
    where = family(engine)
    for name, one in said.items():
        setting = BY_NAME[name]
        if where not in setting.on:
            raise UsageError(
                f"{one.place} has no effect with the engine {engine}: {setting.why_not}."
            )
    timeout, ulimits = said.get("timeout"), said.get("ulimits")
    if where == BATCH and timeout and timeout.value < BATCH_TIMEOUT_S:
        raise UsageError(
            f"{timeout.place} should be {BATCH_TIMEOUT_S} at least, the shortest timeout of a Batch"
            " job; correct it."
        )
    if where == FARGATE and ulimits and set(ulimits.value) - {"nofile"}:
        raise UsageError(
            f"{ulimits.place} can set nofile only with the engine {engine}, as Fargate leaves the"
            " other limits to the operating system; take these out."
        )


def check_mapping(mapping: Mapping[str, Any], called: str) -> None:
    """Check ``[aws] task_settings``.

    Raises
    ------
    UsageError
        It is not an object of objects of settings.
    """
    for pattern, settings in mapping.items():
        if not isinstance(settings, Mapping):
            raise UsageError(f"{called}: {pattern} should be an object of task settings.")
        for name, value in settings.items():
            check(name, value, f"{called}: {pattern}.{name}")


def from_mapping(mapping: Mapping[str, Any], task: str, called: str) -> list[Said]:
    """What ``[aws] task_settings`` says of a task; of several patterns that fit, the later counts.

    Parameters
    ----------
    task
        The task's name in WDL; patterns have ``*``, ``?`` and ``[…]``.
    """
    return [
        Said(name, value, f"{called}: {pattern}.{name}")
        for pattern, settings in mapping.items()
        if fnmatchcase(task, pattern)
        for name, value in settings.items()
    ]


def merge(*ranks: Iterable[Said]) -> dict[str, Said]:
    """Settings by name; later ranks count."""
    return {one.name: one for rank in ranks for one in rank}


def table() -> str:
    """The settings as a table in Markdown, for docs/task-settings.md."""
    lines = ["| setting | type | Batch | Fargate | what it does |", "|---|---|---|---|---|"]
    for setting in SETTINGS:
        marks = ["yes" if where in setting.on else "refused" for where in (BATCH, FARGATE)]
        cells = [f"`{setting.name}`", setting.wdl_type, *marks, setting.help]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ulimits_of(value: Mapping[str, int | Sequence[int]]) -> list[dict[str, Any]]:
    """``ulimits`` as Batch and ECS spell them."""
    ans = []
    for name, limit in sorted(value.items()):
        soft, hard = limit if isinstance(limit, list) else (limit, limit)
        ans.append({"name": name, "softLimit": soft, "hardLimit": hard})
    return ans


def canonical(value: Any) -> str:
    """The one JSON text of a value."""
    return json.dumps(value, sort_keys=True)
