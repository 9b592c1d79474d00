"""What all tests share: a clean environment, and the truth about tiers that did not run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

TIER = re.compile(r"tier (?P<name>\S+): (?P<why>.*)", re.DOTALL)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody's own settings, and never anybody's AWS account."""
    for name in list(os.environ):
        if name.startswith(("MINIWDL", "AWS_")) and not name.endswith("CA_BUNDLE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, a file's tests stay together, and so do those of a tier that shares
    something costly: the Docker Engine, the peer's environment."""
    for item in items:
        parts = item.path.parts
        tier = next((name for name in ("docker", "e2e") if name in parts), str(item.path))
        item.add_marker(pytest.mark.xdist_group(tier))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the last lines which tiers were skipped, and why.

    A tier skips its tests with the message ``tier NAME: reason``.
    """
    skipped: dict[str, tuple[int, str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        found = TIER.search(text)
        if found:
            count = skipped.get(found["name"], (0, ""))[0] + 1
            skipped[found["name"]] = (count, found["why"].strip())
    for name, (count, why) in sorted(skipped.items()):
        terminalreporter.write_line(f"SKIPPED TIER {name} ({count} tests): {why}", yellow=True)
