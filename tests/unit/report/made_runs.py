"""Run directories as miniwdl and our engines leave them, made without running anything."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from miniwdl_cloud.costs.machine import Machine
from miniwdl_cloud.costs.quote import Quote
from miniwdl_cloud.costs.usage import Usage
from miniwdl_cloud.report.model import Attempt, Report, TaskRecord, TaskState

START = 1_790_000_000.0
"""When the runs begin, in seconds since the epoch."""
HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><!-- {{ 7*7 }} &amp;"


class RunDirectory:
    """A run directory in the making.

    Parameters
    ----------
    directory
        Where it will be.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory
        directory.mkdir(parents=True)
        (directory / "workflow.log").write_text("workflow start\n")
        self._write(directory / "inputs.json", {}, START)

    def task(
        self,
        call: str,
        ready: float,
        attempts: list[dict[str, Any]],
        *,
        within: str = "",
        stderr: str = "",
        cached: bool = False,
    ) -> Path:
        """Add a task.

        Parameters
        ----------
        call
            Its id, such as ``align-3-sampleA``.
        ready
            Seconds after the run's start.
        attempts
            ``waited``, ``ran`` (seconds), ``vcpus``, ``mib``, ``peak`` (MiB), ``exit`` (0),
            ``reason`` (of the container), ``status_reason``.
        within
            Directory of a subworkflow's call.
        """
        parent = self.path / within if within else self.path
        directory = parent / f"call-{call}"
        directory.mkdir(parents=True)
        if within:
            (parent / "workflow.log").touch()
        (directory / "task.log").touch()
        self._write(directory / "inputs.json", {}, START + ready)
        now = START + ready
        code = 0
        for number, attempt in enumerate(attempts, 1):
            (directory / "command").touch()
            started, now = now + attempt["waited"], now + attempt["waited"] + attempt["ran"]
            code = attempt.get("exit", 0)
            suffix = str(number) if number > 1 else ""
            self._detail(directory, call, number, attempt, started, now)
            (directory / f"stderr{suffix}.txt").write_text(stderr)
            (directory / f"task_status{suffix}.txt").write_text(
                f"start={started}\nend={now}\npeak_memory_bytes={attempt.get('peak', 100) * 2**20}"
                f"\nexit_code={code}\n"
            )
            now += 2
        if cached or (attempts and not code):
            self._write(directory / "outputs.json", {}, now)
        elif attempts:
            cause = {"error": "CommandFailed", "exit_status": code}
            self._write(directory / "error.json", {"error": "RunFailed", "cause": cause}, now)
        return directory

    def end(self, seconds: float, error: str | None = None) -> Path:
        """End the run."""
        if error is None:
            self._write(self.path / "outputs.json", {}, START + seconds)
        else:
            cause = {"error": "CommandFailed", "message": error}
            self._write(
                self.path / "error.json", {"error": "RunFailed", "cause": cause}, START + seconds
            )
        return self.path

    def _detail(
        self,
        directory: Path,
        call: str,
        number: int,
        attempt: dict[str, Any],
        started: float,
        ended: float,
    ) -> None:
        job_id = f"{call}-{number}"
        (directory / f"claim{number if number > 1 else ''}").symlink_to(job_id)
        detail = {
            "jobId": job_id,
            "jobName": f"{call}-abcdefgh",
            "status": "FAILED" if attempt.get("exit") else "SUCCEEDED",
            "statusReason": attempt.get("status_reason", "Essential container in task exited"),
            "createdAt": round((started - attempt["waited"]) * 1000),
            "startedAt": round(started * 1000),
            "stoppedAt": round(ended * 1000),
            "platformCapabilities": ["EC2"],
            "container": {
                "exitCode": attempt.get("exit", 0),
                "logStreamName": f"definition/default/{job_id}",
                "resourceRequirements": [
                    {"type": "VCPU", "value": str(attempt.get("vcpus", 1))},
                    {"type": "MEMORY", "value": str(attempt.get("mib", 2048))},
                ],
                **({"reason": attempt["reason"]} if "reason" in attempt else {}),
            },
        }
        vcpus, mib = attempt.get("vcpus", 1), attempt.get("mib", 2048)
        if "cpus" in attempt:
            detail["miniwdlCloud"] = {
                "usage": {
                    "seconds": attempt["ran"],
                    "cpuSeconds": attempt["cpus"] * attempt["ran"],
                    "peakMemoryBytes": attempt.get("peak", 100) * 2**20,
                    "meanMemoryBytes": attempt.get("peak", 100) * 2**19,
                    "diskBytes": 0,
                    "samples": 20,
                },
                "price": {
                    "usdPerHour": max(vcpus / 16, mib / 65536) * 0.22,
                    "source": "Spot price history",
                    "machine": {
                        "kind": "EC2",
                        "instanceType": "m5.4xlarge",
                        "availabilityZone": "us-east-1a",
                        "lifecycle": "spot",
                    },
                },
            }
        (directory / f"awsBatchJobDetail.{job_id}.json").write_text(json.dumps(detail))

    @staticmethod
    def _write(path: Path, content: Any, moment: float) -> None:
        path.write_text(json.dumps(content))
        os.utime(path, (moment, moment))


def genomes(directory: Path, samples: int = 24) -> Path:
    """A run as people know them: alignments with retries, calls by chromosome, one failure."""
    dice = random.Random(1)
    run = RunDirectory(directory)
    run.task("reference", 2, [], cached=True)
    run.task("fetch-0", 2, [{"waited": 40, "ran": 110, "peak": 300, "mib": 991}])
    align_end = 0.0
    for i in range(samples):
        name = f"align-{i:02}-sample{chr(65 + i % 26)}{i // 26 or ''}"
        ran = dice.uniform(620, 1400)
        shape = {"vcpus": 8, "mib": 16384, "cpus": 3.1 + i / 40}
        attempts = [{"waited": dice.uniform(45, 160), "ran": ran, "peak": 9100 + i * 37, **shape}]
        if i % 9 == 4:
            lost = {
                "waited": 60,
                "ran": ran * 0.4,
                "exit": 143,
                "status_reason": "Host EC2 (instance i-0f3a) terminated.",
                **shape,
            }
            attempts.insert(0, lost)
        run.task(name, 155 + i % 3, attempts)
        align_end = max(align_end, 155 + sum(a["waited"] + a["ran"] + 2 for a in attempts))
    for i in range(samples):
        shape = {"waited": dice.uniform(5, 30), "ran": dice.uniform(150, 420), "vcpus": 2}
        shape["cpus"] = 1.8
        attempts = [{**shape, "peak": dice.randrange(3700, 3790), "mib": 4063}]
        if i == 7:
            first = {
                **shape,
                "exit": 137,
                "peak": 4063,
                "mib": 4063,
                "reason": "OutOfMemoryError: Container killed due to memory usage",
            }
            attempts = [first, {**attempts[0], "peak": 5210, "mib": 8126}]
        run.task(f"sort-{i:02}", align_end + dice.uniform(0, 90), attempts, within="call-prepare")
    late = align_end + 560
    for i in range(1, 9):
        run.task(f"genotype-{i}-chr{i}", late, [{
            "waited": 12 + i, "ran": 500 - 40 * i, "peak": 900, "vcpus": 4, "mib": 15360,
        }])  # fmt: skip
    run.task(
        "annotate",
        late + 520,
        [{"waited": 8, "ran": 31, "exit": 1}, {"waited": 22, "ran": 30, "exit": 1}],
        stderr="loading cache\nTraceback (most recent call last):\n"
        "  File \"annotate.py\", line 88, in main\nKeyError: 'GRCh38'\n",
    )
    return run.end(late + 640, "task annotate: the command ended with exit status 1")


def many(tasks: int = 5_000) -> Report:
    """The report of a run with thousands of tasks."""
    dice = random.Random(2)
    records = []
    for i in range(tasks):
        call, step = ("count", 0) if i < tasks * 0.6 else ("merge", 900)
        ready = now = START + step + dice.uniform(0, 400)
        attempts = []
        for number in (1, 2) if i % 97 == 5 else (1,):
            lost = i % 97 == 5 and number == 1
            started = now + 20 + i % 1_000 * 0.9
            ended = started + dice.lognormvariate(4.5, 0.5)
            attempts.append(
                Attempt(
                    number=number,
                    job_id=f"{call}-{i}-{number}",
                    created=now,
                    started=started,
                    ended=ended,
                    ok=not lost,
                    reason="the instance was taken away (spot) or lost" if lost else None,
                    vcpus=2,
                    memory_mib=3968,
                    peak_bytes=dice.randrange(700, 1600) * 2**20,
                    platform="EC2",
                    interrupted=lost,
                    usage=Usage(ended - started, 1.4 * (ended - started), 2**29, 2**28, 0, 9),
                    price=Quote(0.03, "Spot price history", Machine("EC2", True, None, "c5.large")),
                )
            )
            now = ended + 2
        records.append(
            TaskRecord(
                call=call,
                shard=f"{i:04}",
                directory=f"call-{call}-{i:04}",
                state=TaskState.SUCCEEDED,
                attempts=tuple(attempts),
                ready=ready,
                ended=now,
            )
        )
    records.sort(key=lambda task: task.ready or 0.0)
    end = max(task.ended or 0.0 for task in records)
    return Report("cohort", "", "succeeded", START, end, None, records, [], end + 60)


def hostile(directory: Path) -> Path:
    """A run whose log and reasons try to become part of the page."""
    run = RunDirectory(directory)
    reason = f"ResourceInitializationError: {HOSTILE}"
    run.task(
        "bad-0-<b>x",
        1,
        [{"waited": 1, "ran": 2, "exit": 3, "reason": reason, "status_reason": HOSTILE}],
        stderr=HOSTILE * 3,
    )
    return run.end(10, HOSTILE)


if __name__ == "__main__":
    # The screenshots of the documentation: python made_runs.py genomes|many REPORT.html
    from miniwdl_cloud.report.collect import collect
    from miniwdl_cloud.report.render import html

    name = "20260921_141320_cohort"
    if sys.argv[1] == "many":
        report = many()
    else:
        root = Path(tempfile.mkdtemp())
        report = collect(genomes(root / name), START + 3_700)
        shutil.rmtree(root)
    Path(sys.argv[2]).write_text(html(replace(report, directory=f"/mnt/efs/miniwdl_run/{name}")))
