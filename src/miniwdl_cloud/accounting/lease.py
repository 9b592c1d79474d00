"""Leases: a directory for each process that submits jobs, with a file that it touches.

On the shared filesystem, below the accounting directory::

    RUN/lease.json   who runs; its modification time is the latest sign of life
    RUN/jobs.jsonl   the jobs that were submitted (`ledger.py`)
    RUN/claim.N      who takes care of the jobs of a run that is gone; the highest number counts

All times are those of the filesystem, so that no two machines' clocks are compared.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigurationError
from .holder import Holder

logger = logging.getLogger("miniwdl-cloud.accounting")

BEAT_S = 60.0
"""Seconds between two signs of life."""
EXPIRY_S = 300.0
"""Seconds without one after which a process is given up that nothing else is known of."""
LEASE, LEDGER = "lease.json", "jobs.jsonl"
_CLAIM = re.compile(r"claim\.(\d+)")


@dataclass(frozen=True)
class LeaseRecord:
    """A lease as another process finds it.

    Parameters
    ----------
    directory
        Where it is; its name is the lease's id.
    holder
        Who runs; ``None`` where its file cannot be read, as when its writer died over it.
    service
        What tells the queue service, Region included, from any other.
    beat
        When it was last touched, in seconds on the filesystem's clock.
    """

    directory: Path
    holder: Holder | None
    service: str
    beat: float

    @property
    def id(self) -> str:
        """Its name."""
        return self.directory.name

    @property
    def ledger(self) -> Path:
        """The file of submitted jobs."""
        return self.directory / LEDGER


class Lease:
    """The lease of this process.

    Parameters
    ----------
    base
        The accounting directory.
    holder
        This process.
    service
        What tells the queue service from any other.
    facts
        More for people to read in the file.

    Raises
    ------
    ConfigurationError
        The accounting directory cannot be written.
    """

    def __init__(self, base: Path, holder: Holder, service: str, **facts: object) -> None:
        self.base = base
        self.holder = holder
        self.service = service
        # Of the ARN of an ECS task, its own part.
        name = (holder.job_id or holder.host).rpartition("/")[2]
        self.directory = base / f"{name}-{secrets.token_hex(6)}"
        content = {"holder": holder.as_dict(), "service": service, **facts}
        try:
            _make_base(base)
            self.directory.mkdir()
            write_durably(self.directory / LEASE, json.dumps(content, indent=2))
        except OSError as exn:
            raise ConfigurationError(
                f"The accounting directory {base} cannot be written ({exn.strerror}); make it"
                " writable, or set [aws] accounting_dir (MINIWDL__AWS__ACCOUNTING_DIR) to another"
                " directory of the shared filesystem."
            ) from exn
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def id(self) -> str:
        """Its name."""
        return self.directory.name

    def start_beating(self, every_s: float = BEAT_S) -> Lease:
        """Give signs of life from a thread; returns itself."""
        self._thread = threading.Thread(
            target=self._beat_on, args=(every_s,), name="miniwdl-cloud-lease", daemon=True
        )
        self._thread.start()
        return self

    def _beat_on(self, every_s: float) -> None:
        well = True
        while not self._stop.wait(every_s):
            try:
                self.beat()
                taken = claimed_by(self.directory) is not None
            except FileNotFoundError:
                taken = True
            except OSError as exn:
                if well:
                    logger.warning("the lease %s cannot be touched: %s", self.directory, exn)
                well = False
                continue
            well = True
            if taken:
                logger.error(
                    "another run took this one for dead, and ends its jobs; this process gave no"
                    " sign of life for too long: %s",
                    self.directory,
                )
                return

    def beat(self) -> None:
        """Give a sign of life; raises `OSError`."""
        # Without times, so that the filesystem's own clock counts, over NFS too.
        os.utime(self.directory / LEASE)

    def stop(self) -> None:
        """Stop giving signs of life."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def remove(self) -> None:
        """Give the lease up: nothing is left to take care of."""
        self.stop()
        remove(self.directory)


def _make_base(base: Path) -> None:
    if not base.is_dir():
        base.mkdir(parents=True, exist_ok=True)
        try:
            # For every user of the filesystem, but nobody can remove another's leases.
            base.chmod(0o1777)
        except OSError:
            # A filesystem without modes, or another process of another user was first.
            pass


def filesystem_now(base: Path) -> float:
    """The time on the clock of the filesystem that holds a directory, in seconds."""
    probe = base / f".now.{secrets.token_hex(6)}"
    with probe.open("w") as file:
        try:
            file.write("now")
            file.flush()
            os.utime(probe)
            return os.fstat(file.fileno()).st_mtime
        finally:
            probe.unlink(missing_ok=True)


def read_leases(base: Path) -> list[LeaseRecord]:
    """All leases of an accounting directory, in the order of their last signs of life.

    Raises
    ------
    OSError
        The directory cannot be read.
    """
    records = []
    for directory in base.iterdir() if base.is_dir() else ():
        if not directory.name.startswith(".") and directory.is_dir():
            try:
                records.append(read_lease(directory))
            except FileNotFoundError:
                # Removed a moment ago.
                continue
    return sorted(records, key=lambda record: (record.beat, record.id))


def read_lease(directory: Path) -> LeaseRecord:
    """One lease; raises `FileNotFoundError` if there is no such directory."""
    try:
        # To open a file makes NFS ask the server for its times.
        with (directory / LEASE).open() as file:
            beat = os.fstat(file.fileno()).st_mtime
            text = file.read()
    except FileNotFoundError:
        # Its writer has yet to write it, or died before.
        return LeaseRecord(directory, None, "", directory.stat().st_mtime)
    try:
        fields = json.loads(text)
        return LeaseRecord(directory, Holder.of(fields["holder"]), str(fields["service"]), beat)
    except (ValueError, KeyError, TypeError):
        return LeaseRecord(directory, None, "", beat)


def is_gone(
    record: LeaseRecord,
    now: float,
    myself: Holder,
    has_ended: Callable[[str], bool | None],
) -> bool:
    """Whether the process of a lease has ended.

    Parameters
    ----------
    record
        The lease.
    now
        `filesystem_now`.
    myself
        The process that asks.
    has_ended
        Whether a workflow job has ended; ``None`` if the queue service does not know it. May raise
        errors of `miniwdl_cloud.errors`.
    """
    expired = now - record.beat > EXPIRY_S
    holder = record.holder
    if holder is None:
        return expired
    if holder.was_earlier_attempt_of(myself):
        return True
    if holder.job_id and holder.job_id != myself.job_id:
        ended = has_ended(holder.job_id)
        if ended is not None:
            return ended
    gone = holder.process_is_gone()
    return expired if gone is None else gone


# Claims


def claimed_by(directory: Path) -> tuple[int, str | None] | None:
    """The claim that counts: its number, and the id of the claimer's lease, ``None`` while that is
    not readable; ``None`` if there is no claim."""
    found = [_CLAIM.fullmatch(path.name) for path in directory.iterdir()]
    numbers = [int(match[1]) for match in found if match]
    if not numbers:
        return None
    text = (directory / f"claim.{max(numbers)}").read_text().strip()
    return max(numbers), text or None


def claim(
    directory: Path, claimer: str, is_dead: Callable[[str], bool], now: Callable[[], float]
) -> bool:
    """Claim the lease of a process that is gone; of several claimers one succeeds.

    Parameters
    ----------
    claimer
        The id of the claimer's own lease.
    is_dead
        Whether the claimer of this lease id is gone; its claim is void then.
    now
        `filesystem_now`.

    Raises
    ------
    OSError
        The lease cannot be claimed, or is gone meanwhile.
    """
    current = claimed_by(directory)
    number = 1
    if current is not None:
        number, other = current[0] + 1, current[1]
        if other == claimer:
            return True
        if other is None:
            # Being written, or its writer died over it.
            age = now() - (directory / f"claim.{current[0]}").stat().st_mtime
            if age < EXPIRY_S:
                return False
        elif not is_dead(other):
            return False
    try:
        write_durably(directory / f"claim.{number}", claimer, exclusive=True)
    except FileExistsError:
        return False
    return True


def remove(directory: Path) -> None:
    """Remove a lease's directory; raises `OSError`."""
    # By another name first, so that no half of a lease is ever read as one.
    doomed = directory.with_name(f".ended.{directory.name}")
    try:
        directory.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def write_durably(path: Path, text: str, exclusive: bool = False) -> None:
    """Write a file that outlives a crash of this machine; raises `OSError`."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if exclusive else os.O_TRUNC)
    descriptor = os.open(path, flags, 0o666)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
