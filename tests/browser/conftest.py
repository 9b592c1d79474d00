"""The browser tier: pages as a headless Chromium shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIER_LIMIT_S = 580
"""For `scripts/browser-tier` from nothing."""
PAGE_LIMIT_S = 200
CANNOT_INSTALL = 3

# The run directories that reports are made of.
sys.path.insert(0, str(ROOT / "tests" / "unit" / "report"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first waits for the browser."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "browser"):
            item.add_marker(pytest.mark.timeout(TIER_LIMIT_S + PAGE_LIMIT_S))


@pytest.fixture(scope="session")
def chromium() -> str:
    """A Chromium; without one the tier is skipped, and one that is broken fails where CI runs."""
    tier = subprocess.run(
        [ROOT / "scripts" / "browser-tier"], capture_output=True, text=True, timeout=TIER_LIMIT_S
    )
    if tier.returncode == 0:
        return tier.stdout.strip().partition("=")[2]
    reason = tier.stderr.strip() or "tier browser: scripts/browser-tier failed"
    if os.environ.get("CI") and tier.returncode != CANNOT_INSTALL:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def dom(chromium: str, tmp_path: Path) -> Callable[..., str]:
    """Gives the document of a page once its scripts have run, as HTML."""

    def shown(page: str, script: str = "", *options: str) -> str:
        file = tmp_path / "page.html"
        # A test's own script comes last, and leaves what it found in the document.
        file.write_text(page.replace("</body>", f"<script>{script}</script></body>"))
        done = subprocess.run(
            [
                chromium,
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--no-first-run", f"--user-data-dir={tmp_path / 'profile'}"),
                *("--window-size=1280,1000", *options),
                *("--dump-dom", file.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=PAGE_LIMIT_S,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return shown
