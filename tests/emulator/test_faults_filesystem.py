"""Jobs whose shared filesystem is missing or full, in whole runs of miniwdl."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_helper import Batch
from engine_runs import Deployment

from miniwdl_cloud.emulator.executors.base import ContainerSpec, Mount
from miniwdl_cloud.emulator.faults import filesystem
from miniwdl_cloud.emulator.faults.plan import FaultPlan, parse_plan
from miniwdl_cloud.emulator.server import LocalCloud

SOURCE = """
    version 1.1
    task t {
      command <<< echo done | tee here >>>
      output { String said = read_string(stdout())  File here = "here" }
      runtime { preemptible: %d }
    }
    """


def _run_once(directory: Path, spelling: str, command: str) -> subprocess.CompletedProcess[str]:
    spec = ContainerSpec("n", "i", ("sh", "-c", command), {}, (Mount(directory, str(directory)),))
    scratch = directory.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return subprocess.run(
        filesystem.disturbed(spec, spelling, None).command,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(autouse=True)
def _may_mount(tmp_path: Path) -> None:
    directory = tmp_path / "probe"
    directory.mkdir()
    for spelling in filesystem.SPELLINGS:
        if _run_once(directory, spelling, "true").returncode != 0:
            pytest.skip("tier mount: this machine does not let this user mount filesystems")


@pytest.fixture
def deployment(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Iterator[Deployment]:
    """Queues and a directory of the shared filesystem for one test."""
    made = Deployment(cloud, batch, tmp_path)
    yield made
    made.close()
    cloud.faults.replace(FaultPlan())


def test_what_a_disturbed_process_sees(tmp_path: Path) -> None:
    """Missing: nothing of what is there. Full: all of it, and no room; outside nothing changes."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").write_text("content")
    missing = _run_once(shared, filesystem.MISSING, f"ls {shared}; cat {shared}/file")
    assert (missing.stdout, missing.returncode != 0) == ("", True)
    full = _run_once(shared, filesystem.FULL, f"cat {shared}/file; printf x > {shared}/new")
    assert (full.stdout, full.returncode != 0) == ("content", True)
    assert [path.name for path in shared.iterdir()] == ["file"]


def test_a_filesystem_that_comes_late_costs_nothing(
    cloud: LocalCloud, deployment: Deployment
) -> None:
    """A job that sees its directory a moment late waits for it: no attempt is used up."""
    cloud.faults.replace(parse_plan({"rules": [{"fault": "filesystem", "seconds": 0.2}]}))
    run = deployment.run(SOURCE % 0)
    assert run.outputs["t.said"] == "done"
    assert len(deployment.jobs("")) == 1
    (rule,) = cloud.faults.as_dict()["rules"]
    assert rule["fired"] == 1


def test_a_host_without_the_filesystem_is_an_interruption(
    cloud: LocalCloud, deployment: Deployment
) -> None:
    """Where the filesystem is not mounted, the task is run again as after a spot interruption."""
    cloud.faults.replace(parse_plan({"rules": [{"fault": "filesystem", "count": 1}]}))
    run = deployment.run(SOURCE % 1)
    assert run.outputs["t.said"] == "done"
    assert [job["status"] for job in deployment.jobs("")].count("FAILED") == 1
    assert "could not read or write the shared filesystem" in run.stderr


def test_a_full_filesystem_ends_the_task_at_once(cloud: LocalCloud, deployment: Deployment) -> None:
    """No retry can help; the error says what to do."""
    rule = {"fault": "filesystem", "spelling": "full"}
    cloud.faults.replace(parse_plan({"rules": [rule]}))
    run = deployment.run(SOURCE % 3, fails=True)
    cause = run.error.get("cause", run.error)
    assert cause["verdict"] == "fatal"
    assert "the shared filesystem is full" in cause["message"]
    assert len(deployment.jobs("")) == 1
