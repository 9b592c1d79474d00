"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """Something that is as it should be, or is not.

    Parameters
    ----------
    name
        What kind of finding it is, for scripts: ``queue-disabled``.
    level
        How bad it is. ``UNKNOWN``: the credentials may not look.
    what
        What was found, a sentence.
    why
        What follows from it; empty where all is well.
    how
        What to do about it; empty where all is well.
    """

    name: str
    level: Level
    what: str
    why: str = ""
    how: str = ""


def ok(name: str, what: str) -> Finding:
    """All is well here."""
    return Finding(name, Level.OK, what)


def warning(name: str, what: str, why: str, how: str) -> Finding:
    """Runs would work, but not as somebody would like."""
    return Finding(name, Level.WARNING, what, why, how)


def problem(name: str, what: str, why: str, how: str) -> Finding:
    """Runs would fail, or wait for ever."""
    return Finding(name, Level.PROBLEM, what, why, how)
