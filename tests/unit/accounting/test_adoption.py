"""What is offered of runs that are gone, how it is accounted for, and where its files go."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from accounting_fakes import Service

from miniwdl_cloud.accounting.account import Account, AccountOptions
from miniwdl_cloud.accounting.adoption import Offer, Offers
from miniwdl_cloud.accounting.holder import Holder
from miniwdl_cloud.accounting.lease import Lease
from miniwdl_cloud.accounting.ledger import Ledger, Submission, Task
from miniwdl_cloud.engines.adopting import FormerTask
from miniwdl_cloud.jobs.request import JobState


def single(name: str, directory: str, attempt: int = 1, key: str = "key") -> Submission:
    """A submission of one task."""
    return Submission(name, "queue", (Task(directory, attempt, key),), f"id-{name}")


def test_the_latest_job_of_a_task_is_offered_once() -> None:
    """Earlier attempts have failed; equal calls have an offer each."""
    offers = Offers([[single("a", "/1"), single("a2", "/1", 2), single("b", "/2")]])
    taken = [offers.take("key"), offers.take("key")]
    assert [offer.submission.name for offer in taken if offer] == ["a2", "b"]
    assert offers.take("key") is None
    assert offers.take("other") is None


def test_an_adopted_job_is_offered_by_who_had_it_last() -> None:
    """With all the directories that its task has had."""
    first = single("a", "/1", 2)
    second = Offer(first, 0).taken_into("/2", "id-a")
    third = Offer(second, 0).taken_into("/3", "id-a")
    for ledgers in ([[first], [second], [third]], [[third], [second], [first]]):
        offers = Offers(ledgers)
        assert len(offers) == 1
        offer = offers.take("key")
        assert offer is not None
        assert offer.directories == ("/3", "/2", "/1")
        assert offer.task.attempt == 2


def test_a_task_that_was_begun_anew_is_offered_with_its_new_job() -> None:
    """What was adopted and failed is forgotten."""
    adopted = Offer(single("a", "/1"), 0).taken_into("/2", "id-a")
    offers = Offers([[single("a", "/1")], [adopted, single("b", "/2")]])
    assert [offers.take("key"), offers.take("key")] == [Offer(single("b", "/2"), 0), None]


class Ground:
    """Accounts of one accounting directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.service = Service()

    def dead(self, *submissions: Submission) -> Lease:
        """A process that is gone."""
        lease = Lease(self.base, replace(Holder.here(), started=1), "batch")
        ledger = Ledger(lease.directory / "jobs.jsonl")
        for submission in submissions:
            ledger.submitting(submission.name, submission.queue, submission.tasks)
            if submission.job_id:
                ledger.submitted(submission.name, submission.job_id)
        return lease

    def account(self, adopt: bool) -> Account:
        """This process's account."""
        options = AccountOptions(self.base, "batch", adopt=adopt, job_id=None)
        return Account(self.service, options)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """An accounting directory."""
    return Ground(tmp_path)


def test_a_start_ends_what_dead_runs_left(ground: Ground) -> None:
    """In the background; the end leaves nothing behind."""
    dead = ground.dead(single("a", "/1"))
    ground.service.add("id-a", JobState.RUNNING)
    account = ground.account(adopt=False)
    deadline = time.monotonic() + 60
    while dead.directory.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    account.close()
    assert ground.service.terminated == ["id-a"]
    assert list(ground.base.iterdir()) == []


def test_what_is_not_adopted_is_ended_at_the_end(ground: Ground) -> None:
    """Children of an array are adopted by their own ids, and the array gets this run's tag."""
    array = Submission("a", "queue", (Task("/1", 1, "one"), Task("/2", 1, "two")), "id-a")
    ground.dead(array, single("b", "/3", key="three"))
    ground.service.add("id-a", JobState.SUCCEEDED)
    ground.service.add("id-a:1", JobState.RUNNING)
    ground.service.add("id-b", JobState.RUNNING)
    account = ground.account(adopt=True)
    taken = account.take("two", lambda: False)
    assert taken is not None
    offer, job_id = taken
    assert job_id == "id-a:1"
    assert account.take("two", lambda: False) is None
    account.adopt(offer, job_id, "/new")
    account.mark(offer, job_id)
    assert [tag[:2] for tag in ground.service.tags] == [("id-a:1", "AWS_BATCH_PARENT_JOB_ID")]
    assert ground.service.terminated == []
    ground.service.add("id-a:1", JobState.SUCCEEDED)
    account.close()
    assert ground.service.terminated == ["id-b"]
    assert list(ground.base.iterdir()) == []


def test_a_lease_outlives_jobs_that_have_not_ended(ground: Ground) -> None:
    """The next run looks after them."""
    account = ground.account(adopt=False)
    account.ledger.submitting("a", "queue", [Task("/1", 1)])
    account.ledger.submitted("a", "id-a")
    ground.service.add("id-a", JobState.RUNNING)
    ground.service.ends = False
    account.close()
    assert ground.service.terminated == ["id-a"]
    assert len(list(ground.base.iterdir())) == 1


def former_directory(path: Path, suffix: str = "") -> Path:
    """A task's run directory in which a job has ended well."""
    (path / "work").mkdir(parents=True)
    (path / "work" / "out").write_text("output")
    (path / f"stdout{suffix}.txt").write_text("said")
    (path / f"stderr{suffix}.txt").write_text("")
    (path / f"task_status{suffix}.txt").write_text("start=1\nend=2\nexit_code=0\n")
    (path / "command").write_text("true")
    return path


def new_directory(path: Path) -> Path:
    """A run directory as miniwdl makes it before a first attempt."""
    (path / "work").mkdir(parents=True)
    return path


def test_a_former_task_is_moved_and_links_stay(tmp_path: Path) -> None:
    """Also from a second attempt; what the job wrote about its own place stays true."""
    old = former_directory(tmp_path / "old", "2")
    new = new_directory(tmp_path / "new")
    former = FormerTask(Offer(single("a", str(old), 2), 0))
    result = former.result()
    assert result is not None
    assert result.exit_code == 0
    former.move_to(new)
    assert (new / "work" / "out").read_text() == "output"
    assert (new / "stdout.txt").read_text() == "said"
    assert (old / "work" / "out").resolve() == (new / "work" / "out").resolve()
    assert former.path_in(str(new), f"{old}/work/out", {}) == f"{new}/work/out"
    assert former.path_in(str(new), "/elsewhere", {}) == "/elsewhere"


@pytest.mark.parametrize("moved", [0, 1, 2, 4])
def test_a_move_that_was_cut_short_is_taken_up(tmp_path: Path, moved: int) -> None:
    """Whatever a run that died had moved, the next one finds it all: past another run that had made
    its directory, and come to nothing."""
    old = former_directory(tmp_path / "1")
    idle, second, third = (new_directory(tmp_path / name) for name in "234")
    for name in ("work", "stdout.txt", "stderr.txt", "task_status.txt")[:moved]:
        if name == "work":
            (idle / name).rmdir()
            (second / name).rmdir()
        (old / name).rename(second / name)
    if moved == 4:
        # It got as far as the links.
        (old / "work").symlink_to(second / "work")
        (idle / "work").symlink_to(second / "work")
    submission = single("a", str(old))
    for directory in (idle, second):
        submission = Offer(submission, 0).taken_into(str(directory), "id-a")
    former = FormerTask(Offer(submission, 0))
    result = former.result()
    assert result is not None
    assert result.exit_code == 0
    former.move_to(third)
    assert sorted(p.name for p in third.iterdir() if not p.is_symlink()) == [
        "stderr.txt",
        "stdout.txt",
        "task_status.txt",
        "work",
    ]
    for directory in (old, idle, second, third):
        assert (directory / "work" / "out").read_text() == "output"
        assert (directory / "stdout.txt").read_text() == "said"
