"""What a job costs an hour: pure functions over machines and prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..aws.pricing import BUNDLED, FargatePrices
from ..jobs.request import Resources
from .machine import ARM, FARGATE, Machine

FARGATE_MINIMUM_S = 60.0
"""Fargate bills a minute at least (AWS Fargate pricing, "Duration")."""
FARGATE_INCLUDED_GIB = 20
"""Ephemeral storage that is included (AWS Fargate pricing)."""
FARGATE_SPOT_SHARE = 0.3
"""Fargate Spot's part of the list price: AWS says "up to 70% off" (AWS Fargate pricing), and its
price list does not have the prices that change."""


@dataclass(frozen=True)
class Quote:
    """The price of a job.

    Parameters
    ----------
    usd_per_hour
        Of its share of the machine.
    source
        Where that is from.
    machine
        What it runs on, where known.
    """

    usd_per_hour: float
    source: str
    machine: Machine | None = None

    def cost(self, seconds: float) -> float:
        """In US dollars, for so long."""
        least = FARGATE_MINIMUM_S if self.machine and self.machine.kind == FARGATE else 0.0
        return max(seconds, least) / 3600 * self.usd_per_hour

    def as_json(self) -> dict[str, Any]:
        """For the file that keeps a job's detail."""
        return {
            "usdPerHour": self.usd_per_hour,
            "source": self.source,
            **({"machine": self.machine.as_json()} if self.machine else {}),
        }


def share_of(resources: Resources, machine: Machine) -> float | None:
    """The part of an instance that a job takes from others: the larger of its shares of vCPUs,
    memory and GPUs; ``None`` where the instance's size is not known."""
    if not machine.vcpus or not machine.memory_mib:
        return None
    shares = [resources.vcpus / machine.vcpus, resources.memory_mib / machine.memory_mib]
    if resources.gpus and machine.gpus:
        shares.append(resources.gpus / machine.gpus)
    return min(1.0, max(shares))


def instance_quote(
    resources: Resources, machine: Machine, usd_per_hour: float, source: str
) -> Quote | None:
    """The price of a job on an EC2 instance.

    Parameters
    ----------
    usd_per_hour, source
        Of the whole instance.
    """
    share = share_of(resources, machine)
    return None if share is None else Quote(share * usd_per_hour, source, machine)


def fargate_quote(
    resources: Resources, machine: Machine, prices: FargatePrices, source: str
) -> Quote:
    """The price of a job on Fargate."""
    arm = (machine.architecture or "").lower() == ARM
    vcpu = prices.arm_vcpu_hour if arm else prices.vcpu_hour
    gib = prices.arm_gib_hour if arm else prices.gib_hour
    hourly = resources.vcpus * vcpu + resources.memory_mib / 1024 * gib
    if machine.spot:
        hourly *= FARGATE_SPOT_SHARE
        source += f", Spot taken for {FARGATE_SPOT_SHARE:.0%} of it"
    extra = max(0, resources.storage_gib - FARGATE_INCLUDED_GIB)
    return Quote(hourly + extra * prices.storage_gib_hour, source, machine)


def estimate(resources: Resources, machine: Machine | None = None) -> Quote | None:
    """The price of a job by the bundled table: what an On-Demand instance with as much memory a
    vCPU as usual would cost. ``None`` for GPUs, as no family can stand for those that have them."""
    source = f"bundled prices of {BUNDLED.region}, {BUNDLED.dated}"
    if machine is not None and machine.kind == FARGATE:
        return fargate_quote(resources, machine, BUNDLED.fargate, source)
    if resources.gpus:
        return None
    # A task takes the larger of its shares of an instance's vCPUs and memory.
    vcpus = max(resources.vcpus, resources.memory_mib / 1024 / BUNDLED.ec2_gib_per_vcpu)
    return Quote(vcpus * BUNDLED.ec2_vcpu_hour, source, machine)
