"""The script for a real account, on the embedded AWS: that it does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest

from miniwdl_cloud import __version__
from miniwdl_cloud.emulator.state import read_state

SMOKE = Path(__file__).with_name("smoke")
BIN = Path(sys.executable).parent


def test_it_asks_before_it_costs_money() -> None:
    """Without --yes nothing is done."""
    done = subprocess.run([str(SMOKE)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 64 and "say --yes first" in done.stderr


def test_shellcheck_finds_nothing() -> None:
    """It is good bash."""
    done = subprocess.run(
        [str(BIN / "shellcheck"), str(SMOKE)], capture_output=True, timeout=60, check=False
    )
    assert done.stdout + done.stderr == b""


@pytest.mark.timeout(600)
def test_it_deploys_runs_and_takes_down(tmp_path: Path) -> None:
    """The workflow succeeds, its outputs are in S3, and the stack is gone."""
    state, mount = tmp_path / "state", tmp_path / "mount"
    options = ["--state", str(state), "--filesystem", str(mount)]
    with (tmp_path / "log").open("w") as log:
        emulator = subprocess.Popen(
            [sys.executable, "-m", "miniwdl_cloud.emulator", *options], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        while (running := read_state(state)) is None:
            assert emulator.poll() is None and time.monotonic() < deadline, (
                tmp_path / "log"
            ).read_text()
            time.sleep(0.1)
        environ = {name: text for name, text in os.environ.items() if "proxy" not in name.lower()}
        done = subprocess.run(
            [str(SMOKE), "--yes", "--mount", str(mount)],
            env={
                **environ,
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "AWS_ENDPOINT_URL": running.endpoint_url,
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
                "AWS_DEFAULT_REGION": running.region,
                "MINIWDL__AWS__WORKFLOW_IMAGE": f"miniwdl-cloud:{__version__}",
                "HOME": str(tmp_path),
                "XDG_CONFIG_HOME": str(tmp_path),
            },
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
        assert done.stderr.splitlines()[-1] == "smoke: all went well."
        clients = {
            "endpoint_url": running.endpoint_url,
            "region_name": running.region,
            "aws_access_key_id": "local",
            "aws_secret_access_key": "local",
        }
        assert boto3.client("cloudformation", **clients).describe_stacks()["Stacks"] == []
        s3 = boto3.client("s3", **clients)
        (bucket,) = (item["Name"] for item in s3.list_buckets()["Buckets"])
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
        assert any(key.startswith("smoke/") and key.endswith("/outputs.json") for key in keys)
        assert f"the bucket {bucket} is left" in done.stderr
    finally:
        emulator.terminate()
        emulator.wait(60)
