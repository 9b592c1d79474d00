"""ECS's eventual consistency: answers that lack what is new, or are older than they should be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ..faults.consistency import Lag
from ..faults.injector import FaultInjector
from .base import missing

Params = dict[str, Any]
Serve = Callable[[str, Params], Params]


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
        self._lag = Lag(injector, clock)
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}

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
            for task in answer["tasks"]:
                arn = task["taskArn"]
                shown = self._lag.described(arn, task, self._facts(task))
                (hidden if self._lag.hides("submitted", arn) else tasks).append(shown)
            failures = [missing(task["taskArn"]) for task in hidden]
            return {**answer, "tasks": tasks, "failures": answer["failures"] + failures}
        elif operation == "ListTasks":
            arns = [arn for arn in answer["taskArns"] if not self._lag.hides("listed", arn)]
            return {**answer, "taskArns": arns}
        return answer

    def _placed(self, task: Params) -> None:
        arn = task["taskArn"]
        names = {tag["key"]: tag["value"] for tag in task["tags"]}
        with self._lock:
            if arn in self._names:
                return
            self._names[arn] = names.get("Name") or task["group"]
        for moment in ("submitted", "listed"):
            self._lag.hide(moment, arn, self._facts(task))

    def _facts(self, task: Params) -> Params:
        cluster = task["clusterArn"].rpartition("/")[2]
        return {"name": self._names.get(task["taskArn"], ""), "queue": cluster}
