"""Accounting in whole runs: SIGTERM with many tasks, reaping by command, a killed workflow job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_helper import Batch, wait_until
from engine_runs import Deployment

from miniwdl_cloud.emulator.server import LocalCloud

SLEEPERS = """
    version 1.1
    workflow sleepers {
      input { Int alike  Int single }
      scatter (i in range(alike)) { call doze }
      scatter (i in range(single)) { call doze as other { input: kind = i + 1 } }
    }
    task doze {
      input { Int kind = 0 }
      command <<< sleep 600 >>>
      runtime { docker: "image-~{kind}" }
    }
    """


@pytest.fixture
def deployment(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Iterator[Deployment]:
    """Queues and a directory of the shared filesystem for one test."""
    made = Deployment(cloud, batch, tmp_path)
    # Room for all.
    made.queue = batch.queue(batch.environment(maxvCpus=512))
    yield made
    made.close()


def accounts(deployment: Deployment) -> Path:
    """An accounting directory for one test."""
    return deployment.root / "accounts"


def settings(deployment: Deployment, **more: str) -> dict[str, str]:
    """Environment with an accounting directory of the test's own."""
    return {
        "MINIWDL__AWS__ACCOUNTING_DIR": str(accounts(deployment)),
        "MINIWDL__SCHEDULER__TASK_CONCURRENCY": "500",
        **more,
    }


def running(deployment: Deployment) -> int:
    """How many jobs run."""
    return sum(job["status"] == "RUNNING" for job in deployment.jobs(""))


def open_jobs(deployment: Deployment) -> list[dict[str, Any]]:
    """Jobs that have not ended."""
    return [job for job in deployment.jobs("") if job["status"] not in ("SUCCEEDED", "FAILED")]


def start(deployment: Deployment, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
    """Start `miniwdl-run-s3upload`, in a session of its own as a container's first process is."""
    return subprocess.Popen(
        [
            str(Path(sys.executable).with_name("miniwdl-run-s3upload")),
            *(str(deployment.write(SLEEPERS)), *arguments),
            *("--dir", str(deployment.root / "runs")),
        ],
        env=deployment.environ(**settings(deployment, **env)),
        stdout=subprocess.DEVNULL,
        stderr=(deployment.root / "log").open("w"),
        start_new_session=True,
    )


def test_sigterm_ends_two_hundred_tasks(deployment: Deployment) -> None:
    """An array job of 190 and ten that are each of another kind: each call terminates as many as it
    can, the exit code tells, and the log has its last line."""
    process = start(deployment, "alike=190", "single=10")
    try:
        wait_until(lambda: running(deployment) == 200, "200 running tasks")
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
    finally:
        process.kill()
    log = (deployment.root / "log").read_text()
    assert code not in (0, -signal.SIGTERM), log[-3000:]
    assert log.splitlines()[-1] == "[miniwdl-run-s3upload] -- END OF LOG --"
    wait_until(lambda: open_jobs(deployment) == [], "all jobs to end")
    jobs = deployment.jobs("")
    assert len(jobs) == 200
    assert {job["statusReason"] for job in jobs} == {"terminated by miniwdl"}


def test_reap_ends_what_a_killed_run_left(deployment: Deployment) -> None:
    """By the leases of the filesystem; a dry run only tells, and at last nothing is left."""
    process = start(deployment, "alike=9", "single=2")
    wait_until(lambda: running(deployment) == 11, "11 running tasks")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)

    def reap(*arguments: str) -> dict[str, Any]:
        answer = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("miniwdl-cloud")), "reap", "--json"),
                *("--mount", str(deployment.cloud.filesystem), *arguments),
            ],
            env=deployment.environ(**settings(deployment)),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert answer.returncode == 0, answer.stderr
        return dict(json.loads(answer.stdout))

    found = reap("--dry-run")
    assert sorted(job["tasks"] for job in found["jobs"]) == [1, 1, 9]
    assert len(open_jobs(deployment)) == 11
    done = reap()
    assert {job["state"] for job in done["jobs"]} == {"ended"}
    assert open_jobs(deployment) == []
    assert reap() == {"gone": [], "jobs": [], "undone": [], "definitions": []}
    assert list(accounts(deployment).iterdir()) == []


def test_reap_by_tags_spares_jobs_of_runs_that_live(deployment: Deployment, batch: Batch) -> None:
    """Of two workflow jobs one has ended: its task jobs are orphans, the other's are not."""
    sleep = batch.definition("sleep", "600")
    quick = batch.definition("true")
    other = batch.queue()
    ended, alive = batch.submit(quick, other), batch.submit(sleep, other)
    batch.wait(ended)
    orphan, child, stranger = (
        batch.submit(sleep, deployment.queue, tags={"AWS_BATCH_PARENT_JOB_ID": parent})
        for parent in (ended, alive, "somewhere else")
    )
    command = str(Path(sys.executable).with_name("miniwdl-cloud"))
    environ = deployment.environ()
    del environ["MINIWDL__FILE_IO__ROOT"]
    answer = subprocess.run(
        [command, "reap", "--task-queue", deployment.queue, "--json"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    assert [job["job"] for job in json.loads(answer.stdout)["jobs"]] == [orphan]
    assert batch.describe(orphan)["status"] == "FAILED"
    assert batch.describe(child)["status"] not in ("SUCCEEDED", "FAILED")
    assert batch.describe(stranger)["status"] not in ("SUCCEEDED", "FAILED")
    for job_id in (child, stranger, alive):
        batch.api.terminate_job(jobId=job_id, reason="the test is over")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 64, "Say where to look"),
        (("--mount", "/nowhere"), 78, "There is no accounting directory /nowhere/"),
        (("--task-queue", "no-such-queue"), 69, "no-such-queue does not exist"),
    ],
)
def test_reap_says_what_is_wrong(
    deployment: Deployment, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """In one sentence, with an exit code of its kind."""
    environ = deployment.environ()
    del environ["MINIWDL__FILE_IO__ROOT"]
    answer = subprocess.run(
        [str(Path(sys.executable).with_name("miniwdl-cloud")), "reap", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (answer.returncode, answer.stderr.count("\n")) == (code, 1), answer.stderr
    assert message in answer.stderr
