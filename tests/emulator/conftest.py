"""A running embedded AWS for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_helper import Batch, shared_access_point

from miniwdl_cloud.emulator.ecs.quotas import CallQuotas
from miniwdl_cloud.emulator.server import LocalCloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A running embedded AWS with the process executor."""
    root: Path = tmp_path_factory.mktemp("cloud")
    with LocalCloud(root / "state", root / "filesystem", stop_grace_s=1.0) as running:
        # The first file system that is made is the shared one; tests make others.
        shared_access_point(running)
        # Tests make clusters and task definitions far faster than one a second.
        running.ecs.quotas = CallQuotas(100)
        yield running


@pytest.fixture(scope="session")
def batch(cloud: LocalCloud) -> Batch:
    """Batch of the running embedded AWS."""
    return Batch(cloud)


@pytest.fixture(scope="session")
def queue(batch: Batch) -> str:
    """A job queue with room for many jobs."""
    return batch.queue()
