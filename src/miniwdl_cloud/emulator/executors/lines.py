"""From a container's output to the lines of its log."""

from __future__ import annotations

from collections.abc import Callable

LINE_LIMIT = 256 * 1024
"""Longer lines are split: the size of a CloudWatch Logs event in bytes (CloudWatch Logs user guide,
"CloudWatch Logs quotas", "Event size")."""


class LogLines:
    """Cuts a stream of bytes into lines.

    Parameters
    ----------
    on_line
        Called with each line, without its end.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line)
        while len(self._rest) > LINE_LIMIT:
            self._emit(self._rest[:LINE_LIMIT])
            self._rest = self._rest[LINE_LIMIT:]

    def end(self) -> None:
        """There is no more; what is left is a line too."""
        if self._rest:
            self._emit(self._rest)
            self._rest = b""

    def _emit(self, line: bytes) -> None:
        for start in range(0, max(1, len(line)), LINE_LIMIT):
            self._on_line(line[start : start + LINE_LIMIT].rstrip(b"\r").decode(errors="replace"))
