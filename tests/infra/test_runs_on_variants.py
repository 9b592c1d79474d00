"""Workflows run on what `miniwdl-cloud deploy` makes, whichever template it is made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from miniwdl_cloud import __version__
from miniwdl_cloud.emulator.state import read_state

pytestmark = pytest.mark.timeout(600)

WDL = """\
version 1.1
workflow w {
  scatter (i in range(2)) {
    call twice { input: i }
  }
  output { Array[Int] doubled = twice.out }
}
task twice {
  input { Int i }
  command <<< echo $((2 * ~{i})) >>>
  output { Int out = read_int(stdout()) }
  runtime { container: "ubuntu:22.04" }
}
"""


class Shell:
    """Runs our commands as a person would."""

    def __init__(self, endpoint_url: str, mount: Path, directory: Path) -> None:
        self.endpoint_url = endpoint_url
        self.mount = mount
        self._directory = directory
        kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        self._environ = {
            **{k: v for k, v in kept.items() if not k.startswith(("AWS_", "MINIWDL"))},
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "MINIWDL__AWS__WORKFLOW_IMAGE": f"miniwdl-cloud:{__version__}",
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
        }

    def __call__(self, *command: str, **environ: str) -> str:
        """Run a command that has to succeed; its standard output."""
        program = Path(sys.executable).with_name(command[0])
        done = subprocess.run(
            [str(program), *command[1:]],
            cwd=self._directory,
            env={**self._environ, **environ},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deploy(self, name: str, *options: str) -> dict[str, str]:
        """Make a deployment; its outputs."""
        text = self("miniwdl-cloud", "deploy", "create", name, *options)
        return dict(line.split("\t", 1) for line in text.splitlines())

    def run(self, outputs: dict[str, str], **environ: str) -> None:
        """Run the workflow on a deployment, and look at its outputs in S3."""
        folder = f"s3://{outputs['BucketName']}/results/"
        self(
            *("miniwdl-aws-submit", "w.wdl", "--wait", "--s3upload", folder),
            *("--workflow-queue", outputs["WorkflowQueue"]),
            **environ,
        )
        s3 = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
        body = s3.get_object(Bucket=outputs["BucketName"], Key="results/outputs.json")["Body"]
        assert json.loads(body.read())["w.doubled"] == [0, 2]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Our commands, and an embedded AWS in a process of its own with nothing in it: the file system
    that is made first there is the directory that jobs see."""
    (tmp_path / "w.wdl").write_text(WDL)
    state, mount = tmp_path / "state", tmp_path / "mount"
    options = ["--state", str(state), "--filesystem", str(mount)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "miniwdl_cloud.emulator", *options], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        while (running := read_state(state)) is None:
            assert process.poll() is None and time.monotonic() < deadline, (
                tmp_path / "log"
            ).read_text()
            time.sleep(0.1)
        yield Shell(running.endpoint_url, mount, tmp_path)
    finally:
        process.terminate()
        process.wait(60)


def test_private_subnets(shell: Shell) -> None:
    """With EFS, in private subnets of a VPC of its own."""
    outputs = shell.deploy("own", "--network", "private", "--mount", str(shell.mount))
    shell.run(outputs)


def test_lustre(shell: Shell) -> None:
    """With FSx for Lustre, which the instances mount, in a VPC of its own."""
    outputs = shell.deploy("fast", "--filesystem", "fsx")
    assert outputs["Template"] == "batch-fsx"
    # Nothing is mounted here: jobs see the directory at its own path.
    shell.run(outputs, MINIWDL__AWS__MOUNT=str(shell.mount))
