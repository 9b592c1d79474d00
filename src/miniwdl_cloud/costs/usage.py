"""What a container used, by samples of its cgroup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Usage:
    """What a container used.

    Parameters
    ----------
    seconds
        From the first sample to the last.
    cpu_seconds
        Time of CPUs in between.
    peak_memory_bytes, mean_memory_bytes
        Of memory without what the page cache holds and could give back.
    disk_bytes
        By how much the disk for temporary files was fuller at most than at the start; other
        containers of the machine may have their part in it.
    samples
        How many there are.
    """

    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    mean_memory_bytes: int
    disk_bytes: int
    samples: int

    @property
    def cpus(self) -> float | None:
        """CPUs in use on average; ``None`` if it was too short to say."""
        return self.cpu_seconds / self.seconds if self.seconds >= 1.0 else None

    def as_json(self) -> dict[str, Any]:
        """For the file that keeps a job's detail."""
        return {
            "seconds": round(self.seconds, 3),
            "cpuSeconds": round(self.cpu_seconds, 3),
            "peakMemoryBytes": self.peak_memory_bytes,
            "meanMemoryBytes": self.mean_memory_bytes,
            "diskBytes": self.disk_bytes,
            "samples": self.samples,
        }
