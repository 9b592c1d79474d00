"""The report of a run that has ended, beside its log."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..report.model import Report

NAME = "report.html"
"""Its file, in the run directory and in the upload folder."""


def write_report(run_dir: Path, say: Callable[[str], None]) -> Report | None:
    """Write the report into the run directory. A run does not fail for want of it: why there is
    none is said in the log.

    Parameters
    ----------
    say
        Writes a line into the log.

    Returns
    -------
    Report or None
        What it tells.
    """
    began = time.monotonic()
    try:
        from ..report.collect import collect
        from ..report.render import html, save

        report = collect(run_dir)
        save(html(report), run_dir / NAME)
    # Whatever a run directory holds, its outputs are what counts.
    except Exception as exn:
        say(f"warning: there is no report of the run: {type(exn).__name__}: {exn}")
        return None
    say(f"wrote {run_dir / NAME} ({time.monotonic() - began:.1f} s)")
    return report
