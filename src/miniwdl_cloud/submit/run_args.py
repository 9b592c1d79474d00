"""The arguments that pass through to `miniwdl run`: which is the WDL, which are inputs.

They are not parsed as argparse would, since they have to come out again in their order; only
found in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class _Option:
    name: str
    value: str | None
    start: int
    end: int


class RunArguments:
    """Arguments of `miniwdl run`.

    Parameters
    ----------
    arguments
        As given.
    options
        The options that `miniwdl run` has, and whether each takes a value
        (`miniwdl_compat.run_options`).
    """

    def __init__(self, arguments: Sequence[str], options: Mapping[str, bool]) -> None:
        self.arguments = tuple(arguments)
        self._known = options
        self._options: list[_Option] = []
        self._positions: list[int] = []
        index = 0
        while index < len(self.arguments):
            index = self._read(index)

    @property
    def wdl(self) -> str | None:
        """The WDL file or URL, if there is one."""
        return self.arguments[self._positions[0]] if self._positions else None

    @property
    def pairs(self) -> list[str]:
        """The ``name=value`` arguments, with ``name= value`` put together."""
        joined: list[str] = []
        for position in self._positions[1:]:
            text = self.arguments[position]
            if joined and len(joined[-1]) > 1 and joined[-1].find("=") == len(joined[-1]) - 1:
                joined[-1] += text
            else:
                joined.append(text)
        return joined

    def value(self, *names: str) -> str | None:
        """The value of an option by any of its names; the last, if it is there more than once."""
        values = self.values(*names)
        return values[-1] if values else None

    def values(self, *names: str) -> list[str]:
        """All values of an option by any of its names."""
        return [
            option.value
            for option in self._options
            if option.name in names and option.value is not None
        ]

    def has(self, *names: str) -> bool:
        """Whether an option is there."""
        return any(option.name in names for option in self._options)

    def with_wdl(self, wdl: str) -> RunArguments:
        """The same with another WDL in its place."""
        position = self._positions[0]
        return self._with({position: [wdl]})

    def with_pairs(self, pairs: Sequence[str]) -> RunArguments:
        """The same with other ``name=value`` arguments, where the first of them was."""
        changes: dict[int, list[str]] = {position: [] for position in self._positions[1:]}
        if changes:
            changes[self._positions[1]] = list(pairs)
        return self._with(changes)

    def with_option(self, names: Sequence[str], value: str | None) -> RunArguments:
        """The same with one value for an option where it was, or (``None``) without it."""
        changes: dict[int, list[str]] = {}
        for option in self._options:
            if option.name in names:
                changes.update({index: [] for index in range(option.start, option.end)})
                if value is not None:
                    changes[option.start] = [option.name, value]
        return self._with(changes)

    def _with(self, changes: Mapping[int, list[str]]) -> RunArguments:
        arguments: list[str] = []
        for index, argument in enumerate(self.arguments):
            arguments.extend(changes.get(index, [argument]))
        return RunArguments(arguments, self._known)

    def _read(self, index: int) -> int:
        text = self.arguments[index]
        if not text.startswith("-") or text == "-":
            self._positions.append(index)
            return index + 1
        if text.startswith("--"):
            given, equals, joined = text.partition("=")
            name = self._full_name(given)
        else:
            name, joined = text[:2], text[2:]
            equals = "=" if joined else ""
            joined = joined.removeprefix("=")
        if not self._known.get(name, False):
            self._options.append(_Option(name, None, index, index + 1))
            return index + 1
        if equals:
            self._options.append(_Option(name, joined, index, index + 1))
            return index + 1
        end = min(index + 2, len(self.arguments))
        value = self.arguments[index + 1] if end == index + 2 else None
        self._options.append(_Option(name, value, index, end))
        return end

    def _full_name(self, given: str) -> str:
        # miniwdl accepts a beginning of an option that fits no other.
        fitting = [name for name in self._known if name.startswith(given)]
        return fitting[0] if given not in self._known and len(fitting) == 1 else given
