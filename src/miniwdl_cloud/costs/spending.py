"""What the tasks of a process cost so far: a meter a job, and the budget.

Machines and prices are looked up by a thread of its own, many jobs at a time, so that no task waits
long for them; until they are known, and if they never are, the bundled estimate stands in.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import MiniwdlCloudError
from ..jobs.request import Resources
from .machine import (
    FARGATE,
    Machine,
    cluster_of,
    instance_arn_of,
    machine_of_instance,
    machine_of_task,
)
from .prices import PriceBook
from .quote import Quote, estimate, fargate_quote, instance_quote

logger = logging.getLogger("miniwdl-cloud.costs")

COST_TAG = "MiniwdlCloudCostUSD"
"""Tag of the workflow job that has the cost so far, for `miniwdl-cloud status`."""
TAG_PERIOD_S = 60.0
WARN_AT = 0.8
"""Part of the budget at which a warning is logged."""
SETTLE_S = 15.0
"""For how long a job's end waits for its price, unless one came late before."""
PAUSE_S = 600.0
"""For how long machines are not looked up after AWS did not allow it, or did not answer."""

LOOK_UPS_AT_ONCE, LOOK_UP_PERIOD_S = 10, 2.0
"""So many calls for machines may follow each other, and then one in so many seconds: thousands of
short jobs, each on a machine of its own, shall not have a call each. Until its machine is known, a
job has the bundled estimate."""


class MachineSource(Protocol):
    """Where it is said what jobs run on."""

    def instances(self, cluster: str, arns: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """Container instances by ARN, as DescribeContainerInstances shows them."""

    def environment_types(self, queue: str) -> Mapping[str, str]:
        """`computeResources.type` of a job queue's compute environments, by the names of their ECS
        clusters."""

    def tag(self, job_id: str, name: str, value: str) -> None:
        """Set a tag of the workflow job."""


@dataclass
class _Meter:
    """What a job costs."""

    detail: Mapping[str, Any]
    resources: Resources
    queue: str
    since: float
    until: float | None = None
    quote: Quote | None = None
    settled: threading.Event = field(default_factory=threading.Event)

    def cost(self, now: float) -> float:
        if self.quote is None:
            return 0.0
        return self.quote.cost(max(0.0, (now if self.until is None else self.until) - self.since))


class Spending:
    """The costs of a process's jobs.

    Parameters
    ----------
    machines
        Says what jobs run on.
    prices
        What that costs.
    budget
        US dollars after which no task may be submitted; ``None`` for no limit.
    workflow_job
        Id or ARN of the workflow job, which gets the tag `COST_TAG`.
    clock
        Seconds since the epoch.
    settle_s
        Most seconds that a job's end waits for its price.
    """

    def __init__(
        self,
        machines: MachineSource,
        prices: PriceBook,
        budget: float | None = None,
        workflow_job: str | None = None,
        clock: Callable[[], float] = time.time,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._settle_s = settle_s
        self._machines = machines
        self._prices = prices
        self.budget = budget
        self._workflow_job = workflow_job
        self._clock = clock
        self._lock = threading.Lock()
        self._meters: dict[str, _Meter] = {}
        self._ended_usd = 0.0
        self._warned = False
        self._late = False
        self._inbox: queue.SimpleQueue[_Meter | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._instances: dict[str, Mapping[str, Any]] = {}
        self._types: dict[str, str] = {}
        self._queues: set[str] = set()
        self._pause = 0.0
        self._unknown: list[_Meter] = []
        self._look_ups = float(LOOK_UPS_AT_ONCE)
        self._look_ups_at = time.monotonic()
        self._tagged = ""

    # For task threads

    @property
    def closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._closed

    @property
    def total(self) -> float:
        """US dollars so far: of jobs that have ended, and of those that run."""
        now = self._clock()
        with self._lock:
            return self._ended_usd + sum(meter.cost(now) for meter in self._meters.values())

    def began(
        self, job_id: str, detail: Mapping[str, Any], resources: Resources, queue: str
    ) -> None:
        """Take note that a job runs; again, without effect.

        Parameters
        ----------
        detail
            As the queue service shows it.
        resources
            What it reserves.
        queue
            Its job queue, or its cluster and capacity provider.
        """
        self._meter(job_id, detail, resources, queue)
        self._look_at_budget()

    def ended(
        self,
        job_id: str,
        detail: Mapping[str, Any],
        resources: Resources,
        queue: str,
        began: float | None,
        over: float | None,
    ) -> Quote | None:
        """Take note that a job has ended; returns its price, or ``None`` if none can be told.

        Parameters
        ----------
        began, over
            From when to when it ran, in seconds since the epoch; ``None`` if it never did.
        """
        if began is None:
            with self._lock:
                self._meters.pop(job_id, None)
            return None
        meter = self._meter(job_id, detail, resources, queue)
        if meter.detail is not detail and instance_arn_of(meter.detail) != instance_arn_of(detail):
            # It was on no instance yet, or on another one, when it was seen to run.
            meter.detail = detail
            meter.settled.clear()
            self._inbox.put(meter)
        if not meter.settled.wait(0.0 if self._late else self._settle_s):
            self._late = True
        with self._lock:
            meter.since, meter.until = began, over or self._clock()
            self._ended_usd += meter.cost(meter.until)
            self._meters.pop(job_id, None)
        self._look_at_budget()
        return meter.quote

    def exhausted(self) -> str | None:
        """What to tell where the budget is used up; ``None`` while it is not."""
        total = self._look_at_budget()
        if total is None or self.budget is None or total < self.budget:
            return None
        return (
            f"the tasks of this run have cost {dollars(total)}, as estimated, and the budget is"
            f" {dollars(self.budget)} ([aws] budget): no more tasks are submitted; raise it, and"
            " run the workflow again"
        )

    def close(self) -> None:
        """Tell the total, and end the thread."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            logger.info("the tasks cost about %s", dollars(self.total))
            self._inbox.put(None)
            self._thread.join(SETTLE_S)

    def _meter(
        self, job_id: str, detail: Mapping[str, Any], resources: Resources, queue: str
    ) -> _Meter:
        with self._lock:
            meter = self._meters.get(job_id)
            if meter is not None:
                return meter
            meter = _Meter(detail, resources, queue, self._clock())
            meter.quote = estimate(resources, _known(detail))
            self._meters[job_id] = meter
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(
                    target=self._run, name="miniwdl-cloud-costs", daemon=True
                )
                self._thread.start()
        self._inbox.put(meter)
        return meter

    def _look_at_budget(self) -> float | None:
        """What was spent so far, of a budget; ``None`` without one, as it takes a look at every
        job that runs."""
        if self.budget is None:
            return None
        total = self.total
        if total >= WARN_AT * self.budget:
            with self._lock:
                warned, self._warned = self._warned, True
            if not warned:
                logger.warning(
                    "the tasks have cost %s so far, of a budget of %s",
                    dollars(total),
                    dollars(self.budget),
                )
        return total

    # The thread

    def _run(self) -> None:
        next_tag = time.monotonic() + TAG_PERIOD_S
        while True:
            meters: list[_Meter] = []
            try:
                wait = max(0.0, next_tag - time.monotonic())
                if self._unknown:
                    wait = min(wait, LOOK_UP_PERIOD_S)
                first = self._inbox.get(timeout=wait)
                last = first is None
                meters += [first] if first is not None else []
                while not self._inbox.empty():
                    more = self._inbox.get()
                    last = last or more is None
                    meters += [more] if more is not None else []
            except queue.Empty:
                last = False
            try:
                self._settle(meters)
                if last or time.monotonic() >= next_tag:
                    next_tag = time.monotonic() + TAG_PERIOD_S
                    self._tag()
            except Exception:
                # Costs are told where they can be; no task fails for want of them.
                logger.exception("costs could not be looked up")
            finally:
                for meter in meters:
                    meter.settled.set()
            if last:
                return

    def _settle(self, meters: Sequence[_Meter]) -> None:
        # Those that have ended meanwhile have their price.
        waiting = [meter for meter in self._unknown if meter.until is None]
        meters = [*waiting, *meters]
        self._unknown = []
        self._look_up(meters)
        for meter in meters:
            quote = self._quote(meter)
            if quote is not None:
                meter.quote = quote

    def _look_up(self, meters: Sequence[_Meter]) -> None:
        """Find the machines of Batch jobs that are not known yet."""
        if time.monotonic() < self._pause:
            return
        unknown: dict[str, dict[str, None]] = {}
        try:
            for meter in meters:
                cluster, arn = cluster_of(meter.detail), instance_arn_of(meter.detail)
                if cluster is None:
                    continue
                if cluster not in self._types and meter.queue not in self._queues:
                    self._queues.add(meter.queue)
                    self._types.update(self._machines.environment_types(meter.queue))
                if arn is not None and arn not in self._instances:
                    unknown.setdefault(cluster, {})[arn] = None
                    self._unknown.append(meter)
            if not unknown or not self._may_look_up():
                return
            self._unknown = []
            for cluster, arns in unknown.items():
                self._instances.update(self._machines.instances(cluster, list(arns)))
        except MiniwdlCloudError as exn:
            self._pause = time.monotonic() + PAUSE_S
            logger.warning("costs are estimated, as machines cannot be seen: %s", exn.message)

    def _may_look_up(self) -> bool:
        now = time.monotonic()
        refilled = self._look_ups + (now - self._look_ups_at) / LOOK_UP_PERIOD_S
        self._look_ups, self._look_ups_at = min(LOOK_UPS_AT_ONCE, refilled), now
        if self._look_ups < 1:
            return False
        self._look_ups -= 1
        return True

    def _quote(self, meter: _Meter) -> Quote | None:
        machine = self._machine(meter)
        if machine is None:
            return None
        if machine.kind == FARGATE:
            found = self._prices.fargate()
            if found is None:
                return estimate(meter.resources, machine)
            return fargate_quote(meter.resources, machine, *found)
        if machine.instance_type is not None:
            price = self._prices.instance(machine.instance_type, machine.zone, machine.spot is True)
            if price is not None:
                quote = instance_quote(meter.resources, machine, *price)
                if quote is not None:
                    return quote
        return estimate(meter.resources, machine)

    def _machine(self, meter: _Meter) -> Machine | None:
        known = _known(meter.detail)
        cluster = cluster_of(meter.detail)
        kind = self._types.get(cluster or "")
        if known is not None:
            return known if kind is None else Machine(FARGATE, spot=kind == "FARGATE_SPOT")
        if kind is not None and kind.startswith("FARGATE"):
            return Machine(FARGATE, spot=kind == "FARGATE_SPOT")
        instance = self._instances.get(instance_arn_of(meter.detail) or "")
        return None if instance is None else machine_of_instance(instance, kind)

    def _tag(self) -> None:
        value = f"{self.total:.2f}"
        if self._workflow_job is None or value == self._tagged:
            return
        self._tagged = value
        try:
            self._machines.tag(self._workflow_job, COST_TAG, value)
        except MiniwdlCloudError as exn:
            self._workflow_job = None
            logger.warning("`status` will not know what the run costs: %s", exn.message)


def _known(detail: Mapping[str, Any]) -> Machine | None:
    """What a job runs on, where its detail says so."""
    if "taskArn" in detail:
        return machine_of_task(detail)
    fargate = "FARGATE" in (detail.get("platformCapabilities") or ())
    return Machine(FARGATE) if fargate else None


def dollars(value: float) -> str:
    """An amount, to the cent; a small one to the millionth."""
    return f"${value:,.2f}" if value >= 1 else f"${value:.6f}"
