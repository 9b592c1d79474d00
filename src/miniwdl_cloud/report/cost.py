"""What jobs cost, estimated: the details that Batch keeps of a job name neither the instance type
nor whether it was Spot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..aws.pricing import BUNDLED, BundledPrices

_MINIMUM_S = 60.0
"""Fargate bills a minute at least (AWS Fargate pricing, "Duration")."""


@dataclass(frozen=True)
class Basis:
    """What the estimates rest on."""

    prices: BundledPrices = BUNDLED

    @property
    def sentence(self) -> str:
        """For the reader of a report."""
        p = self.prices
        return (
            f"Estimated from what each job reserved, for as long as it ran, at On-Demand prices of"
            f" {p.region} in {p.dated} ({p.source}): on EC2 {p.ec2_vcpu_hour:g} USD an hour for a"
            f" vCPU with {p.ec2_gib_per_vcpu:g} GiB, as of the {p.ec2_family} family; on Fargate"
            f" {p.fargate_vcpu_hour:g} USD a vCPU-hour and {p.fargate_gib_hour:g} USD a GiB-hour."
            " Spot instances cost less, other Regions and types more or less; idle instances,"
            " GPUs, storage, transfer and the workflow job are not counted."
        )

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        p = self.prices
        return {
            "estimate": True,
            "currency": "USD",
            "region": p.region,
            "dated": p.dated,
            "fargateVcpuHour": p.fargate_vcpu_hour,
            "fargateGiBHour": p.fargate_gib_hour,
            "ec2Family": p.ec2_family,
            "ec2VcpuHour": p.ec2_vcpu_hour,
            "ec2GiBPerVcpu": p.ec2_gib_per_vcpu,
            "note": self.sentence,
        }


def cost_of(
    seconds: float | None,
    vcpus: float | None,
    memory_mib: int | None,
    gpus: int,
    platform: str | None,
    prices: BundledPrices = BUNDLED,
) -> float | None:
    """The estimate for one job in US dollars.

    Parameters
    ----------
    seconds
        How long it ran.
    vcpus, memory_mib
        What it reserved.
    gpus
        A job with GPUs has no estimate: no family can stand for those that have them.
    platform
        ``FARGATE``; anything else is taken for EC2.

    Returns
    -------
    float or None
        ``None`` where something is not known.
    """
    if seconds is None or not vcpus or not memory_mib or gpus:
        return None
    gib = memory_mib / 1024
    if platform == "FARGATE":
        hours = max(seconds, _MINIMUM_S) / 3600
        return hours * (vcpus * prices.fargate_vcpu_hour + gib * prices.fargate_gib_hour)
    # A task takes the larger of its shares of an instance's vCPUs and memory.
    return seconds / 3600 * prices.ec2_vcpu_hour * max(vcpus, gib / prices.ec2_gib_per_vcpu)
