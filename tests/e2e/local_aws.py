"""The embedded AWS as a person starts it: `miniwdl-cloud local up`, its exports, `local down`.

Shared by the end-to-end tests and by ``benchmarks/bench.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

BIN = Path(sys.executable).parent
"""Where the console scripts of this Python environment are."""

UP_LIMIT_S = 120
DOWN_LIMIT_S = 120
WORKFLOW_LIMIT_S = 240


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without a person's own AWS and miniwdl settings."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MINIWDL_", "PYTEST_", "PYTHON"))
    }
    env["PATH"] = f"{BIN}{os.pathsep}{env.get('PATH', os.defpath)}"
    return {**env, **(extra or {})}


def run_checked(
    argv: list[str], env: Mapping[str, str], timeout_s: float, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output is in the error when it fails."""
    done = subprocess.run(
        argv, env=dict(env), cwd=cwd, capture_output=True, text=True, timeout=timeout_s
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"exit code {done.returncode} of {' '.join(argv)}\n"
            f"--- standard output\n{done.stdout}\n--- standard error\n{done.stderr}"
        )
    return done


@dataclass(frozen=True)
class Aws:
    """A running embedded AWS, as its exports describe it."""

    env: dict[str, str]

    @property
    def bucket(self) -> str:
        """The deployment's bucket."""
        return self.env["MINIWDL_CLOUD_BUCKET"]

    @property
    def filesystem(self) -> Path:
        """The directory that stands for the shared filesystem."""
        return Path(self.env["MINIWDL_CLOUD_FILESYSTEM"])

    def s3(self) -> Any:
        """An S3 client of it."""
        return self.client("s3")

    def client(self, service: str) -> Any:
        """A boto3 client of it."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            region_name=self.env["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
        )

    def get_object(self, uri: str) -> bytes:
        """What an ``s3://`` URI holds."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return bytes(self.s3().get_object(Bucket=bucket, Key=key)["Body"].read())

    def submit(
        self, *args: str, bin_dir: Path = BIN, extra_env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``miniwdl-aws-submit`` to success.

        Parameters
        ----------
        args
            Its arguments.
        bin_dir
            Which environment's command to run.
        extra_env
            Variables beside the exports.
        """
        path = f"{bin_dir}{os.pathsep}{self.env['PATH']}"
        env = {**self.env, "PATH": path, **(extra_env or {})}
        return run_checked([str(bin_dir / "miniwdl-aws-submit"), *args], env, WORKFLOW_LIMIT_S)


@contextmanager
def local_aws(state: Path, *options: str) -> Iterator[Aws]:
    """Start the embedded AWS; ends it in any case.

    Parameters
    ----------
    state
        Directory for ``--state``.
    options
        Further options of ``miniwdl-cloud local up``.
    """
    env = clean_environment()
    command = [str(BIN / "miniwdl-cloud"), "local"]
    try:
        up = run_checked([*command, "up", "--state", str(state), *options], env, UP_LIMIT_S)
        evaluated = run_checked(["bash", "-c", 'eval "$1" && env -0', "-", up.stdout], env, 30)
        yield Aws(dict(entry.split("=", 1) for entry in evaluated.stdout.split("\0") if entry))
    finally:
        run_checked([*command, "down", "--state", str(state)], env, DOWN_LIMIT_S)


def skip_or_fail(reason: str) -> None:
    """Skip a test for want of something; where CI runs, that is a failure."""
    import pytest

    if os.environ.get("CI"):
        pytest.fail(f"{reason}; under CI this test may not be skipped")
    pytest.skip(reason)
