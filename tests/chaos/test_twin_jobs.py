"""Submissions that took effect although the answer was lost and no list shows them: two jobs for a
task, of which one may run it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from miniwdl_cloud.emulator.faults.plan import FaultPlan, parse_plan
from miniwdl_cloud.emulator.server import LocalCloud

SUBMIT = {"service": "batch", "operation": "SubmitJob"}
SOURCE = """
    version 1.1
    workflow w {
      call soon
      call late
      output { Array[String] said = [soon.said, late.said] }
    }
    task soon {
      command <<< echo "$AWS_BATCH_JOB_ID" >> ../ran; echo soon >>>
      output { String said = read_string(stdout()) }
    }
    task late {
      command <<< echo "$AWS_BATCH_JOB_ID" >> ../ran; echo late >>>
      output { String said = read_string(stdout()) }
    }
    """


@pytest.fixture
def deployment(cloud: LocalCloud, tmp_path: Path) -> Iterator[Any]:
    """Queues and a directory of the shared filesystem for one test."""
    # Found once conftest.py has put the emulator's helpers on the path.
    from batch_helper import Batch
    from engine_runs import Deployment

    made = Deployment(cloud, Batch(cloud), tmp_path)
    yield made
    made.close()
    cloud.faults.replace(FaultPlan())


def test_one_of_two_jobs_runs_the_task(cloud: LocalCloud, deployment: Any) -> None:
    """Whether the lost job comes first or last, the command runs once, the run goes on with the
    job that ran it, and the other one ends without having touched anything."""
    from batch_helper import wait_until

    rules: list[dict[str, Any]] = [
        {"fault": "reset_after", "match": SUBMIT, "count": 2},
        {"fault": "unlisted", "seconds": 600, "count": 2},
        # Released when the second one has been submitted, after 15 s of doubt.
        {"fault": "blocked", "match": {"name": "late"}, "count": 1, "seconds": 22},
    ]
    cloud.faults.replace(parse_plan({"seed": 1, "rules": rules}))
    run = deployment.run(SOURCE)
    assert run.outputs["w.said"] == ["soon", "late"]
    # Once, for the first of `soon`; on a machine that stood still for a while, for both.
    assert run.stderr.count("another job, of a submission whose answer was lost") in (1, 2)
    ran = {path.parent.name: path.read_text().split() for path in run.directory.rglob("ran")}
    assert {name: len(jobs) for name, jobs in ran.items()} == {"call-soon": 1, "call-late": 1}

    cloud.faults.replace(FaultPlan())

    def ended() -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = deployment.submissions("")
        over = all(job["status"] in ("SUCCEEDED", "FAILED") for job in jobs)
        return jobs if over else []

    jobs = wait_until(ended, "both jobs of both tasks to end")
    assert sorted(Counter(job["jobName"] for job in jobs).values()) == [2, 2]
    for job in jobs:
        runs = [job["jobId"]] in ran.values()
        assert job["status"] == ("SUCCEEDED" if runs else "FAILED")
        assert job["container"]["exitCode"] == (0 if runs else 122)


def test_a_forged_claim_is_not_followed(cloud: LocalCloud, deployment: Any) -> None:
    """A task that writes somebody else's job into its directory fails as what it is."""
    other = deployment.batch.submit(deployment.batch.definition("true"), deployment.queue)
    run = deployment.run(
        f"""
        version 1.1
        task forger {{
          command <<< ln -sfn {other} ../claim; exit 7 >>>
          output {{}}
        }}
        """,
        fails=True,
    )
    assert run.error.get("cause", run.error)["exit_status"] == 7, run.error
    assert "another job, of a submission" not in run.stderr
