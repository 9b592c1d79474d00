"""Which rule of the current fault plan acts now."""

from __future__ import annotations

import dataclasses
import fnmatch
import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .plan import ANY, FaultPlan, Rule


@dataclass
class _State:
    """A rule, its own chance, and what became of it."""

    rule: Rule
    chance: random.Random
    matched: int = 0
    fired: int = 0


@dataclass(frozen=True)
class Fault:
    """A rule that acts.

    Parameters
    ----------
    rule
        It, with its spelling drawn.
    state
        For `FaultInjector.missed`.
    """

    rule: Rule
    state: _State = field(repr=False, compare=False)


class FaultInjector:
    """Holds the plan. Each rule draws from a random generator of its own, so that what it does
    depends on the seed and on the order of what it matches, and on nothing else.

    Parameters
    ----------
    plan
        The plan to begin with.
    """

    def __init__(self, plan: FaultPlan | None = None) -> None:
        self._lock = threading.Lock()
        self.replace(plan or FaultPlan())

    def replace(self, plan: FaultPlan) -> None:
        """Follow another plan from now on; counts begin at 0."""
        states = [
            _State(rule, random.Random(f"{plan.seed}:{number}"))
            for number, rule in enumerate(plan.rules)
        ]
        with self._lock:
            self._plan = plan
            self._states = states

    def may(self, moment: str) -> bool:
        """Whether the plan has rules for a moment."""
        return any(state.rule.kind.moment == moment for state in self._states)

    def choose(self, moment: str, facts: Mapping[str, Any]) -> Fault | None:
        """The rule that acts on something, if one does.

        Parameters
        ----------
        moment
            What happens; see `plan.KINDS`.
        facts
            What rules match: ``service`` and ``operation``, or ``name``, ``queue``, ``attempt``.
        """
        if not self._states:
            return None
        with self._lock:
            for state in self._states:
                rule = state.rule
                if rule.kind.moment != moment or not _matches(rule.match, facts):
                    continue
                state.matched += 1
                if state.matched <= rule.skip or state.fired == rule.count:
                    continue
                if state.chance.random() >= rule.probability:
                    continue
                state.fired += 1
                if rule.spelling == ANY:
                    spelling = state.chance.choice(rule.kind.spellings)
                    rule = dataclasses.replace(rule, spelling=spelling)
                return Fault(rule, state)
        return None

    def missed(self, fault: Fault) -> None:
        """A fault came too late to act; it does not count."""
        with self._lock:
            fault.state.fired -= 1

    def as_dict(self) -> dict[str, Any]:
        """The plan, with the counts of each rule."""
        with self._lock:
            rules = [
                {
                    **{
                        name: value
                        for name, value in dataclasses.asdict(state.rule).items()
                        if value not in (None, "")
                    },
                    "matched": state.matched,
                    "fired": state.fired,
                }
                for state in self._states
            ]
            return {"seed": self._plan.seed, "rules": rules}


def _matches(wanted: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    for member, value in wanted.items():
        fact = facts.get(member)
        if member == "name":
            if not re.search(value, str(fact)):
                return False
        elif member == "operation":
            if not fnmatch.fnmatchcase(str(fact), value):
                return False
        elif fact != value:
            return False
    return True
