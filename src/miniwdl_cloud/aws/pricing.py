"""Prices of compute, bundled: what a report falls back on when no better price is known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BundledPrices:
    """List prices in US dollars, On-Demand, Linux on x86, without Savings Plans and taxes.

    Parameters
    ----------
    region, dated, source
        Where and when they held, and where they are from.
    fargate_vcpu_hour, fargate_gib_hour
        Of Fargate.
    ec2_family
        The instance family that stands for EC2.
    ec2_vcpu_hour
        Its price for a vCPU with its share of memory.
    ec2_gib_per_vcpu
        That share.
    """

    region: str
    dated: str
    source: str
    fargate_vcpu_hour: float
    fargate_gib_hour: float
    ec2_family: str
    ec2_vcpu_hour: float
    ec2_gib_per_vcpu: float


# m5.large: 2 vCPUs, 8 GiB, 0.096 USD an hour.
BUNDLED = BundledPrices(
    region="us-east-1",
    dated="June 2026",
    source="the public price lists of AWS Fargate and Amazon EC2",
    fargate_vcpu_hour=0.04048,
    fargate_gib_hour=0.004445,
    ec2_family="m5",
    ec2_vcpu_hour=0.048,
    ec2_gib_per_vcpu=4.0,
)
