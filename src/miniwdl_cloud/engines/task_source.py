"""Task settings between a task's source code and its engine: checked before a run starts, and read
once its runtime section is evaluated.

miniwdl tells an engine the values of a runtime section, but neither which task it runs nor where in
the source code a value stands, and its hints not at all. Our task plugin adds that, as one more
runtime value.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import WDL

from .. import settings as s
from ..errors import MiniwdlCloudError, UsageError
from .config import EngineSettings
from .task_settings import (
    BY_NAME,
    ENGINES,
    PREFIX,
    Said,
    check,
    check_engine,
    check_mapping,
    from_mapping,
    merge,
)
from .wdl_source import WrittenSetting, called_tasks, written_settings

KEY = "miniwdl_cloud"
"""Of the runtime value that our task plugin adds."""
CALLED = f"[aws] task_settings ({s.TASK_SETTINGS.env})"


@dataclass(frozen=True)
class TaskFacts:
    """What an engine is told of the task that it runs.

    Parameters
    ----------
    task
        Its name in WDL; empty where nobody tells.
    run
        Name of the run's directory.
    hints
        What its hints say in ``aws``.
    positions
        Of its settings in the source code, by section and name.
    """

    task: str = ""
    run: str = ""
    hints: Mapping[str, Any] = field(default_factory=dict)
    positions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """What the configuration says about task settings.

    Parameters
    ----------
    engine
        The engine that runs tasks, unless they say.
    mapping
        ``[aws] task_settings``.
    queues
        The Batch job queues that tasks may use; ``None`` if not known here.
    chooses
        Whether an engine is chosen for each task that does not say.
    """

    engine: str | None = None
    mapping: Mapping[str, Any] = field(default_factory=dict)
    queues: tuple[str, ...] | None = None
    chooses: bool = False


def check_source(task: Any, policy: Policy) -> None:
    """Check what a task's source code says of its settings, as far as that is known before it runs.

    Parameters
    ----------
    task
        miniwdl's.

    Raises
    ------
    UsageError
        With the position.
    """
    said, evaluated = [], set()
    for written in written_settings(task, PREFIX):
        one = _check_written(written)
        if one is not None:
            said.append(one)
        elif not written.is_literal:
            # Perhaps all of them.
            evaluated.add(written.name.removeprefix(PREFIX) or "engine")
    known = merge(said, from_mapping(policy.mapping, task.name, CALLED))
    for name in ("queue", "fallback"):
        if policy.queues is not None and name in known and known[name].value is not False:
            find_queue(known[name], policy.queues)
    engine = known["engine"].value if "engine" in known else policy.engine
    is_certain = "engine" in known or not policy.chooses
    if engine is not None and is_certain and "engine" not in evaluated:
        check_engine(known, engine)


def _check_written(written: WrittenSetting) -> Said | None:
    place = f"{written.position}: {written.section}"
    if not written.name:
        if written.is_literal or written.section == "hints.aws":
            raise UsageError(f"{place} should be an object of task settings; correct it.")
        return None
    place = f"{place}.{written.name}"
    name = written.name
    if not written.section.endswith(".aws"):
        name = name.removeprefix(PREFIX)
    if written.is_literal and written.value is not None:
        return check(name, written.value, place)
    if not written.is_literal and written.section == "hints.aws":
        raise UsageError(
            f"{place} should be a literal, as miniwdl does not evaluate hints; write it in the"
            " runtime or requirements section instead."
        )
    check_name(name, place)
    return None


def check_name(name: str, place: str) -> None:
    """Refuse what is not a task setting.

    Raises
    ------
    UsageError
        There is no such setting.
    """
    if name not in BY_NAME:
        check(name, None, place)


def find_queue(said: Said, queues: Sequence[str]) -> str:
    """A job queue as the configuration spells it: by name or by ARN.

    Raises
    ------
    UsageError
        The configuration does not name it.
    """
    wanted = said.value.rpartition("/")[2]
    for queue in queues:
        if queue.rpartition("/")[2] == wanted:
            return queue
    raise UsageError(
        f"{said.place} names the job queue {said.value}, which tasks may not use; add it to [aws]"
        f" task_queues ({s.TASK_QUEUES.env})."
    )


def read(asked: dict[str, WDL.Value.Base], mapping: Mapping[str, Any]) -> TaskSettings:
    """What an evaluated runtime section says, and what is known of its task.

    Parameters
    ----------
    asked
        miniwdl's; what is a task setting is taken out of it.
    mapping
        ``[aws] task_settings``, which comes before what the task says.

    Raises
    ------
    UsageError
        It is wrong; with the position, where that is known.
    """
    facts = TaskFacts()
    if KEY in asked:
        facts = TaskFacts(**json.loads(asked.pop(KEY).json))
    flat = {key: asked.pop(key).json for key in list(asked) if key.startswith(PREFIX)}
    whole = asked.pop("aws").json if "aws" in asked else {}
    if not isinstance(whole, dict):
        raise UsageError(f"{_place(facts, 'aws', '')} should be an object of task settings.")
    said = merge(
        _said(facts, "", {key.removeprefix(PREFIX): value for key, value in flat.items()}),
        _said(facts, "aws", whole),
        _said(facts, "hints.aws", facts.hints),
        from_mapping(mapping, facts.task, CALLED),
    )
    return TaskSettings(facts, said)


def _said(facts: TaskFacts, section: str, values: Mapping[str, Any]) -> list[Said]:
    return [
        check(name, value, _place(facts, section, name))
        for name, value in values.items()
        if value is not None
    ]


def _place(facts: TaskFacts, section: str, name: str) -> str:
    sections = ["hints.aws"]
    if section != "hints.aws":
        # `aws` and keys beside it are in a section that has two names.
        sections = [f"{kind}.{section}".rstrip(".") for kind in ("runtime", "requirements")]
    key = name if section else PREFIX + name
    for each in sections:
        for full in (f"{each}.{key}".rstrip("."), each):
            if full in facts.positions:
                return f"{facts.positions[full]}: {each}.{key}".rstrip(".")
    return f"{sections[0]}.{key}".rstrip(".")


@dataclass(frozen=True)
class TaskSettings:
    """The settings of one task.

    Parameters
    ----------
    facts
        The task.
    said
        Its settings by name, checked.
    """

    facts: TaskFacts = field(default_factory=TaskFacts)
    said: Mapping[str, Said] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """The value of a setting; ``None`` if nobody says."""
        return self.said[name].value if name in self.said else None

    @property
    def values(self) -> dict[str, Any]:
        """All that is said, by name."""
        return {name: said.value for name, said in self.said.items()}


def settings_of(settings: EngineSettings, task: TaskSettings) -> EngineSettings:
    """An engine's settings as they are for one task.

    Raises
    ------
    UsageError
        The task may not use the job queue that it names.
    """
    changes: dict[str, Any] = {}
    for name, changed in (("queue", "task_queue"), ("fallback", "task_queue_fallback")):
        said = task.said.get(name)
        if said is not None:
            value = find_queue(said, settings.queues) if said.value is not False else None
            changes[changed] = value
    if task.get("timeout") is not None:
        changes["job_timeout_s"] = task.get("timeout")
    return replace(settings, **changes)


# miniwdl's plugins


def workflow(
    cfg: Any,
    logger: logging.Logger,
    run_id: Sequence[str],
    run_dir: str,
    workflow: Any,
    **recv: Any,
) -> Generator[dict[str, Any], dict[str, Any], None]:
    """miniwdl's workflow plugin: checks the settings of all tasks before the first of them runs."""
    with _as_runtime_error():
        policy = policy_of(cfg)
        if policy is not None and len(run_id) == 1:
            for each in called_tasks(workflow):
                check_source(each, policy)
    recv = yield recv
    yield recv


def task(
    cfg: Any, logger: logging.Logger, run_id: Sequence[str], run_dir: str, task: Any, **recv: Any
) -> Generator[dict[str, Any], dict[str, Any], None]:
    """miniwdl's task plugin: tells our engines which task they run, and its hints."""
    with _as_runtime_error():
        policy = policy_of(cfg)
        if policy is not None and len(run_id) == 1:
            check_source(task, policy)
    if policy is not None:
        facts = facts_of(task, run_id, run_dir)
        told = WDL.Value.String(json.dumps(facts.__dict__))
        recv["inputs"] = recv["inputs"].bind(f"runtime.{KEY}", told)
    recv = yield recv
    recv = yield recv
    yield recv


@contextlib.contextmanager
def _as_runtime_error() -> Iterator[None]:
    try:
        yield
    except MiniwdlCloudError as exn:
        raise WDL.Error.RuntimeError(exn.message) from exn


def facts_of(task: Any, run_id: Sequence[str], run_dir: str) -> TaskFacts:
    """What the engine of a task is told.

    Parameters
    ----------
    run_id
        miniwdl's run ids of the run and of all calls down to this one.
    run_dir
        The task's own: one directory a call below the run's.
    """
    path, depth = Path(run_dir), len(run_id) - 1
    if depth and run_id[-1].startswith("download-"):
        # miniwdl downloads into ``download/N`` of the call that needs it.
        path, depth = path.parents[1], depth - 1
    whole = path.parents[depth - 1] if depth else path
    written = written_settings(task, PREFIX)
    hints = {w.name: w.value for w in written if w.section == "hints.aws"}
    positions = {f"{w.section}.{w.name}".rstrip("."): w.position for w in written}
    return TaskFacts(task.name, whole.name, hints, positions)


def policy_of(cfg: Any) -> Policy | None:
    """What miniwdl's configuration says of task settings; ``None`` if no engine of ours runs."""
    engine = cfg.get("scheduler", "container_backend")
    if engine not in ENGINES:
        return None
    found = s.Settings(lambda sec, key: cfg.get(sec, key) if cfg.has_option(sec, key) else None)
    return policy_from(found, engine)


def policy_from(found: s.Settings, engine: str | None) -> Policy:
    """The policy that settings make.

    Raises
    ------
    UsageError
        A setting is wrong.
    """
    mapping = found.get(s.TASK_SETTINGS)
    check_mapping(mapping, CALLED)
    named = [found.get(s.TASK_QUEUE), found.get(s.TASK_QUEUE_FALLBACK)]
    queues = tuple(q for q in (*named, *s.names(found.get(s.TASK_QUEUES))) if q)
    return Policy(
        engine,
        mapping,
        # The tags of a queue may still say.
        queues if named[0] else None,
        found.get(s.SMALL_TASKS_ON_FARGATE) > 0,
    )
