"""What a process keeps of the jobs that it submits, from its first task to its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import MiniwdlCloudError
from ..jobs.request import JobRequest
from ..patience import patiently
from .adoption import Offer, Offers
from .holder import Holder
from .lease import Lease, LeaseRecord, filesystem_now, read_lease
from .ledger import AccountedQueue, Ledger, Submission, Task, read_ledger
from .reaper import Reaped, Reaper
from .tagged import PARENT_TAG, TaggingService

logger = logging.getLogger("miniwdl-cloud.accounting")

CLOSING_S = 5.0
"""Seconds that jobs may take to end while the process waits to end itself."""
DOUBT_S = 15.0
"""Seconds after a submission without an id from which on a queue service lists its job, if there is
one (as `jobs/submitting.py` has it)."""
DOUBT_PERIOD_S = 2.5


@dataclass(frozen=True)
class AccountOptions:
    """How an account is kept.

    Parameters
    ----------
    base
        The accounting directory.
    service
        What tells the queue service from any other, Region included.
    queues
        Names of job queues, for people who read the lease.
    job_id, attempt
        The workflow job that this process runs in, if any, and which of its attempts.
    adopt
        Whether the jobs of runs that are gone are offered to this one, and not ended at once.
    version
        Of this package.
    """

    base: Path
    service: str
    queues: tuple[str, ...] = ()
    job_id: str | None = None
    attempt: int = 1
    adopt: bool = False
    version: str = ""


class Account:
    """A process's lease and ledger, and what it does about those of processes that are gone.

    Parameters
    ----------
    service
        The queue service.
    options
        How it is kept.
    Raises
    ------
    ConfigurationError
        The accounting directory cannot be written.
    """

    def __init__(
        self,
        service: TaggingService,
        options: AccountOptions,
    ) -> None:
        self._service = service
        self._job_id = options.job_id
        self._closing = threading.Event()
        holder = Holder.here(options.job_id, options.attempt)
        self._lease = Lease(
            options.base,
            holder,
            options.service,
            queues=options.queues,
            version=options.version,
        )
        self._lease.start_beating()
        self.ledger = Ledger(self._lease.directory / "jobs.jsonl")
        self.queue = AccountedQueue(service, self.ledger)
        self._claimed: list[LeaseRecord] = []
        # With `adopt`, made when the first task asks: what waits for AWS there can be cancelled.
        self._offers: Offers | None = None
        self._looking = threading.Lock()
        self._tagged: set[str] = set()
        self._thread: threading.Thread | None = None
        if not options.adopt:
            self._offers = Offers([])
            self._thread = threading.Thread(
                target=self._reap, name="miniwdl-cloud-reaper", daemon=True
            )
            self._thread.start()

    # Other processes' jobs

    def _reap(self) -> None:
        reaper = Reaper(self._service, self._lease, stopped=self._closing.is_set, sleep=self._nap)
        try:
            self._report(reaper.reap_all())
        except (MiniwdlCloudError, OSError) as exn:
            logger.warning("jobs of runs that are gone could not be looked for: %s", exn)
        except Exception:
            # Of no concern to this run, but worth knowing.
            logger.exception("jobs of runs that are gone could not be looked for")

    def _nap(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def _report(self, done: Reaped) -> None:
        if done.orphans:
            logger.warning(
                "found %d run(s) that ended without notice, with %d job(s) left; %d of these have"
                " been ended now",
                len(done.gone),
                len(done.orphans),
                len(done.ended),
            )
        for sentence in done.undone:
            logger.warning("%s", sentence)

    def _look_for_offers(self) -> Offers:
        """Claim the leases of runs that are gone."""
        reaper = Reaper(self._service, self._lease)
        claimed: list[LeaseRecord] = []
        ledgers: list[Sequence[Submission]] = []
        try:
            for record in reaper.dead_leases():
                if reaper.claim(record):
                    claimed.append(record)
                    ledgers.append(read_ledger(record.ledger))
        except OSError as exn:
            logger.warning("no more jobs of runs that are gone could be found: %s", exn)
        offers = Offers(ledgers)
        logger.warning(
            "found %d run(s) that ended without notice; up to %d task(s) of theirs may be adopted",
            len(claimed),
            len(offers),
        )
        self._claimed = claimed
        return offers

    def take(self, key: str, cancelled: Callable[[], bool]) -> tuple[Offer, str] | None:
        """A job of a run that is gone which does what this key stands for, and the job's id; no
        other task gets it.

        Parameters
        ----------
        key
            The call cache's.
        cancelled
            Whether the run is being ended.

        Raises
        ------
        MiniwdlCloudError
            The queue service cannot be asked.
        """
        with self._looking:
            if self._offers is None and not cancelled():
                self._offers = patiently(self._look_for_offers, cancelled, _waiting)
        while True:
            offer = self._offers.take(key) if self._offers else None
            if offer is None:
                return None
            job_id = offer.submission.job_id or self._find(offer, cancelled)
            if job_id is None:
                # It was written down, but never submitted.
                continue
            if len(offer.submission.tasks) > 1:
                job_id = self._service.child_id(job_id, offer.index)
            return offer, job_id

    def adopt(self, offer: Offer, job_id: str, directory: str) -> None:
        """Take note that a task of this run, in this run directory, has an offered job now.

        Raises
        ------
        ConfigurationError
            The ledger cannot be written.
        """
        self.ledger.adopted(offer.taken_into(directory, job_id))

    def follow(self, request: JobRequest, job_id: str) -> None:
        """Take note of a second job of this process for the same request; see
        `engines.task_files.close_attempt`.

        Raises
        ------
        ConfigurationError
            The ledger cannot be written.
        """
        item = request.item
        task = Task(item.directory, item.attempt, item.cache_key)
        self.ledger.adopted(Submission(request.name, request.queue, (task,), job_id, True))

    def mark(self, offer: Offer, job_id: str) -> None:
        """Tag an adopted job that goes on as one of this process's."""
        name = offer.submission.name
        if name in self._tagged:
            return
        self._tagged.add(name)
        try:
            self._service.tag(job_id, PARENT_TAG, self._job_id or self._lease.id)
        except MiniwdlCloudError as exn:
            logger.warning(
                "the adopted job %s keeps the tag of its former workflow job; do not reap by tags"
                " alone while this run lives: %s",
                job_id,
                exn,
            )

    def _find(self, offer: Offer, cancelled: Callable[[], bool]) -> str | None:
        """The id of a job of which only the name was written down."""
        written = max((r.beat for r in self._claimed), default=0.0)
        for record in self._claimed:
            try:
                written = max(written, record.ledger.stat().st_mtime)
            except OSError:
                continue
        settled = time.monotonic() + DOUBT_S
        try:
            settled -= filesystem_now(self._lease.base) - written
        except OSError:
            pass
        while True:
            found = patiently(lambda: self._service.find(offer.request), cancelled, _waiting)
            if found is not None or cancelled() or time.monotonic() >= settled:
                return found
            time.sleep(DOUBT_PERIOD_S)

    # The end

    def close(self) -> None:
        """End what is left, and give the lease up if nothing is; never raises.

        A job that has not ended by now keeps the lease in its place, for the next run to look
        after. No thread is started: it may be called while Python ends.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        if self._thread is not None:
            self._thread.join(CLOSING_S)
        reaper = Reaper(self._service, self._lease, patience_s=0.0)
        try:
            if self._offers is None:
                self._look_for_offers()
            for record in self._claimed:
                done = reaper.reap(record)
                if done.orphans:
                    logger.warning("ended %d job(s) that were not adopted", len(done.orphans))
            self._close_own(reaper)
        except (MiniwdlCloudError, OSError) as exn:
            logger.warning(
                "could not see to it that all jobs have ended; the next run will, or"
                " `miniwdl-cloud reap`: %s",
                exn,
            )
        finally:
            self._lease.stop()

    def _close_own(self, reaper: Reaper) -> None:
        left = reaper.open_jobs(read_lease(self._lease.directory))
        unnoticed = [o for o in left if not self.queue.is_ending(o.job_id, o.tasks)]
        if unnoticed:
            logger.warning("ending %d job(s) that are left", len(unnoticed))
            reaper.end(Reaped([], unnoticed, set(), []))
        if not left:
            self._lease.remove()


def _waiting(error: Exception) -> None:
    logger.warning("waiting for AWS to answer: %s", error)
