"""The public package miniwdl-aws and ours run the same workflow on the embedded AWS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from local_aws import Aws

WORKFLOW = Path(__file__).resolve().parents[2] / "benchmarks" / "scatter.wdl"
ARGUMENTS = [str(WORKFLOW), "shards=20", "label=peer", "--follow"]


def outputs_of(run_directory: Path) -> dict[str, Any]:
    """A finished run's outputs, files replaced by what is in them."""
    outputs = json.loads((run_directory / "_LAST" / "outputs.json").read_text())
    lines = outputs["scatter_shards.lines"]
    return {**outputs, "scatter_shards.lines": [Path(name).read_text() for name in lines]}


@pytest.mark.timeout(300)
def test_peer_and_ours_finish_with_the_same_outputs(
    aws_with_peer: Aws, peer_bin: Path, peer_image: str
) -> None:
    """A scatter of 20 shards gives the same outputs through the peer, unchanged, and through us."""
    mount = aws_with_peer.filesystem
    aws_with_peer.submit(
        *ARGUMENTS,
        *("--mount", str(mount), "--dir", str(mount / "peer"), "--image", peer_image),
        bin_dir=peer_bin,
        extra_env={
            # The peer's image brings these two in a .cfg file.
            "MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_batch_job",
            "MINIWDL__SCHEDULER__TASK_CONCURRENCY": "20",
            "MINIWDL__AWS__SUBMIT_PERIOD": "0.1",
        },
    )
    theirs = outputs_of(mount / "peer")
    assert theirs["scatter_shards.squares"] == [n * n for n in range(20)]
    assert theirs["scatter_shards.lines"] == [f"shard {n} of peer\n" for n in range(20)]

    aws_with_peer.submit(*ARGUMENTS, "--dir", str(mount / "ours"))
    assert outputs_of(mount / "ours") == theirs
