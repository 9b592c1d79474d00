"""A workflow's tasks: could each ever start on the queues that are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import WDL

from .. import settings as s
from ..aws.ec2 import instance_types
from ..costs.quote import estimate
from ..engines.limits import MANAGED_SETS, Limits, queue_limits
from ..engines.task_job import DEFAULT_IMAGE, MIN_MEMORY_MIB
from ..jobs.request import Resources
from ..miniwdl_compat import byte_size
from .facts import Facts, environments_of, is_fargate, resources_of
from .finding import Finding, Level, ok, problem, warning


@dataclass(frozen=True)
class Wish:
    """What a task asks for, as far as it can be told before the run.

    Parameters
    ----------
    where
        The task, and where it is written.
    vcpus, memory_mib, gpu, image
        ``None`` where it depends on what is not known yet.
    """

    where: str
    vcpus: float | None
    memory_mib: int | None
    gpu: bool | None
    image: str | None


def check_workflow(facts: Facts, wdl: str, inputs: Sequence[str]) -> Iterator[Finding]:
    """The tasks of a WDL file.

    Parameters
    ----------
    wdl
        Path or URL of it.
    inputs
        ``name=value``, as for `miniwdl run`.
    """
    try:
        document = WDL.load(wdl)
    except (WDL.Error.SyntaxError, WDL.Error.ImportError, WDL.Error.ValidationError) as exn:
        yield problem(
            "wdl-invalid",
            f"{wdl} cannot be read: {exn}",
            "The run would not begin.",
            "Correct it; `miniwdl check` shows all that is wrong.",
        )
        return
    except WDL.Error.MultipleValidationErrors as exn:
        yield problem(
            "wdl-invalid",
            f"{wdl} cannot be read: {exn.exceptions[0]}",
            "The run would not begin.",
            "Correct it; `miniwdl check` shows all that is wrong.",
        )
        return
    queue = facts.settings.get(s.TASK_QUEUE)
    described = facts.task_queues.get(queue or "")
    if described is None:
        return  # said by another check
    limits = queue_limits(facts.session, facts.batch, described["jobQueueArn"])
    has_gpu = _has_gpu(facts, described)
    for wish in wishes(document, inputs):
        yield from _check(facts, wish, queue, limits, has_gpu)


def wishes(document: WDL.Document, inputs: Sequence[str]) -> list[Wish]:
    """What the tasks ask for that a workflow calls, or that there are if there is no workflow."""
    given = dict(text.split("=", 1) for text in inputs if "=" in text)
    if document.workflow is None:
        return [_wish(task, given) for task in document.tasks]
    found: dict[str, Wish] = {}
    _walk(document.workflow, found)
    return list(found.values())


def _walk(workflow: WDL.Workflow, found: dict[str, Wish]) -> None:
    def visit(nodes: Sequence[Any]) -> None:
        for node in nodes:
            if isinstance(node, WDL.Call):
                callee = node.callee
                if isinstance(callee, WDL.Workflow):
                    _walk(callee, found)
                elif callee is not None:
                    literal = {name: _literal(expr) for name, expr in node.inputs.items()}
                    wish = _wish(callee, {k: v for k, v in literal.items() if v is not None})
                    found.setdefault(wish.where, wish)
            visit(getattr(node, "body", ()))

    visit(workflow.body)


def _wish(task: WDL.Task, given: Mapping[str, Any]) -> Wish:
    environment: WDL.Env.Bindings[Any] = WDL.Env.Bindings()
    library = WDL.StdLib.Base(task.effective_wdl_version)
    for declaration in [*(task.inputs or ()), *task.postinputs]:
        value = None
        if declaration.name in given:
            value = _convert(declaration.type, given[declaration.name])
        elif declaration.expr is not None:
            value = _evaluated(declaration.expr, environment, library)
        if value is not None:
            environment = environment.bind(declaration.name, value)

    def runtime(*names: str) -> Any:
        for name in names:
            if name in task.runtime:
                value = _evaluated(task.runtime[name], environment, library)
                return (value.json if value is not None else None), True
        return None, False

    cpu, has_cpu = runtime("cpu")
    memory, has_memory = runtime("memory")
    gpu, has_gpu = runtime("gpu")
    image, has_image = runtime("container", "docker")
    if isinstance(image, list):
        image = image[0] if image else None
    return Wish(
        f"{task.name} ({Path(task.pos.uri).name}:{task.pos.line})",
        float(cpu) if cpu is not None else None if has_cpu else 1.0,
        _mib(memory) if has_memory else 0,
        bool(gpu) if gpu is not None else None if has_gpu else False,
        str(image) if image is not None else None if has_image else DEFAULT_IMAGE,
    )


def _check(
    facts: Facts, wish: Wish, queue: str, limits: Limits, has_gpu: bool | None
) -> Iterator[Finding]:
    sound = True
    if (wish.vcpus or 0) > limits.vcpus or (wish.memory_mib or 0) > limits.memory_mib:
        sound = False
        yield warning(
            "task-too-large",
            f"The task {wish.where} asks for {wish.vcpus:g} vCPUs and {wish.memory_mib} MiB; the"
            f" largest machine of {queue} has {limits.vcpus} vCPUs and {limits.memory_mib} MiB.",
            "It is rounded down to that, and may run out of memory.",
            "Add larger instance types to the compute environments, or ask for less.",
        )
    if wish.gpu and has_gpu is False:
        sound = False
        yield problem(
            "task-without-gpu",
            f"The task {wish.where} asks for a GPU; no instance type of {queue} has one.",
            "Its job would wait for ever.",
            "Deploy with --gpu, or send the task to a queue that has GPUs.",
        )
    if wish.image is not None and facts.aws.has_image(wish.image) is False:
        sound = False
        yield problem(
            "task-image-missing",
            f"There is no image {wish.image} in Amazon ECR, of the task {wish.where}.",
            "Its container cannot be started.",
            "Push the image, or correct its name in the task.",
        )
    unknown = [
        name
        for name, value in (
            ("cpu", wish.vcpus),
            ("memory", wish.memory_mib),
            ("gpu", wish.gpu),
            ("container", wish.image),
        )
        if value is None
    ]
    if unknown:
        yield Finding(
            "task",
            Level.UNKNOWN,
            f"What the task {wish.where} asks for as {', '.join(unknown)} follows from inputs.",
        )
    elif sound:
        yield ok("task", f"The task {wish.where} can start on {queue}{_an_hour(wish)}.")


def _an_hour(wish: Wish) -> str:
    """What an hour of a task costs, as far as it can be told before it has a machine."""
    memory = wish.memory_mib or MIN_MEMORY_MIB
    quote = estimate(Resources(wish.vcpus or 1, memory, int(bool(wish.gpu))))
    if quote is None:
        return ""
    return f"; an hour of it costs about ${quote.usd_per_hour:.3f} on demand ({quote.source})"


def _has_gpu(facts: Facts, queue: dict[str, Any]) -> bool | None:
    """Whether a queue has instance types with GPUs; ``None`` if it cannot be told."""
    names: set[str] = set()
    for arn in environments_of(queue):
        environment = facts.environments.get(arn)
        if environment is not None and not is_fargate(environment):
            names.update(resources_of(environment).get("instanceTypes") or ())
    # What Batch chooses by itself has no GPUs (Batch user guide, "Compute environment parameters").
    found = instance_types(facts.session, sorted(names.difference(MANAGED_SETS)))
    return any(item.gpus for item in found)


def _evaluated(expr: Any, environment: Any, library: Any) -> Any:
    """The value of an expression, or ``None`` if it depends on what is not known."""
    try:
        value = expr.eval(environment, library)
    except (WDL.Error.RuntimeError, KeyError, NotImplementedError, AttributeError):
        return None
    return None if isinstance(value, WDL.Value.Null) else value


def _literal(expr: Any) -> Any:
    found = _evaluated(expr, WDL.Env.Bindings(), WDL.StdLib.Base("1.1"))
    return None if found is None else found.json


def _convert(kind: WDL.Type.Base, value: Any) -> Any:
    text = str(value)
    try:
        if isinstance(kind, WDL.Type.Int):
            return WDL.Value.Int(int(text))
        if isinstance(kind, WDL.Type.Float):
            return WDL.Value.Float(float(text))
        if isinstance(kind, WDL.Type.Boolean):
            return WDL.Value.Boolean(text.lower() == "true")
    except ValueError:
        return None
    return WDL.Value.String(text) if isinstance(kind, WDL.Type.String) else None


def _mib(memory: Any) -> int | None:
    if memory is None:
        return None
    try:
        return byte_size(str(memory)) // 2**20
    except WDL.Error.RuntimeError:
        return None
