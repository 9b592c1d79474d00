"""What an executor is: the part of the emulator that really runs a job's container."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Mount:
    """A directory of this machine at a path in the container."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class ContainerSpec:
    """One attempt of one job, ready to run.

    Parameters
    ----------
    name
        Unique among all attempts of the emulator's life; fits a Docker container name.
    image
        Container image as the job definition names it.
    command
        Argument vector after parameter substitution; empty means the image's own command.
    environment
        All variables of the container, AWS Batch's own included.
    mounts
        Directories of this machine to mount.
    vcpus
        CPUs; fractions as Fargate allows.
    memory_mib
        Hard memory limit in MiB.
    gpus
        Number of GPUs.
    privileged, user, read_only_root
        As in the job definition.
    entry_point
        Replaces the image's own, where it is given.
    ulimits
        Name, soft and hard limit of each; only containers have them.
    shared_memory_mib
        Size of /dev/shm in MiB, where it is given; only of containers.
    """

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...] = ()
    vcpus: float = 1.0
    memory_mib: int = 2048
    gpus: int = 0
    privileged: bool = False
    user: str | None = None
    read_only_root: bool = False
    entry_point: tuple[str, ...] | None = None
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shared_memory_mib: int | None = None


def ulimits_of(container: Mapping[str, Any]) -> tuple[tuple[str, int, int], ...]:
    """The limits of a container, as a definition of Batch or of ECS says them."""
    found = container.get("ulimits") or []
    return tuple((u["name"], u["softLimit"], u["hardLimit"]) for u in found)


@dataclass(frozen=True)
class ContainerExit:
    """How an attempt ended.

    Parameters
    ----------
    exit_code
        Of the container's command; ``None`` if it never started.
    reason
        The container's reason as ECS words it (``OutOfMemoryError: Container killed due to memory
        usage``, ``CannotPullContainerError: …``); ``None`` for a plain exit.
    """

    exit_code: int | None
    reason: str | None = None


class RunningContainer(Protocol):
    """A container that was asked to start."""

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM, and SIGKILL when ``grace_s`` seconds have passed. Returns at once."""


class Executor(Protocol):
    """Runs containers. All calls return at once; news comes through the callbacks, which may be
    called from any thread, each at most once but ``on_log``."""

    def start(
        self,
        spec: ContainerSpec,
        on_started: Callable[[], None],
        on_log: Callable[[str], None],
        on_exit: Callable[[ContainerExit], None],
    ) -> RunningContainer:
        """Start a container.

        ``on_started`` when its command runs (never, if it cannot be started); ``on_log`` for each
        line of its standard output and standard error, without the line end; ``on_exit`` once it
        is gone, after its last ``on_log``.
        """

    def close(self) -> None:
        """Kill what still runs and free everything."""
