"""What the tests of the Docker tier share."""

from __future__ import annotations

import http.server
import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from miniwdl_cloud.emulator.executors.base import ContainerExit, ContainerSpec
from miniwdl_cloud.emulator.executors.docker import DockerExecutor

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
BASE_IMAGE = "miniwdl-cloud-test-base:bookworm"
WAIT_S = 60.0
"""Far more than a container needs; only a broken one takes so long."""

UP_S = 150.0
WORKFLOW_S = 240.0

CGROUP_LIMITS = """
cd /sys/fs/cgroup
# Version 2 and version 1 say the same in different files.
if [ -e cpu.max ]; then cat cpu.max memory.max memory.swap.max
else echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us); cat memory/memory.limit_in_bytes
     echo $(($(cat memory/memory.memsw.limit_in_bytes) - $(cat memory/memory.limit_in_bytes)))
fi
"""
"""Shell: prints CPU quota and period in microseconds, memory limit and swap limit in bytes."""


def until(condition: Callable[[], Any]) -> Any:
    """Wait until something is so; gives what the condition gave."""
    deadline = time.monotonic() + WAIT_S
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "not so within the time"
        time.sleep(0.2)


class Running:
    """A container that a test started, and its news."""

    def __init__(self, executor: DockerExecutor, spec: ContainerSpec) -> None:
        self.started = threading.Event()
        self.lines: list[str] = []
        self._line = threading.Condition()
        self._exits: queue.Queue[ContainerExit] = queue.Queue()
        self._handle = executor.start(spec, self.started.set, self._on_log, self._exits.put)

    def _on_log(self, line: str) -> None:
        with self._line:
            self.lines.append(line)
            self._line.notify_all()

    def await_line(self, line: str) -> None:
        """Wait until the container has put out this line."""
        with self._line:
            assert self._line.wait_for(lambda: line in self.lines, WAIT_S), self.lines

    def await_exit(self) -> ContainerExit:
        """Wait for the end, of which there is only one."""
        result = self._exits.get(timeout=WAIT_S)
        assert self._exits.empty()
        return result

    def stop(self, grace_s: float) -> None:
        """Ask it to stop; returns when that is noted."""
        self._handle.stop(grace_s)
        assert self._handle.stopping.wait(WAIT_S)


class Containers:
    """Starts containers of one executor."""

    def __init__(self, executor: DockerExecutor, owner: str) -> None:
        self.executor = executor
        self.owner = owner

    def start(self, *command: str, **spec: Any) -> Running:
        """Start a container; keyword arguments are those of `ContainerSpec`."""
        return Running(
            self.executor,
            ContainerSpec(
                **{
                    "name": f"test-{uuid.uuid4()}",
                    "image": BASE_IMAGE,
                    "command": command,
                    "environment": {},
                    "memory_mib": 256,
                    **spec,
                }
            ),
        )

    def run(self, *command: str, **spec: Any) -> tuple[ContainerExit, list[str]]:
        """Run a container to its end; gives that, and its lines."""
        running = self.start(*command, **spec)
        result = running.await_exit()
        return result, running.lines


@contextmanager
def empty_registry() -> Iterator[str]:
    """A container registry on loopback that has no image at all; gives its host and port.

    It answers as the OCI distribution specification says, section "Error Codes"; engines speak
    plain HTTP with registries on loopback.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.rstrip("/") == "/v2"
            error = {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}
            body = b"{}" if found else json.dumps({"errors": [error]}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Aws:
    """An embedded AWS, and the environment that its exports make."""

    env: dict[str, str]

    @property
    def bucket(self) -> str:
        """The deployment's bucket."""
        return self.env["MINIWDL_CLOUD_BUCKET"]

    @property
    def filesystem(self) -> Path:
        """The directory that containers have at /mnt/efs."""
        return Path(self.env["MINIWDL_CLOUD_FILESYSTEM"])

    def client(self, service: str) -> Any:
        """A client of it."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            region_name=self.env["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
        )

    def submit(
        self, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``miniwdl-aws-submit`` to its end."""
        return subprocess.run(
            [BIN / "miniwdl-aws-submit", *arguments],
            env={**self.env, **(variables or {})},
            capture_output=True,
            text=True,
            timeout=WORKFLOW_S,
        )


@contextmanager
def local_aws(state: Path, docker_host: str | None) -> Iterator[Aws]:
    """`miniwdl-cloud local up`, and `local down` in any case.

    Parameters
    ----------
    docker_host
        Where the Docker Engine is; ``None`` for the process executor.
    """
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MINIWDL_", "PYTEST_"))
    }
    executor = "process"
    if docker_host is not None:
        env["DOCKER_HOST"], executor = docker_host, "docker"
    local = f"{BIN}/miniwdl-cloud local"
    try:
        up = subprocess.run(
            ["bash", "-ec", f'exports=$({local} up --executor "$2" --state "$1")\n'
             'eval "$exports"; env -0', "-", state, executor],
            env=env, capture_output=True, text=True, timeout=UP_S,
        )  # fmt: skip
        assert up.returncode == 0, up.stderr
        yield Aws(dict(e.split("=", 1) for e in up.stdout.split("\0") if "=" in e))
    finally:
        subprocess.run(
            [BIN / "miniwdl-cloud", "local", "down", "--state", state],
            env=env, check=True, stdout=subprocess.DEVNULL, timeout=UP_S,
        )  # fmt: skip


@dataclass
class Done:
    """A finished run."""

    code: int
    answer: dict[str, Any]
    log: str


class Runs:
    """Runs of miniwdl on this machine, whose tasks are jobs of an embedded AWS."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        (self.queue,) = aws.client("batch").describe_job_queues(
            jobQueues=[aws.env["MINIWDL__AWS__WORKFLOW_QUEUE"]]
        )["jobQueues"]
        self.tags: dict[str, str] = self.queue["tags"]

    def run(self, directory: Path, source: str, *inputs: str, isolation: str, **env: str) -> Done:
        """Run a workflow whose files are in a directory of the shared filesystem."""
        wdl = directory / "source.wdl"
        wdl.write_text(source)
        done = subprocess.run(
            [
                *(BIN / "miniwdl", "run", wdl, *inputs),
                *("--dir", directory / "run" / ".", "--error-json", "--verbose"),
            ],
            env={
                **self.aws.env,
                "MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_batch_job",
                "MINIWDL__FILE_IO__ROOT": str(self.aws.filesystem),
                "MINIWDL__AWS__TASK_QUEUE": self.tags["DefaultTaskQueue"],
                "MINIWDL__AWS__FSAP": self.tags["DefaultFsap"],
                "MINIWDL__AWS__RETRY_WAIT": "0",
                "MINIWDL__AWS__ISOLATION": isolation,
                **env,
            },
            capture_output=True,
            text=True,
            timeout=WORKFLOW_S,
        )
        answer = json.loads(done.stdout) if done.stdout.strip().startswith("{") else {}
        return Done(done.returncode, answer, done.stderr)
