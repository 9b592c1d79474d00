"""An embedded AWS for chaos, and the helpers of the emulator's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from miniwdl_cloud.emulator.ecs.quotas import CallQuotas
from miniwdl_cloud.emulator.server import LocalCloud

sys.path.insert(0, str(Path(__file__).parents[1] / "emulator"))


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A running embedded AWS with the process executor."""
    root: Path = tmp_path_factory.mktemp("chaos")
    with LocalCloud(root / "state", root / "filesystem", stop_grace_s=1.0) as running:
        # Plans need many runs, each with a cluster and task definitions of its own.
        running.ecs.quotas = CallQuotas(100)
        yield running
