"""What our engines read of a task's runtime section beside what miniwdl itself does."""

from __future__ import annotations

import logging
from typing import Any

import WDL

from ..miniwdl_compat import log_message as _
from .config import EngineSettings
from .isolation import STRICT, check_privileges, isolation_of
from .task_source import TaskSettings


def note_accelerators(
    asked: dict[str, WDL.Value.Base], runtime: dict[str, Any], logger: logging.Logger
) -> None:
    """Put ``acceleratorType`` and ``acceleratorCount`` into a task's runtime values.

    Parameters
    ----------
    asked
        Its runtime section.
    runtime
        miniwdl's `runtime_values`.
    """
    if "acceleratorType" in asked:
        kind = asked["acceleratorType"]
        if not isinstance(kind, WDL.Value.String):
            raise WDL.Error.RuntimeError("runtime.acceleratorType should be a String")
        runtime["acceleratorType"] = kind.value
        if kind.value.startswith("nvidia"):
            runtime["gpu"] = True
        else:
            logger.warning(_("no such accelerator on AWS Batch", acceleratorType=kind.value))
    if "acceleratorCount" in asked:
        count = asked["acceleratorCount"]
        if not isinstance(count, WDL.Value.Int):
            raise WDL.Error.RuntimeError("runtime.acceleratorCount should be an Int")
        runtime["acceleratorCount"] = count.value


def note_settings(task: TaskSettings, runtime: dict[str, Any]) -> None:
    """Put a task's settings into its runtime values: ``aws``, and what miniwdl's own keys mean the
    same as."""
    if task.said:
        runtime["aws"] = task.values
    storage = task.get("ephemeral_storage_gib")
    if storage is not None:
        runtime["disks_gib"] = storage


def note_isolation(
    asked: dict[str, WDL.Value.Base], runtime: dict[str, Any], settings: EngineSettings
) -> None:
    """Put into a task's runtime values how it is isolated.

    Parameters
    ----------
    asked
        Its runtime section.
    runtime
        miniwdl's `runtime_values`, with its settings in ``aws``.
    settings
        The engine's.

    Raises
    ------
    UsageError, ConfigurationError
        As of `isolation_of` and `check_privileges`.
    """
    wanted = {"isolation": asked["isolation"].json} if "isolation" in asked else {}
    wanted["aws"] = runtime.get("aws", {})
    runtime["isolation"] = isolation_of(wanted, settings.isolation)
    if runtime["isolation"] == STRICT:
        check_privileges(runtime, settings.container_properties_dict)
