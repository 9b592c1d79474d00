"""What jobs cost: by the price that the engine noted with a job, else estimated from what the job
reserved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..aws.pricing import BUNDLED, BundledPrices
from ..costs.machine import FARGATE, Machine
from ..costs.quote import Quote, estimate
from ..jobs.request import Resources

ESTIMATE = "an estimate by bundled prices"
"""The source of a price that was not noted."""


@dataclass(frozen=True)
class Basis:
    """What the costs rest on.

    Parameters
    ----------
    sources
        Of the prices, the most frequent one first, with the number of attempts of each.
    """

    prices: BundledPrices = BUNDLED
    sources: Sequence[tuple[str, int]] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """For the reader of a report."""
        p = self.prices
        used = "; ".join(f"{source}: {number:,}" for source, number in self.sources)
        return (
            "A job costs its share of its instance, the larger of its shares of vCPUs, memory and"
            " GPUs, at the price of an hour when it ran, or what Fargate bills."
            + (f" Attempts by where their prices are from: {used}." if used else "")
            + f" Bundled prices are On-Demand ones of {p.region} in {p.dated} ({p.source}): on EC2"
            f" {p.ec2_vcpu_hour:g} USD an hour for a vCPU with {p.ec2_gib_per_vcpu:g} GiB, as of"
            f" the {p.ec2_family} family; on Fargate {p.fargate.vcpu_hour:g} USD a vCPU-hour and"
            f" {p.fargate.gib_hour:g} USD a GiB-hour; Spot instances cost less, other Regions and"
            " types more or less. Idle instances, storage, transfer, taxes and the workflow job"
            " are not counted."
        )

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        p = self.prices
        return {
            "estimate": True,
            "currency": "USD",
            "region": p.region,
            "dated": p.dated,
            "fargateVcpuHour": p.fargate.vcpu_hour,
            "fargateGiBHour": p.fargate.gib_hour,
            "ec2Family": p.ec2_family,
            "ec2VcpuHour": p.ec2_vcpu_hour,
            "ec2GiBPerVcpu": p.ec2_gib_per_vcpu,
            "sources": [{"source": source, "attempts": n} for source, n in self.sources],
            "note": self.sentence,
        }


def quote_of(
    vcpus: float | None, memory_mib: int | None, gpus: int, platform: str | None
) -> Quote | None:
    """The estimate for a job whose price was not noted; ``None`` where something is not known.

    Parameters
    ----------
    vcpus, memory_mib
        What it reserved.
    gpus
        A job with GPUs has no estimate: no family can stand for those that have them.
    platform
        ``FARGATE``; anything else is taken for EC2.
    """
    if not vcpus or not memory_mib:
        return None
    machine = Machine(FARGATE) if platform == FARGATE else None
    return estimate(Resources(vcpus, memory_mib, gpus), machine)
