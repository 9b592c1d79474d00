"""Leases: who is gone, and who takes care of what is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from miniwdl_cloud.accounting import lease as leases
from miniwdl_cloud.accounting.holder import Holder
from miniwdl_cloud.accounting.lease import EXPIRY_S, Lease, LeaseRecord, is_gone
from miniwdl_cloud.errors import ConfigurationError

JOB = "11111111-2222-3333-4444-555555555555"
HERE = Holder.here()
ELSEWHERE = Holder("far", 7, "another-boot", "pid:[1]", 3)


def unknown(job_id: str) -> bool | None:
    """A queue service that knows no workflow job."""
    return None


def never(job_id: str) -> bool | None:
    """A queue service that must not be asked."""
    raise AssertionError("asked")


def record(holder: Holder | None, beat: float = 0.0) -> LeaseRecord:
    """A lease."""
    return LeaseRecord(Path("lease"), holder, "service", beat)


def ended_process() -> Holder:
    """A process of this machine that is no more."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        holder = replace(HERE, pid=process.pid, started=int(stat[19]))
        assert holder.process_is_gone() is False
        process.kill()
    return holder


LATE = EXPIRY_S + 1


@pytest.mark.parametrize(
    ("holder", "now", "has_ended", "gone"),
    [
        (HERE, LATE, never, False),
        (replace(HERE, started=1), 0.0, never, True),
        (ELSEWHERE, EXPIRY_S, never, False),
        (ELSEWHERE, LATE, never, True),
        (replace(ELSEWHERE, job_id=JOB), LATE, lambda _: False, False),
        (replace(ELSEWHERE, job_id=JOB), 0.0, lambda _: True, True),
        (replace(ELSEWHERE, job_id=JOB), 0.0, unknown, False),
        (replace(ELSEWHERE, job_id=JOB), LATE, unknown, True),
        (None, EXPIRY_S, never, False),
        (None, LATE, never, True),
    ],
    ids=[
        "a process of this machine that lives needs no beat",
        "another process has its id now",
        "somewhere else, and beats",
        "somewhere else, and does not",
        "its job runs",
        "its job has ended",
        "its job is unknown, and it beats",
        "its job is unknown, and it does not",
        "a lease being written",
        "a lease whose writer died",
    ],
)
def test_who_is_gone(
    holder: Holder | None, now: float, has_ended: Callable[[str], bool | None], gone: bool
) -> None:
    """By its process, else by its workflow job, else by the age of its latest sign of life."""
    assert is_gone(record(holder), now, HERE, has_ended) is gone


def test_a_process_that_ended_is_gone_at_once() -> None:
    """On its own machine, nobody waits for its lease to expire."""
    assert is_gone(record(ended_process()), 0.0, HERE, never)


def test_an_earlier_attempt_of_the_same_job_is_gone() -> None:
    """Batch starts the second attempt of a job after the first has ended."""
    first = replace(ELSEWHERE, job_id=JOB, attempt=1)
    second = replace(HERE, job_id=JOB, attempt=2)
    assert is_gone(record(first), 0.0, second, never)
    assert not is_gone(record(second), 0.0, first, never)


def test_a_lease_is_found_with_what_it_says(tmp_path: Path) -> None:
    """What one process writes another reads; the age of a new lease is about nothing."""
    mine = Lease(tmp_path / "new" / "accounts", HERE, "service")
    (found,) = leases.read_leases(mine.base)
    assert (found.holder, found.service, found.id) == (HERE, "service", mine.id)
    assert abs(leases.filesystem_now(mine.base) - found.beat) < EXPIRY_S / 2
    os.utime(mine.directory / "lease.json", (0, 0))
    mine.beat()
    assert leases.read_lease(mine.directory).beat > 0
    mine.remove()
    assert list(mine.base.iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Without an account no job is submitted; the message names the setting."""
    (tmp_path / "accounts").write_text("a file in its place")
    with pytest.raises(ConfigurationError, match=r"accounting_dir \(MINIWDL__AWS__ACCOUNTING"):
        Lease(tmp_path / "accounts", HERE, "service")


def test_of_several_claimers_one_succeeds(tmp_path: Path) -> None:
    """A claim holds while its claimer lives; then the next one's does."""
    lease = Lease(tmp_path, HERE, "service")
    dead: set[str] = set()

    def claim(who: str, now: float = 0.0) -> bool:
        return leases.claim(lease.directory, who, lambda id_: id_ in dead, lambda: now)

    assert claim("one")
    assert claim("one")
    assert not claim("two")
    dead.add("one")
    assert claim("two")
    assert not claim("three")
    assert leases.claimed_by(lease.directory) == (2, "two")


def test_a_claim_whose_writer_died_over_it_expires(tmp_path: Path) -> None:
    """An empty claim counts while it may be being written."""
    lease = Lease(tmp_path, HERE, "service")
    path = lease.directory / "claim.1"
    path.touch()
    made = path.stat().st_mtime
    for now, claimed in ((made + 1, False), (made + EXPIRY_S + 1, True)):
        got = leases.claim(lease.directory, "me", never_dead, lambda now=now: now)
        assert got is claimed


def never_dead(lease_id: str) -> bool:
    """All claimers live."""
    return False
