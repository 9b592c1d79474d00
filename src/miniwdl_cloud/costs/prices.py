"""Prices, kept on disk for as long as they are good enough."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from ..aws.pricing import FargatePrices
from ..errors import MiniwdlCloudError
from ..filesystems.weather import write_file_atomically

logger = logging.getLogger("miniwdl-cloud.costs")

LIST_AGE_S = 7 * 86400.0
"""For how long a list price is not asked for again; AWS changes few of them, and announces it."""
SPOT_AGE_S = 3600.0
"""The same of a Spot price, which AWS changes gradually (EC2 user guide, "Spot Instance pricing
history")."""
PAUSE_S = 600.0
"""For how long prices are not asked for after AWS did not give one."""


class PriceSource(Protocol):
    """Where prices are from: `aws.pricing.Prices`."""

    def spot(self, instance_type: str, zone: str, at: float) -> float | None:
        """Spot price in US dollars an hour."""

    def on_demand(self, instance_type: str) -> float | None:
        """On-Demand price in US dollars an hour."""

    def fargate(self) -> FargatePrices | None:
        """Prices of Fargate."""


class PriceBook:
    """Prices of one Region. Used by one thread.

    Parameters
    ----------
    source
        AWS.
    region
        The Region.
    path
        File that keeps prices from run to run.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        source: PriceSource,
        region: str,
        path: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._region = region
        self._path = path
        self._clock = clock
        self._kept = _read(path)
        self._pause: dict[str, float] = {}

    def instance(
        self, instance_type: str, zone: str | None, spot: bool
    ) -> tuple[float, str] | None:
        """Price of an instance in US dollars an hour, and where it is from; for want of a Spot
        price, the On-Demand one."""
        if spot and zone:
            price = self._price(
                f"spot {zone} {instance_type}",
                SPOT_AGE_S,
                lambda: self._source.spot(instance_type, zone, self._clock()),
            )
            if isinstance(price, float):
                return price, "Spot price history"
        price = self._price(
            f"on-demand {self._region} {instance_type}",
            LIST_AGE_S,
            lambda: self._source.on_demand(instance_type),
        )
        if not isinstance(price, float):
            return None
        return price, "price list, On-Demand" + (" (the Spot price is not known)" if spot else "")

    def fargate(self) -> tuple[FargatePrices, str] | None:
        """Prices of Fargate, and where they are from."""

        def ask() -> dict[str, float] | None:
            found = self._source.fargate()
            return asdict(found) if found else None

        found = self._price(f"fargate {self._region}", LIST_AGE_S, ask)
        try:
            return FargatePrices(**found), "price list"
        except TypeError:
            return None

    def _price(self, key: str, age_s: float, ask: Callable[[], Any]) -> Any:
        """A price that is kept, or else asked for; an old one is better than none."""
        value, dated = self._kept.get(key, (None, 0.0))
        now = self._clock()
        kind = key.partition(" ")[0]
        paused = now < max(self._pause.get(kind, 0.0), self._pause.get(key, 0.0))
        if paused or (value is not None and 0 <= now - dated < age_s):
            return value
        try:
            found = ask()
        except MiniwdlCloudError as exn:
            self._pause[kind] = now + PAUSE_S
            logger.warning("costs are estimated, as prices cannot be looked up: %s", exn.message)
            return value
        if found is None:
            # Not asked for again for every job.
            self._pause[key] = now + PAUSE_S
            return value
        self._kept[key] = (found, now)
        self._save()
        return found

    def _save(self) -> None:
        if self._path is None:
            return
        try:
            # What other runs have found meanwhile stays.
            self._kept = {**_read(self._path), **self._kept}
            write_file_atomically(json.dumps(self._kept, indent=1, sort_keys=True), self._path)
        except (OSError, MiniwdlCloudError) as exn:
            logger.debug("prices cannot be kept: %s", exn)


def _read(path: Path | None) -> dict[str, tuple[Any, float]]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text())
        return {str(key): (value, float(dated)) for key, (value, dated) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
