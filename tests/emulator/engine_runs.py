"""Runs of miniwdl with our engine on the embedded AWS, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batch_helper import Batch, shared_access_point, unique

from miniwdl_cloud.emulator.server import LocalCloud


@dataclass
class Run:
    """A finished `miniwdl run`."""

    exit_code: int
    stdout: str
    stderr: str
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """The run directory."""
        return Path(self.answer["dir"])

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs."""
        return dict(self.answer["outputs"])

    @property
    def error(self) -> dict[str, Any]:
        """The top-level error.json."""
        return dict(json.loads((self.directory / "error.json").read_text()))


@dataclass(frozen=True)
class Attempt:
    """A task's attempt, as its queue service shows it.

    Parameters
    ----------
    job_id, name, definition
        Of the job or ECS task.
    status
        The service's word.
    user
        Whom its container runs as, if that is said.
    """

    job_id: str
    name: str
    definition: str
    status: str
    user: str | None

    @property
    def runs(self) -> bool:
        """Whether it runs now."""
        return self.status == "RUNNING"

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")


class Deployment:
    """Queues and a filesystem on the embedded AWS, and miniwdl to run on them."""

    def __init__(self, cloud: LocalCloud, batch: Batch, root: Path) -> None:
        self.cloud = cloud
        self.batch = batch
        self.queue = batch.queue()
        self.fallback = batch.queue()
        self.fsap = shared_access_point(cloud)
        self.root = cloud.filesystem / root.name
        self.root.mkdir(parents=True, exist_ok=True)
        self._started: list[subprocess.Popen[str]] = []

    def close(self) -> None:
        """Kill what a failed test has left running."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def environ(self, **more: str) -> dict[str, str]:
        """The environment that a workflow job would have."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MINIWDL", "AWS_"))},
            "AWS_ENDPOINT_URL": self.cloud.endpoint_url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": self.cloud.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "MINIWDL__SCHEDULER__CONTAINER_BACKEND": "aws_batch_job",
            "MINIWDL__SCHEDULER__TASK_CONCURRENCY": "50",
            "MINIWDL__FILE_IO__ROOT": str(self.cloud.filesystem),
            "MINIWDL__AWS__TASK_QUEUE": self.queue,
            "MINIWDL__AWS__FSAP": self.fsap,
            "MINIWDL__AWS__RETRY_WAIT": "0",
            **more,
        }

    def write(self, source: str) -> Path:
        """A WDL file on the shared filesystem."""
        path = self.root / f"{unique('source')}.wdl"
        path.write_text(textwrap.dedent(source))
        return path

    def start(
        self, source: str, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start `miniwdl run`."""
        wdl = self.write(source)
        process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("miniwdl")),
                "run",
                str(wdl),
                *arguments,
                *("--dir", str(self.root / "runs"), "--error-json", "--verbose"),
            ],
            env=self.environ(**(env or {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def run(
        self,
        source: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        fails: bool = False,
    ) -> Run:
        """Run a workflow to its end, which has to be success unless ``fails``."""
        return self.finish(self.start(source, *arguments, env=env), fails)

    def finish(self, process: subprocess.Popen[str], fails: bool = False) -> Run:
        """Await a started run."""
        out, err = process.communicate(timeout=240)
        answer = json.loads(out) if out.strip().startswith("{") else {}
        run = Run(process.returncode, out, err, answer)
        assert (run.exit_code != 0) == fails, err[-5000:]
        return run

    def attempts(self, name_part: str) -> list[Attempt]:
        """All attempts of tasks whose names contain a text."""
        return [
            Attempt(
                job["jobId"],
                job["jobName"],
                job["jobDefinition"],
                job["status"],
                job["container"].get("user"),
            )
            for job in self.jobs(name_part)
        ]

    def submitted(self) -> list[str]:
        """The names of all that was submitted."""
        return [job["jobName"] for job in self.submissions("")]

    def end(self, job_id: str, reason: str) -> None:
        """End a job, as somebody may who is not miniwdl."""
        self.batch.api.terminate_job(jobId=job_id, reason=reason)

    def kept_details(self, run: Run) -> set[str]:
        """Ids of the jobs whose last description is kept in a run directory."""
        kept = run.directory.rglob("awsBatchJobDetail.*.json")
        return {json.loads(path.read_text())["jobId"] for path in kept}

    def jobs(self, name_part: str) -> list[dict[str, Any]]:
        """Details of all jobs whose names contain a text: children, not their array jobs."""
        ans = []
        for job in self.submissions(name_part):
            size = job.get("arrayProperties", {}).get("size", 0)
            children = [f"{job['jobId']}:{i}" for i in range(size)]
            ans += [self.batch.describe(child) for child in children] or [job]
        return ans

    def submissions(self, name_part: str) -> list[dict[str, Any]]:
        """Details of jobs and array jobs of the task queues whose names contain a text."""
        found: list[str] = []
        for queue in (self.queue, self.fallback):
            for page in self.batch.api.get_paginator("list_jobs").paginate(
                jobQueue=queue, filters=[{"name": "JOB_NAME", "values": ["*"]}]
            ):
                found += [j["jobId"] for j in page["jobSummaryList"] if name_part in j["jobName"]]
        return [self.batch.describe(job_id) for job_id in found]
