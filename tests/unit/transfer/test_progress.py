"""Progress on a terminal and in a log."""

from __future__ import annotations

import io

from miniwdl_cloud.transfer.progress import LINE_EVERY_S, shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_in_a_log() -> None:
    """A log gets a line when some seconds have passed, and no control characters."""
    stream, now = io.StringIO(), [0.0]
    with shown("uploading outputs", 3, 30_000_000, stream, lambda: now[0]) as progress:
        progress(10_000_000, 1)
        now[0] = LINE_EVERY_S
        progress(5_000_000, 0)
        progress(5_000_000, 1)
    assert stream.getvalue() == "uploading outputs: 1 of 3 files, 15.0 of 30.0 MB\n"


def test_bar_on_a_terminal() -> None:
    """A terminal gets a bar that goes away."""
    stream = Terminal()
    with shown("uploading outputs", 3, 30_000_000, stream) as progress:
        progress(10_000_000, 1)
        progress(0, 1)
    text = stream.getvalue()
    assert "uploading outputs" in text
    assert "\x1b[" in text
