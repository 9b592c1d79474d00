"""The fleet tier: hosts in namespaces, each with sshd and Docker Engine of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Hosts, Tier

ROOT = Path(__file__).resolve().parents[2]
TIER_LIMIT_S = 900
"""For `scripts/fleet-tier` from nothing: packages, debootstrap, wheels."""
TEST_LIMIT_S = 600
CANNOT_INSTALL = 3


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first waits for the tier."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "fleet"):
            item.add_marker(pytest.mark.timeout(TIER_LIMIT_S + TEST_LIMIT_S))


@pytest.fixture(scope="session")
def tier() -> Tier:
    """What hosts are made of; without it the tier is skipped, and one that is broken fails where CI
    runs."""
    done = subprocess.run(
        [ROOT / "scripts" / "fleet-tier"], capture_output=True, text=True, timeout=TIER_LIMIT_S
    )
    if done.returncode == 0:
        found = dict(line.split("=", 1) for line in done.stdout.splitlines())
        return Tier(Path(found["HOSTS"]), Path(found["ANSIBLE"]))
    reason = done.stderr.strip() or "tier fleet: scripts/fleet-tier failed"
    if os.environ.get("CI") and done.returncode != CANNOT_INSTALL:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def hosts(tier: Tier, tmp_path: Path) -> Iterator[Hosts]:
    """A network without hosts as yet; they are gone after the test."""
    with Hosts(tier, tmp_path / "hosts") as network:
        yield network
