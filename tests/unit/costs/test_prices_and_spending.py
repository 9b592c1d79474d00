"""Prices that are kept, shares of machines, and what a process has spent, with AWS stood in for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from miniwdl_cloud.aws.pricing import BUNDLED, FargatePrices, pricing_region
from miniwdl_cloud.costs.machine import FARGATE, Machine
from miniwdl_cloud.costs.prices import LIST_AGE_S, PAUSE_S, SPOT_AGE_S, PriceBook
from miniwdl_cloud.costs.quote import estimate, fargate_quote, share_of
from miniwdl_cloud.costs.spending import COST_TAG, Spending
from miniwdl_cloud.errors import AccessDenied
from miniwdl_cloud.jobs.request import Resources

INSTANCE = "arn:aws:ecs:us-east-1:123456789012:container-instance/tasks_Batch_1/abc"


class Aws:
    """Prices and machines, and how often each was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tags: dict[str, str] = {}
        self.denied = False

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.denied:
            raise AccessDenied("These credentials may not.")

    def spot(self, instance_type: str, zone: str, at: float) -> float | None:
        """A Spot price."""
        self._ask("spot")
        return 0.03

    def on_demand(self, instance_type: str) -> float | None:
        """A list price."""
        self._ask("on-demand")
        return 0.1 if instance_type == "m5.large" else None

    def fargate(self) -> FargatePrices | None:
        """Prices of Fargate."""
        self._ask("fargate")
        return None

    def instances(self, cluster: str, arns: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """Instances of two vCPUs and 8 GiB."""
        self._ask(f"instances {cluster} {len(arns)}")
        resources = [("CPU", 2048), ("MEMORY", 8192)]
        attributes = {"ecs.instance-type": "m5.large", "ecs.availability-zone": "us-east-1a"}
        return {
            arn: {
                "registeredResources": [{"name": k, "integerValue": v} for k, v in resources],
                "attributes": [{"name": k, "value": v} for k, v in attributes.items()],
            }
            for arn in arns
        }

    def environment_types(self, queue: str) -> Mapping[str, str]:
        """One environment, of Spot."""
        self._ask("types")
        return {"tasks_Batch_1": "SPOT"}

    def tag(self, job_id: str, name: str, value: str) -> None:
        """Remember a tag."""
        self.tags[name] = value


class Clock:
    """Seconds since the epoch, set by hand."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


def test_prices_are_kept(tmp_path: Path) -> None:
    """A price is asked for again once it is too old, by whatever process."""
    aws, clock, path = Aws(), Clock(), tmp_path / "prices.json"
    for wait, asked in ((0.0, 1), (SPOT_AGE_S - 1, 1), (2.0, 2), (1.0, 2)):
        clock.now += wait
        book = PriceBook(aws, "us-east-1", path, clock)
        assert book.instance("m5.large", "us-east-1a", True) == (0.03, "Spot price history")
        assert len(aws.asked) == asked
    assert book.instance("m5.large", "us-east-1a", False) == (0.1, "price list, On-Demand")
    clock.now += LIST_AGE_S - 1
    assert PriceBook(aws, "us-east-1", path, clock).instance("m5.large", None, False) is not None
    assert aws.asked.count("on-demand") == 1
    path.write_text("no JSON")
    assert PriceBook(aws, "us-east-1", path, clock).instance("m5.large", None, False) is not None
    assert aws.asked.count("on-demand") == 2


def test_prices_that_cannot_be_had(caplog: pytest.LogCaptureFixture) -> None:
    """AWS is asked again only after a while; an old price is better than none."""
    aws, clock = Aws(), Clock()
    book = PriceBook(aws, "us-east-1", None, clock)
    assert book.fargate() is None and book.fargate() is None
    assert aws.asked == ["fargate"]
    assert book.instance("m5.large", "us-east-1a", True) is not None
    aws.denied = True
    clock.now += SPOT_AGE_S
    assert book.instance("m5.large", "us-east-1a", True) == (0.03, "Spot price history")
    assert book.instance("c5.large", "us-east-1a", True) is None
    asked = len(aws.asked)
    assert book.instance("r5.large", "us-east-1a", True) is None and len(aws.asked) == asked
    assert "may not" in caplog.text
    clock.now += PAUSE_S
    aws.denied = False
    assert book.instance("r5.large", "us-east-1a", True) == (0.03, "Spot price history")


def test_shares() -> None:
    """A job takes the larger of its shares, and never more than the whole."""
    machine = Machine("EC2", vcpus=4, memory_mib=16384, gpus=2)
    assert share_of(Resources(1, 2048), machine) == 0.25
    assert share_of(Resources(1, 8192), machine) == 0.5
    assert share_of(Resources(1, 2048, 2), machine) == 1.0
    assert share_of(Resources(8, 2048), machine) == 1.0
    assert share_of(Resources(1, 2048), Machine("EC2")) is None
    assert estimate(Resources(1, 2048, 1)) is None


def test_fargate() -> None:
    """Size, architecture, Spot, storage beyond 20 GiB, and a minute at least."""
    prices = FargatePrices(0.04, 0.004, 0.03, 0.003, 0.0001)
    x86, arm = Machine(FARGATE), Machine(FARGATE, spot=True, architecture="arm64")
    quote = fargate_quote(Resources(2, 4096, storage_gib=50), x86, prices, "list")
    assert quote.usd_per_hour == pytest.approx(0.08 + 0.016 + 30 * 0.0001)
    assert quote.cost(1.0) == pytest.approx(quote.usd_per_hour / 60)
    spot = fargate_quote(Resources(2, 4096), arm, prices, "list")
    assert spot.usd_per_hour == pytest.approx(0.3 * (0.06 + 0.012)) and "30%" in spot.source


def _detail(**more: Any) -> dict[str, Any]:
    return {"jobId": "one", "container": {"containerInstanceArn": INSTANCE}, **more}


def test_spending(caplog: pytest.LogCaptureFixture) -> None:
    """What has ended and what runs adds up; one look-up serves all jobs of an instance; the budget
    is told at 80 % and at its end; the workflow job has the tag."""
    caplog.set_level(logging.INFO)
    aws, clock = Aws(), Clock()
    spending = Spending(aws, PriceBook(aws, "us-east-1", None, clock), 0.05, "job", clock, 60.0)
    half = Resources(1, 1024)
    began = clock.now
    clock.now += 3600
    quote = spending.ended("one", _detail(), half, "tasks", began, clock.now)
    assert quote is not None and quote.machine is not None and quote.machine.spot
    assert quote.usd_per_hour == pytest.approx(0.015)
    assert spending.total == pytest.approx(0.015) and spending.exhausted() is None
    spending.began("two", _detail(), Resources(2, 1024), "tasks")
    clock.now += 3600
    assert spending.ended("three", _detail(), half, "tasks", None, None) is None
    assert spending.ended("two", _detail(), half, "tasks", clock.now - 3600, clock.now) is not None
    assert spending.total == pytest.approx(0.045) and spending.exhausted() is None
    assert "of a budget of $0.050000" in caplog.text
    spending.ended("four", _detail(), half, "tasks", clock.now - 3600, clock.now)
    assert "no more tasks are submitted" in str(spending.exhausted())
    assert aws.asked.count("instances tasks_Batch_1 1") == 1 and aws.asked.count("types") == 1
    spending.close()
    spending.close()
    assert aws.tags == {COST_TAG: "0.06"}


def test_without_permissions(caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing may be looked up, costs are estimated by the bundled table, with a warning."""
    aws, clock = Aws(), Clock()
    aws.denied = True
    spending = Spending(aws, PriceBook(aws, "us-east-1", None, clock), None, None, clock, 60.0)
    quotes = [
        spending.ended(name, _detail(), Resources(2, 1024), "tasks", clock.now - 60, clock.now)
        for name in ("one", "two")
    ]
    assert {quote.usd_per_hour for quote in quotes if quote} == {2 * BUNDLED.ec2_vcpu_hour}
    assert caplog.text.count("machines cannot be seen") == 1
    spending.close()


@pytest.mark.parametrize(
    ("region", "where"),
    [("us-west-2", "us-east-1"), ("eu-west-1", "eu-central-1"), ("ap-south-2", "ap-south-1")],
)
def test_where_the_price_list_is(region: str, where: str) -> None:
    """The nearest of the Regions that have it."""
    assert pricing_region(region) == where
