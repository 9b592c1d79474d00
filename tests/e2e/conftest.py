"""What the end-to-end tests share: the embedded AWS, and the public peer package beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "examples" / "viral_assembly")]

from local_aws import Aws, local_aws, skip_or_fail  # noqa: E402

PEER_IMAGE = "miniwdl-aws-peer"


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """An embedded AWS with the process executor."""
    with local_aws(tmp_path_factory.mktemp("aws") / "state") as running:
        yield running


@pytest.fixture(scope="session")
def peer_bin() -> Path:
    """The bin directory of a virtual environment with the public package miniwdl-aws."""
    made = subprocess.run(
        [str(ROOT / "scripts" / "peer-venv"), sys.executable],
        capture_output=True,
        text=True,
        timeout=280,
    )
    if made.returncode != 0:
        skip_or_fail(f"miniwdl-aws could not be installed: {made.stderr.strip()[-500:]}")
    return Path(made.stdout.strip())


@pytest.fixture(scope="session")
def peer_image() -> str:
    """The image whose jobs find the peer's commands first."""
    return PEER_IMAGE


@pytest.fixture(scope="session")
def aws_with_peer(tmp_path_factory: pytest.TempPathFactory, peer_bin: Path) -> Iterator[Aws]:
    """An embedded AWS that runs the peer in jobs of its image."""
    state = tmp_path_factory.mktemp("aws_with_peer") / "state"
    with local_aws(state, "--image", f"{PEER_IMAGE}={peer_bin}") as running:
        yield running
