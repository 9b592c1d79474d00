"""How fast calls may go: a token bucket that slows down when the service asks for it.

Additive increase, multiplicative decrease: each throttling answer halves the rate, and it climbs
back while none comes. That is how several processes of one account share a rate that none of them
knows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """Bounds of a call rate, all in calls a second.

    Parameters
    ----------
    start
        Where it begins.
    least, most
        What it never goes below and above.
    climb
        Added to it for each second without a throttling answer.
    burst
        Calls that may go at once after a pause.
    """

    start: float
    least: float
    most: float
    climb: float
    burst: float = 1.0


class Pacing:
    """A paced kind of call. Not thread-safe: the dispatcher's thread owns it.

    Parameters
    ----------
    rate
        Its bounds.
    now
        Seconds on the dispatcher's clock.
    """

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._tokens = rate.burst
        self._at = now
        self._resume = now
        self.per_second = rate.start

    def take(self, now: float) -> bool:
        """Whether a call may go now; if so it counts."""
        self._advance(now)
        # A hair's breadth for rounding: who comes when `next_at` said must not be sent away.
        if now < self._resume or self._tokens < 1.0 - 1e-6:
            return False
        self._tokens -= 1.0
        return True

    def next_at(self, now: float) -> float:
        """When the next call may go, in seconds on the dispatcher's clock."""
        self._advance(now)
        missing = max(0.0, 1.0 - self._tokens)
        return max(self._resume, now + missing / self.per_second)

    def slow_down(self, now: float) -> None:
        """The service asked to slow down."""
        self._advance(now)
        if now >= self._resume:
            # One halving a pause: a burst of throttling answers to calls already under way is
            # one event, not many.
            self.per_second = max(self._rate.least, self.per_second / 2)
            self._resume = now + 1.0 / self.per_second
        self._tokens = 0.0

    def _advance(self, now: float) -> None:
        passed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        self._tokens = min(max(1.0, self._rate.burst), self._tokens + passed * self.per_second)
        self.per_second = min(self._rate.most, self.per_second + passed * self._rate.climb)
