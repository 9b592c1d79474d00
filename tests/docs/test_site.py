"""The documentation as a site, and as a set of pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import GENERATED, PAGES, ROOT, blocks, stray_commands


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Every page is in the navigation, every link and anchor leads somewhere, and nothing is
    fetched from elsewhere when a page opens."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    page = (tmp_path / "index.html").read_text()
    loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', page)
    assert loaded == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_marked_as_such(page: Path) -> None:
    """What people would paste into a shell is in a block that the tests run, or that says why they
    do not."""
    if page.name not in GENERATED:
        assert stray_commands(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_reasons_are_given_where_commands_are_not_run(page: Path) -> None:
    """Each such reason is a few words at least."""
    for block in blocks(page):
        if block.is_script and block.not_run is not None:
            assert len(block.not_run.split()) >= 3, (page.name, block.line)
