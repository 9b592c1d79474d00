"""The process that a lease stands for, and what this machine knows of it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


@dataclass(frozen=True)
class Holder:
    """A process that runs workflows.

    Parameters
    ----------
    host
        Name of its machine, for people to read.
    boot_id
        Tells one boot of one machine from any other (proc(5), ``/proc/sys/kernel/random/boot_id``);
        ``None`` where there is none.
    pid_namespace
        Tells the processes of one container from those of another on the same machine.
    pid, started
        The process, and when it was started, in ticks since boot (proc(5), ``starttime``): process
        ids are used again.
    job_id, attempt
        The workflow job that the process runs in, if any, and which of its attempts.
    """

    host: str
    pid: int
    boot_id: str | None = None
    pid_namespace: str | None = None
    started: int | None = None
    job_id: str | None = None
    attempt: int = 1

    @classmethod
    def here(cls, job_id: str | None = None, attempt: int = 1) -> Holder:
        """This process."""
        pid = os.getpid()
        return cls(platform.node(), pid, *_kernel(), _started(pid), job_id, attempt)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Holder:
        """From what `as_dict` wrote; raises `TypeError` where it is something else."""
        return cls(**fields)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    @property
    def name(self) -> str:
        """What to call it in a message."""
        if self.job_id:
            return f"workflow job {self.job_id}"
        return f"process {self.pid} on {self.host}"

    def process_is_gone(self) -> bool | None:
        """Whether the process has ended; ``None`` if this process cannot see it, being on another
        machine or in another container."""
        boot_id, namespace = _kernel()
        if None in (boot_id, namespace, self.started):
            return None
        machine = (platform.node(), boot_id, namespace)
        if machine != (self.host, self.boot_id, self.pid_namespace):
            return None
        return _started(self.pid) != self.started

    def was_earlier_attempt_of(self, other: Holder) -> bool:
        """Whether it was in an earlier attempt of the workflow job that another is in: Batch starts
        one after the other."""
        return bool(self.job_id) and self.job_id == other.job_id and self.attempt < other.attempt


def _kernel() -> tuple[str | None, str | None]:
    try:
        boot_id = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return boot_id, str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return None, None


def _started(pid: int) -> int | None:
    """When a process was started; ``None`` if there is none, or only what its parent has not yet
    noticed the end of."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name, in parentheses, may hold anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])
