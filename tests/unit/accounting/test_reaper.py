"""The reaper: ends what dead processes left, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from accounting_fakes import Clock, Service

from miniwdl_cloud.accounting.holder import Holder
from miniwdl_cloud.accounting.lease import Lease
from miniwdl_cloud.accounting.ledger import Ledger, Task
from miniwdl_cloud.accounting.reaper import Orphan, Reaped, Reaper
from miniwdl_cloud.accounting.tagged import FORGOTTEN_S, PARENT_TAG, OpenJob, orphans_by_tag
from miniwdl_cloud.errors import Throttled, Unreachable
from miniwdl_cloud.jobs.request import JobSnapshot, JobState

HERE = Holder.here()
DEAD = replace(HERE, started=1)
PARENT = "11111111-2222-3333-4444-555555555555"


class Ground:
    """A reaper, and the lease of a process that is gone."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.service = Service()
        self.clock = Clock()
        self.mine = Lease(base, HERE, "batch")
        self.dead = Lease(base, DEAD, "batch")
        self.ledger = Ledger(self.dead.directory / "jobs.jsonl")

    def submitted(self, name: str, job_id: str | None, tasks: int = 1) -> None:
        """Write a submission of the dead process down."""
        self.ledger.submitting(name, "queue", [Task(f"/run/{i}", 1) for i in range(tasks)])
        if job_id:
            self.ledger.submitted(name, job_id)

    def reaper(self, lease: Lease | None = None) -> Reaper:
        return Reaper(self.service, lease or self.mine, clock=self.clock, sleep=self.clock.sleep)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A dead process's lease."""
    return Ground(tmp_path)


def test_what_a_dead_process_left_is_ended(ground: Ground) -> None:
    """Jobs that run are terminated, those that ended are not, names without ids are looked up; then
    the lease is gone."""
    ground.submitted("a", "id-a")
    ground.submitted("b", "id-b")
    ground.submitted("c", None)
    ground.service.add("id-a", JobState.RUNNING)
    ground.service.add("id-b", JobState.SUCCEEDED)
    ground.service.add("id-c", JobState.RUNNABLE, "c")
    done = ground.reaper().reap_all()
    assert sorted(ground.service.terminated) == ["id-a", "id-c"]
    assert done.ended == {"id-a", "id-c"}
    assert done.undone == []
    assert not ground.dead.directory.exists()
    assert ground.mine.directory.exists()


def test_a_dry_run_does_nothing(ground: Ground) -> None:
    """It tells what it found."""
    ground.submitted("a", "id-a")
    ground.service.add("id-a", JobState.RUNNING)
    done = ground.reaper().reap_all(dry_run=True)
    assert [orphan.job_id for orphan in done.orphans] == ["id-a"]
    assert ground.service.terminated == []
    assert ground.dead.directory.exists()


def test_a_living_process_is_left_alone(ground: Ground) -> None:
    """So is the lease of another queue service."""
    living = Lease(ground.base, HERE, "batch")
    other = Lease(ground.base, DEAD, "batch in another Region")
    for lease in (living, other):
        ledger = Ledger(lease.directory / "jobs.jsonl")
        ledger.submitting("a", "queue", [Task("/run", 1)])
        ledger.submitted("a", "id-a")
    ground.service.add("id-a", JobState.RUNNING)
    ground.reaper().reap_all()
    assert ground.service.terminated == []
    assert living.directory.exists()
    assert other.directory.exists()


def test_what_another_reaper_has_claimed_is_left_to_it(ground: Ground) -> None:
    """Unless that one is gone."""
    ground.submitted("a", "id-a")
    ground.service.add("id-a", JobState.RUNNING)
    second = Lease(ground.base, HERE, "batch")
    (record,) = ground.reaper(second).dead_leases()
    assert ground.reaper(second).claim(record)
    assert ground.reaper().reap_all().gone == []
    assert ground.service.terminated == []
    second.remove()
    ground.reaper().reap_all()
    assert ground.service.terminated == ["id-a"]


def test_an_array_whose_children_have_ended_has_ended(ground: Ground) -> None:
    """Its own state lags behind."""
    ground.submitted("a", "id-a", tasks=3)
    children = {JobState.SUCCEEDED: 2, JobState.FAILED: 1}
    ground.service.jobs["id-a"] = JobSnapshot("id-a", JobState.PENDING, children=children)
    assert ground.reaper().reap_all().orphans == []
    assert ground.service.terminated == []


def test_throttling_is_waited_for(ground: Ground) -> None:
    """A call that was asked to come later comes later."""
    ground.submitted("a", "id-a")
    ground.service.add("id-a", JobState.RUNNING)
    record = ground.reaper().dead_leases()[0]
    ground.service.fail = [Throttled("slow"), Throttled("slow")]
    assert ground.reaper().reap(record).ended == {"id-a"}


def test_what_cannot_be_terminated_keeps_its_lease(ground: Ground) -> None:
    """An outage ends the attempt; the next reaper finds everything again."""
    ground.submitted("a", "id-a")
    ground.service.add("id-a", JobState.RUNNING)
    done = Reaped([], ground.reaper().open_jobs(ground.reaper().dead_leases()[0]), set(), [])
    ground.service.fail = [Unreachable("AWS is down")] * 100
    ground.reaper().end(done)
    assert done.undone == ["Job id-a could not be terminated: AWS is down"]
    ground.service.fail = []
    assert ground.reaper().reap_all().ended == {"id-a"}


def test_what_does_not_end_keeps_its_lease(ground: Ground) -> None:
    """It is waited for, and then left to the next reaper."""
    ground.submitted("a", "id-a")
    ground.service.add("id-a", JobState.RUNNING)
    ground.service.ends = False
    done = ground.reaper().reap_all()
    assert done.undone == ["1 of the terminated jobs have not ended yet; reap again later."]
    assert ground.dead.directory.exists()


def test_orphans_are_told_by_tags(ground: Ground) -> None:
    """A parent that ended has orphans; of an unknown one, only jobs older than Batch's memory."""
    day, now = 86400.0, 100 * 86400.0

    def job(job_id: str, parent: str, age: float = 0.0) -> OpenJob:
        return OpenJob(job_id, job_id, "queue", now - age, {PARENT_TAG: parent})

    ended, runs, unknown = (PARENT[:-1] + digit for digit in "123")
    ground.service.add(ended, JobState.FAILED)
    ground.service.add(runs, JobState.RUNNING)
    ground.service.open = [
        job("of ended", ended),
        job("of running", runs, FORGOTTEN_S + day),
        job("of unknown", unknown),
        job("old, of unknown", unknown, FORGOTTEN_S + day),
        job("of a run elsewhere", "host-0a1b", FORGOTTEN_S + day),
        OpenJob("of nobody", "", "queue", 0.0, {}),
    ]
    found = orphans_by_tag(ground.service, ["queue", "other"], lambda: now)
    assert found == [
        Orphan(f"workflow job {ended}", "of ended", "of ended", "queue"),
        Orphan(f"workflow job {unknown}", "old, of unknown", "old, of unknown", "queue"),
    ]
