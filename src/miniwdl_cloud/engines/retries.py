"""What the next attempt of a task is to be like, after how the last one ended: pure decisions.

miniwdl itself counts: interruptions against `preemptible`, other failures against `maxRetries`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ..jobs.outcome import JobOutcome, Verdict
from .task_job import MIN_MEMORY_MIB

BACKOFF_MOST = 600.0
"""Seconds that are waited at most after trouble with the infrastructure."""


@dataclass
class Attempts:
    """What has become of a task's attempts so far.

    Parameters
    ----------
    max_retries, preemptible
        As the task's runtime section says.
    memory_mib
        What the next attempt asks for at least.
    interruptions, failures
        Attempts that ended as such.
    infrastructure
        Of the interruptions, those in a row by trouble with the infrastructure.
    """

    max_retries: int = 0
    preemptible: int = 0
    memory_mib: int = MIN_MEMORY_MIB
    interruptions: int = 0
    failures: int = 0
    infrastructure: int = 0
    rng: random.Random = field(default_factory=random.Random, repr=False)

    @property
    def retries_left(self) -> bool:
        """Whether miniwdl would run the task again after another failure."""
        used = self.failures + max(0, self.interruptions - self.preemptible)
        return used < self.max_retries

    @property
    def interruptions_left(self) -> bool:
        """Whether miniwdl would run the task again after another interruption, for that alone."""
        return self.interruptions < self.preemptible

    @property
    def wants_fallback(self) -> bool:
        """Whether `preemptible` is used up, so that the fallback queue should take the task."""
        return 0 < self.preemptible <= self.interruptions

    def note(self, outcome: JobOutcome) -> None:
        """Count the end of an attempt that miniwdl will be told of as what it was."""
        if outcome.verdict in (Verdict.INTERRUPTED, Verdict.INFRASTRUCTURE):
            self.interruptions += 1
        else:
            self.failures += 1
        if outcome.verdict is Verdict.INFRASTRUCTURE:
            self.infrastructure += 1
        else:
            self.infrastructure = 0

    def raise_memory(self, used_mib: int, factor: float, most_mib: int) -> bool:
        """Raise the next attempt's memory after the last one ran out of it.

        Parameters
        ----------
        used_mib
            What the last attempt had.
        factor
            How many times that the next one gets.
        most_mib
            What the queue's largest instance can give.

        Returns
        -------
        bool
            Whether it gets more than the last one.
        """
        self.memory_mib = max(self.memory_mib, min(int(used_mib * factor), most_mib))
        return self.memory_mib > used_mib

    def pause(self, wait_s: float) -> float:
        """Seconds to wait before the next attempt.

        After trouble with the infrastructure twice as long each time, with jitter, so that a
        thousand tasks that met the same trouble do not all come back at the same moment.

        Parameters
        ----------
        wait_s
            The setting ``[aws] retry_wait``.
        """
        if self.infrastructure == 0:
            return wait_s
        longest: float = min(BACKOFF_MOST, wait_s * 2 ** (self.infrastructure - 1))
        return longest * self.rng.uniform(0.5, 1.5)
