"""A hostile task in a container: what it tries comes to nothing.

The attacks are those of docs/security.md, by the same names.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker_tier import BASE_IMAGE, BIN, ROOT, WORKFLOW_S, Aws, local_aws

SECRET = "what nobody else may read"

WITHIN = {
    "absolute path": 'grep -q "$secret" "$victim/secret"',
    "dot-dot": 'grep -q "$secret" "../../../../$(basename "$victim")/secret"',
    "symbolic link": 'ln -s "$victim" l && grep -q "$secret" l/secret',
    "hard link": 'ln "$victim/secret" h && grep -q "$secret" h',
    "listing": '[ "$(ls "$mount" | wc -l)" -gt 1 ]',
    "another's root": 'cat /proc/[0-9]*/root"$victim"/secret | grep -q "$secret"',
    "open files": 'cat /proc/[0-9]*/fd/[3-9]/secret /proc/[0-9]*/cwd/../../../*/secret'
    ' | grep -q "$secret"',
    "writing to the victim": 'echo x >> "$victim/secret"',
    "another's environment": 'cat /proc/[0-9]*/environ | grep -q "$engine_secret"',
    "signals": 'pids=$(ls -d /proc/[0-9]* | wc -l); [ "$pids" -gt 40 ]',
    "writing to an input": 'echo x >> "$input"',
    "permissions of an input": 'chmod 777 "$(readlink -f "$input")" && echo x >> "$input"',
    "replacing an input": 'real=$(readlink -f "$input"); rm "$real" || mv "$real" "$real.old"',
    "hard link to an input": 'ln "$(readlink -f "$input")" mine && echo x >> mine',
    "renaming the inputs": 'mv "$RUN/inputs" "$RUN/i" || rmdir "$RUN/inputs"',
    "writing into a Directory input": 'echo x > "$directory/new" || rm "$directory/file"',
    "moving the working directory": 'mv "$RUN/work" "$RUN/w"',
    "unmounting": 'umount "$RUN/inputs" || umount -l "$RUN"',
    "mounting again": 'mount -o remount,bind,rw "$RUN/inputs"',
    "mounting the host": "mkdir -p m && { mount --bind / m && false ||"
    " mount -t nfs 127.0.0.1:/ m || unshare --mount true; }",
    "the host's disk": 'mknod disk b $(stat -c "%Hd %Ld" "$RUN/inputs") && head -c 1 disk',
    "file handles": "python3 ../handles.py",
}
"""Attacks from within the container, as commands that succeed if the attack does."""

HANDLES = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_char * 128)]
handle, mount = Handle(bytes=128), ctypes.c_int()
if libc.name_to_handle_at(-100, b".", ctypes.byref(handle), ctypes.byref(mount), 0):
    sys.exit(2)
sys.exit(libc.open_by_handle_at(os.open(".", os.O_RDONLY), ctypes.byref(handle), os.O_RDONLY) < 0)
"""

BATTERY = """
version 1.1
task battery {
  input { File victim_file  File precious  Directory genome }
  command <<<
    RUN=$MINIWDL_CLOUD_TASK_DIR
    input="~{precious}" directory="~{genome}"
    . ./battery.sh
  >>>
}
"""


@dataclass
class Done:
    """A finished run."""

    code: int
    answer: dict[str, Any]
    log: str


class Runs:
    """Runs of miniwdl on this machine, whose tasks are containers."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        queue = aws.client("batch").describe_job_queues(
            jobQueues=[aws.env["MINIWDL__AWS__WORKFLOW_QUEUE"]]
        )["jobQueues"][0]
        self.tags: dict[str, str] = queue["tags"]

    def run(
        self, directory: Path, source: str, *inputs: str, env: Mapping[str, str] | None = None
    ) -> Done:
        """Run a task whose files are in a directory of the shared filesystem."""
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
                "ENGINE_SECRET": SECRET,
                **(env or {}),
            },
            capture_output=True,
            text=True,
            timeout=WORKFLOW_S,
        )
        answer = json.loads(done.stdout) if done.stdout.strip().startswith("{") else {}
        return Done(done.returncode, answer, done.stderr)


@pytest.fixture(scope="module")
def runs(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    """miniwdl on an embedded AWS with the Docker executor."""
    state = tmp_path_factory.mktemp("isolation") / "state"
    with local_aws(state, os.environ["DOCKER_HOST"]) as aws:
        yield Runs(aws)


@pytest.fixture
def directory(runs: Runs, tmp_path: Path) -> Path:
    """A directory of the shared filesystem for one test."""
    made = runs.aws.filesystem / re.sub(r"\W+", "_", tmp_path.name)
    made.mkdir()
    return made
