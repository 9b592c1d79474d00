"""Which engine runs a task, where several are deployed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import WDL

from ..fargate_sizes import smallest_size
from ..miniwdl_compat import byte_size
from .task_settings import BATCH, BATCH_ENGINES, BY_NAME, FARGATE, FARGATE_ENGINE

if TYPE_CHECKING:
    from .task_container import SharedTask


@dataclass(frozen=True)
class Demand:
    """What decides whether Fargate can have a task.

    Parameters
    ----------
    vcpus, memory_mib
        What it asks for; the memory is 0 if it does not say.
    is_special
        Whether it needs what Fargate has not: GPUs, privileges.
    """

    vcpus: float
    memory_mib: float
    is_special: bool

    @classmethod
    def of(cls, asked: Mapping[str, WDL.Value.Base]) -> Demand:
        """That of an evaluated runtime section."""
        vcpus, memory = 1.0, 0.0
        if "cpu" in asked:
            vcpus = float(asked["cpu"].coerce(WDL.Type.Float()).value)
        if "memory" in asked:
            memory = byte_size(asked["memory"].coerce(WDL.Type.String()).value) / 2**20
        kind = asked["acceleratorType"].json if "acceleratorType" in asked else ""
        special = any(key in asked and asked[key].json for key in ("gpu", "privileged"))
        return cls(vcpus, memory, special or str(kind).startswith("nvidia"))

    def is_small(self, most_vcpus: float) -> bool:
        """Whether a Fargate size of so many vCPUs holds it."""
        vcpus, memory_mib = smallest_size(self.vcpus, int(self.memory_mib))
        return (
            not self.is_special
            and vcpus <= most_vcpus
            and vcpus >= self.vcpus
            and memory_mib >= self.memory_mib
        )


def choose(default: str, settings: Mapping[str, Any], small_vcpus: float, demand: Demand) -> str:
    """The name of the engine of a task.

    Parameters
    ----------
    default
        ``[scheduler] container_backend``.
    settings
        The task's own: ``engine`` comes before all else. If it is left to size, settings that one
        engine alone has decide before the size does.
    small_vcpus
        ``[aws] small_tasks_on_fargate``.
    """
    if "engine" in settings:
        return str(settings["engine"])
    if small_vcpus <= 0:
        return default
    on_batch = default if default in BATCH_ENGINES else BATCH_ENGINES[0]
    wanted = {BY_NAME[name].on for name in settings if len(BY_NAME[name].on) == 1}
    if (BATCH,) in wanted:
        return on_batch
    if (FARGATE,) in wanted or demand.is_small(small_vcpus):
        return FARGATE_ENGINE
    return on_batch


def engine_class(name: str) -> type[SharedTask]:
    """The class of an engine."""
    # These derive from what asks here.
    from .batch import BatchJobEfs, BatchJobHostMount
    from .fargate import Fargate

    classes: dict[str, type[SharedTask]] = {
        "aws_batch_job": BatchJobEfs,
        "aws_batch_job_no_efs": BatchJobHostMount,
        "aws_fargate": Fargate,
    }
    return classes[name]
