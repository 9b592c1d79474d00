"""ECS's eventual consistency: answers that lack what is new, or are older than they should be."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ..faults.injector import FaultInjector
from .base import missing

Params = dict[str, Any]
Serve = Callable[[str, Params], Params]

DEFAULT_S = 5.0
REMEMBERED = 64
"""Answers kept of each task."""


class EcsConsistency:
    """Stands before the ECS service.

    Parameters
    ----------
    injector
        Says what goes wrong.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self, injector: FaultInjector, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._injector = injector
        self._clock = clock
        self._lock = threading.Lock()
        self._hidden: dict[str, dict[str, float]] = {"submitted": {}, "listed": {}}
        self._names: dict[str, str] = {}
        self._seen: dict[str, deque[tuple[float, Params]]] = {}

    def call(self, operation: str, params: Params, serve: Serve) -> Params:
        """Answer a call.

        Raises
        ------
        ApiError
            The service refuses it.
        """
        answer = serve(operation, params)
        if operation == "RunTask":
            for task in answer["tasks"]:
                self._placed(task)
        elif operation == "DescribeTasks":
            tasks: list[Params] = []
            hidden: list[Params] = []
            for task in self._described(answer["tasks"]):
                (hidden if self._hides("submitted", task["taskArn"]) else tasks).append(task)
            failures = [missing(task["taskArn"]) for task in hidden]
            return {**answer, "tasks": tasks, "failures": answer["failures"] + failures}
        elif operation == "ListTasks":
            arns = [arn for arn in answer["taskArns"] if not self._hides("listed", arn)]
            return {**answer, "taskArns": arns}
        return answer

    def _placed(self, task: Params) -> None:
        arn = task["taskArn"]
        names = {tag["key"]: tag["value"] for tag in task["tags"]}
        with self._lock:
            if arn in self._names:
                return
            self._names[arn] = names.get("Name") or task["group"]
        for moment, hidden in self._hidden.items():
            fault = self._injector.choose(moment, self._facts(task))
            if fault is not None:
                seconds = fault.rule.seconds
                with self._lock:
                    hidden[arn] = self._clock() + (DEFAULT_S if seconds is None else seconds)

    def _facts(self, task: Params) -> Params:
        cluster = task["clusterArn"].rpartition("/")[2]
        return {"name": self._names.get(task["taskArn"], ""), "queue": cluster}

    def _described(self, tasks: Iterable[Params]) -> Iterable[Params]:
        for task in tasks:
            fault = self._injector.choose("described", self._facts(task))
            seconds = fault.rule.seconds if fault is not None else 0.0
            yield self._as_of(task, DEFAULT_S if seconds is None else seconds)

    def _as_of(self, task: Params, age_s: float) -> Params:
        """The task as it was described some seconds ago, or when it was first described."""
        if not self._injector.may("described"):
            return task
        now = self._clock()
        with self._lock:
            seen = self._seen.setdefault(task["taskArn"], deque(maxlen=REMEMBERED))
            seen.append((now, task))
            old = [shown for at, shown in seen if at <= now - age_s]
            return old[-1] if old else seen[0][1]

    def _hides(self, moment: str, arn: str) -> bool:
        with self._lock:
            return self._hidden[moment].get(arn, 0.0) > self._clock()
