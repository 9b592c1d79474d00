"""Terraform for tests: found, initialised without the network, applied to an embedded AWS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from miniwdl_cloud.emulator.state import ServerState, read_state

SOURCE = Path(__file__).parents[2] / "deploy/terraform"
REGISTRY = "registry.terraform.io"
# Where Terraform looks for providers by itself (its documentation, "Implied Local Mirror
# Directories"), then where machines without a network keep a mirror.
_PLACES = (
    "~/.terraform.d/plugins",
    "~/.local/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
)
_ROOTS = ("/opt", "/srv", "/usr/local/lib", "/usr/local/share", "/var/lib")
_OVERRIDE = """\
provider "aws" {
  region                      = "us-east-1"
  access_key                  = "local"
  secret_key                  = "local"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
  default_tags {
    tags = local.tags
  }
}
"""


@contextmanager
def embedded_awses(roots: Sequence[Path]) -> Iterator[list[ServerState]]:
    """Embedded AWSs, each in a process of its own, so that nothing else keeps them waiting.

    Parameters
    ----------
    roots
        A directory for what each keeps.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(_started(root)) for root in roots]
        yield [_running(*each) for each in zip(processes, roots, strict=True)]


@contextmanager
def _started(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    options = ["--state", str(root / "state"), "--filesystem", str(root / "filesystem")]
    with (root / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "miniwdl_cloud.emulator", *options], stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _running(process: subprocess.Popen[bytes], root: Path) -> ServerState:
    deadline = time.monotonic() + 300
    while (running := read_state(root / "state")) is None:
        assert process.poll() is None and time.monotonic() < deadline, (root / "log").read_text()
        time.sleep(0.1)
    return running


class Terraform:
    """A root module, initialised, in a directory of its own.

    Parameters
    ----------
    folder
        Where the modules are copied to.
    root
        Name of the root module.
    """

    def __init__(self, folder: Path, root: str) -> None:
        program = shutil.which("terraform")
        if program is None:
            pytest.skip("tier terraform: there is no terraform on the PATH")
        self._program = program
        shutil.copytree(
            SOURCE, folder / "terraform", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*")
        )
        self.directory = folder / "terraform" / root
        mirror = find_mirror()
        options = [f"-plugin-dir={mirror}"] if mirror else []
        done = self.run("init", "-input=false", *options, timeout=90)
        if done is None or done.returncode:
            why = "timed out" if done is None else done.stderr.strip().splitlines()[0]
            pytest.skip(f"tier terraform: the aws provider cannot be had: {why}")

    def run(
        self, *arguments: str, timeout: float, **environment: str
    ) -> subprocess.CompletedProcess[str] | None:
        """Run a command of Terraform; `None` if it takes too long."""
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "TF_")) and "proxy" not in name.lower()
        }
        config = os.environ.get("TF_CLI_CONFIG_FILE")
        if config and Path(config).is_file():
            environ["TF_CLI_CONFIG_FILE"] = config
        environ.update(environment, CHECKPOINT_DISABLE="1", TF_IN_AUTOMATION="1")
        try:
            return subprocess.run(
                [self._program, *arguments, *(["-no-color"] if arguments[0] != "output" else [])],
                cwd=self.directory,
                env=environ,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None

    def apply(self, endpoint_url: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Apply it to an embedded AWS; its outputs."""
        (self.directory / "embedded_override.tf").write_text(_OVERRIDE)
        (self.directory / "test.auto.tfvars.json").write_text(json.dumps(variables))
        done = self.run(
            "apply",
            "-auto-approve",
            "-input=false",
            "-parallelism=40",
            timeout=600,
            AWS_ENDPOINT_URL=endpoint_url,
        )
        assert done is not None, "terraform apply took too long"
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        shown = self.run("output", "-json", timeout=60)
        assert shown is not None and shown.returncode == 0
        return {name: item["value"] for name, item in json.loads(shown.stdout).items()}


def find_mirror() -> Path | None:
    """A directory with the aws provider, laid out as Terraform's `-plugin-dir` wants it."""
    for place in (*(Path(p).expanduser() for p in _PLACES), *_search()):
        if (place / REGISTRY / "hashicorp" / "aws").is_dir():
            return place
    return None


def _search() -> Iterator[Path]:
    for root in _ROOTS:
        for depth in ("", "*/", "*/*/"):
            try:
                yield from (found.parent for found in sorted(Path(root).glob(depth + REGISTRY)))
            except OSError:
                continue
