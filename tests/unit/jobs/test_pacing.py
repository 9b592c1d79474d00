"""Pacing of calls."""

from __future__ import annotations

from miniwdl_cloud.jobs.pacing import Pacing, Rate


def _calls(pacing: Pacing, start: float, seconds: float) -> int:
    now, count = start, 0
    while True:
        while pacing.take(now):
            count += 1
        now = pacing.next_at(now)
        if now >= start + seconds:
            return count


def test_the_rate_is_kept() -> None:
    """Ten a second are ten a second."""
    pacing = Pacing(Rate(start=10, least=1, most=10, climb=0), 0.0)
    assert 99 <= _calls(pacing, 0.0, 10.0) <= 101


def test_throttling_halves_the_rate_and_it_climbs_back() -> None:
    """After a throttling answer half as many calls go, and more again as time passes."""
    pacing = Pacing(Rate(start=10, least=1, most=10, climb=0.1), 0.0)
    pacing.slow_down(0.0)
    assert pacing.per_second == 5
    first = _calls(pacing, 0.0, 10.0)
    later = _calls(pacing, 60.0, 10.0)
    assert first < 60
    assert later >= 99


def test_one_burst_of_throttling_answers_counts_once() -> None:
    """Answers to calls that were under way together halve the rate only once."""
    pacing = Pacing(Rate(start=16, least=1, most=16, climb=0), 0.0)
    for _ in range(8):
        pacing.slow_down(0.0)
    assert pacing.per_second == 8


def test_the_rate_never_falls_below_its_least() -> None:
    """However often the service asks to slow down, calls go on."""
    pacing = Pacing(Rate(start=10, least=0.5, most=10, climb=0), 0.0)
    for i in range(100):
        pacing.slow_down(i * 100.0)
    assert pacing.per_second == 0.5
