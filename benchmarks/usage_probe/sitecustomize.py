"""Writes down at its end what a `miniwdl run` process used: itself alone, without its children.

Python imports this by its name where this directory is on ``PYTHONPATH``. ``BENCH_USAGE`` is the
directory to write into. Nothing outside the standard library: the peer's environment imports it
too.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from pathlib import Path

_BEGAN = time.time()


def _write() -> None:
    argv = getattr(sys, "argv", [])
    if len(argv) < 2 or Path(argv[0]).name != "miniwdl" or argv[1] != "run":
        return
    peak = 0
    with Path("/proc/self/status").open() as status:
        for line in status:
            # Not getrusage's ru_maxrss, which a process inherits from the one that started it.
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
    usage = {
        "began": _BEGAN,
        "ended": time.time(),
        "cpu_s": time.process_time(),
        "peak_bytes": peak,
    }
    Path(os.environ["BENCH_USAGE"], f"{os.getpid()}.json").write_text(json.dumps(usage))


if os.environ.get("BENCH_USAGE"):
    atexit.register(_write)
