"""What compute costs: AWS's price list, the history of Spot prices, and a bundled table for where
neither can be had."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from .error_mapping import map_errors
from .session import AwsSession

SPOT_PRODUCT = "Linux/UNIX"


@dataclass(frozen=True)
class FargatePrices:
    """Prices of Fargate in US dollars, for Linux.

    Parameters
    ----------
    vcpu_hour, gib_hour
        On x86.
    arm_vcpu_hour, arm_gib_hour
        On ARM.
    storage_gib_hour
        Of ephemeral storage beyond what is included.
    """

    vcpu_hour: float
    gib_hour: float
    arm_vcpu_hour: float
    arm_gib_hour: float
    storage_gib_hour: float


@dataclass(frozen=True)
class BundledPrices:
    """List prices in US dollars, On-Demand, Linux, without Savings Plans and taxes.

    Parameters
    ----------
    region, dated, source
        Where and when they held, and where they are from.
    fargate
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
    fargate: FargatePrices
    ec2_family: str
    ec2_vcpu_hour: float
    ec2_gib_per_vcpu: float


# m5.large: 2 vCPUs, 8 GiB, 0.096 USD an hour. Fargate's are those that vantage.sh, "AWS Fargate
# Pricing Explained", and cloudburn.io, "AWS Fargate Pricing" (April 2026), give.
BUNDLED = BundledPrices(
    region="us-east-1",
    dated="June 2026",
    source="the public price lists of AWS Fargate and Amazon EC2",
    fargate=FargatePrices(
        vcpu_hour=0.04048,
        gib_hour=0.004445,
        arm_vcpu_hour=0.03238,
        arm_gib_hour=0.00356,
        storage_gib_hour=0.000111,
    ),
    ec2_family="m5",
    ec2_vcpu_hour=0.048,
    ec2_gib_per_vcpu=4.0,
)

# Ends of Fargate's usage types; before them stands a code of the Region, such as USE1-.
_FARGATE = {
    "vcpu_hour": r"Fargate-vCPU-Hours:perCPU",
    "gib_hour": r"Fargate-GB-Hours",
    "arm_vcpu_hour": r"Fargate-ARM-vCPU-Hours:perCPU",
    "arm_gib_hour": r"Fargate-ARM-GB-Hours",
    "storage_gib_hour": r"Fargate-EphemeralStorage-GB-Hours",
}


def pricing_region(region: str) -> str:
    """The nearest Region that has the price list's API (AWS Price List API, "Endpoints": us-east-1,
    eu-central-1, ap-south-1); each of them knows all Regions' prices."""
    if region.startswith(("eu-", "me-", "af-", "il-")):
        return "eu-central-1"
    return "ap-south-1" if region.startswith("ap-") else "us-east-1"


class Prices:
    """Prices of one Region as AWS tells them.

    Every method raises the errors of `miniwdl_cloud.errors` that `aws.error_mapping` makes of
    botocore's.

    Parameters
    ----------
    session
        Of the Region.
    """

    def __init__(self, session: AwsSession) -> None:
        self._session = session
        self._list: AwsSession | None = None

    def spot(self, instance_type: str, zone: str, at: float) -> float | None:
        """The Spot price of an instance type in US dollars an hour; ``None`` if there is none.

        Parameters
        ----------
        instance_type, zone
            ``m5.large``, ``us-east-1a``.
        at
            When, in seconds since the epoch. The answer holds the price in force then, which may be
            dated earlier (API reference, DescribeSpotPriceHistory, `StartTime`).
        """
        moment = datetime.fromtimestamp(at, timezone.utc)
        with map_errors("looking up a Spot price"):
            pages = (
                self._session.client("ec2")
                .get_paginator("describe_spot_price_history")
                .paginate(
                    InstanceTypes=[instance_type],
                    ProductDescriptions=[SPOT_PRODUCT, f"{SPOT_PRODUCT} (Amazon VPC)"],
                    AvailabilityZone=zone,
                    StartTime=moment,
                    EndTime=moment,
                )
            )
            found = [
                item
                for page in pages
                for item in page["SpotPriceHistory"]
                if item["InstanceType"] == instance_type and item["AvailabilityZone"] == zone
            ]
        latest = max(found, key=lambda item: item["Timestamp"], default=None)
        return None if latest is None else _price(latest["SpotPrice"])

    def on_demand(self, instance_type: str) -> float | None:
        """The On-Demand price of an instance type in US dollars an hour, for Linux without any
        licence; ``None`` if there is none."""
        wanted = {
            "instanceType": instance_type,
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
        }
        prices = [price for _, price in self._products("AmazonEC2", wanted)]
        return min((price for price in prices if price), default=None)

    def fargate(self) -> FargatePrices | None:
        """The prices of Fargate; ``None`` if the price list lacks one."""
        found = {}
        for usage, price in self._products("AmazonECS", {}):
            for name, end in _FARGATE.items():
                if re.fullmatch(f"(?:[A-Z0-9]+-)?{end}", usage):
                    found[name] = price
        return FargatePrices(**found) if len(found) == len(_FARGATE) else None

    def _products(self, service: str, wanted: Mapping[str, str]) -> Iterator[tuple[str, float]]:
        """Usage type and On-Demand price of each product."""
        if self._list is None:
            self._list = AwsSession(pricing_region(self._session.region))
        filters = [
            {"Type": "TERM_MATCH", "Field": field, "Value": value}
            for field, value in {"regionCode": self._session.region, **wanted}.items()
        ]
        with map_errors("looking up prices"):
            pages = (
                self._list.client("pricing")
                .get_paginator("get_products")
                .paginate(ServiceCode=service, Filters=filters)
            )
            items = [item for page in pages for item in page["PriceList"]]
        for item in items:
            product = json.loads(item)
            usage = str(product.get("product", {}).get("attributes", {}).get("usagetype", ""))
            for term in product.get("terms", {}).get("OnDemand", {}).values():
                for dimension in term.get("priceDimensions", {}).values():
                    price = _price(dimension.get("pricePerUnit", {}).get("USD"))
                    if price is not None:
                        yield usage, price


def _price(text: Any) -> float | None:
    try:
        price = float(text)
    except (TypeError, ValueError):
        return None
    return price if math.isfinite(price) and price >= 0 else None
