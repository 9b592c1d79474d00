"""`miniwdl run` that ends itself by SIGKILL in the middle: after DONES tasks, OTHERS log records.

    python killed_run.py DONES OTHERS run …

A run that is killed from outside has gone on for an unknown while by then; one that kills itself is
killed where it was meant to be.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import Any


class Bomb:
    """Counts log records from the first task on, and kills the process at the right one: when
    ``dones`` tasks are done and ``others`` more records were made, or one more task is done."""

    def __init__(self, dones: int, others: int) -> None:
        self._dones = dones
        self._others = others
        self._armed = False
        self._lock = threading.Lock()
        self._make = logging.getLogRecordFactory()

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        with self._lock:
            self._armed = self._armed or "task setup" in str(record.msg)
            if self._armed:
                self._count(str(record.msg) == "done")
        return record

    def _count(self, done: bool) -> None:
        if done:
            self._dones -= 1
        elif self._dones <= 0:
            self._others -= 1
        if self._dones < 0 or (self._dones == 0 and self._others < 0):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    from WDL.CLI import main

    logging.setLogRecordFactory(Bomb(int(sys.argv[1]), int(sys.argv[2])))
    main(sys.argv[3:])
