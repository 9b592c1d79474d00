"""Faults of RunTask's placement: `failures` in place of tasks."""

from __future__ import annotations

from .endings import NOT_PLACED
from .injector import FaultInjector


class PlacementFaults:
    """What the plan has in store for tasks that are to be placed.

    Parameters
    ----------
    injector
        Holds the plan.
    """

    def __init__(self, injector: FaultInjector) -> None:
        self._injector = injector

    def refused(self, name: str, cluster: str, provider: str) -> str | None:
        """The reason in RunTask's ``failures``; `None` if the task is placed."""
        facts = {"name": name, "queue": cluster, "provider": provider}
        fault = self._injector.choose("placed", facts)
        return NOT_PLACED[fault.rule.spelling] if fault is not None else None
