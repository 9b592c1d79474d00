"""The files by which manager and workers know of each other, on the shared filesystem.

Below ``workers/HOST/`` the times of the files tell: ``boot`` (the machine's start), ``alive`` (the
last heartbeat), ``in-swarm`` (last a member of the swarm), ``running-containers`` (last had
tasks), ``shutdown`` (the end that it gave itself, with the reason). Existing scripts know these.
Ours beside them: ``host.json`` (what the worker says of itself) and ``wish`` (what it asks the
manager for).
``workers/_induce_shutdown`` holds a number: the percentage of workers that a stress test ends each
minute. The manager writes ``join`` (how to join the swarm; only root may read it) and
``members.json`` (who is in it).
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import Unreachable
from ..filesystems.weather import write_file_atomically
from .policy import Availability

_T = TypeVar("_T")

INDUCE_SHUTDOWN = "_induce_shutdown"


@dataclass(frozen=True)
class JoinInfo:
    """How to join the swarm.

    Parameters
    ----------
    token
        The join token of workers, a secret.
    address
        ``HOST:PORT`` of the manager.
    """

    token: str
    address: str

    def __repr__(self) -> str:
        return f"JoinInfo(address={self.address!r})"


@dataclass(frozen=True)
class Member:
    """A node, as the manager's list has it.

    Parameters
    ----------
    state
        ``ready``, ``down``, ``unknown`` or ``disconnected``, as Docker says.
    availability
        What the swarm may do with it.
    tasks
        Tasks that are there, those that are being started among them.
    """

    state: str
    availability: Availability
    tasks: int


@dataclass(frozen=True)
class Shared:
    """What a worker reads at each beat.

    Parameters
    ----------
    list_text
        The manager's list as it stands there; empty if there is none.
    join
        How to join the swarm, if the manager has said.
    induce_percent
        Percentage of workers that are to end each minute.
    """

    list_text: str
    join: JoinInfo | None
    induce_percent: float


class FleetTree:
    """The fleet's directory.

    Parameters
    ----------
    directory
        ``[fleet] dir``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.workers = directory / "workers"

    def worker(self, host: str) -> WorkerFiles:
        """The files of one worker."""
        return WorkerFiles(self.workers / host)

    def hosts(self) -> list[str]:
        """The workers that there are files of."""
        try:
            return sorted(path.name for path in self.workers.iterdir() if path.is_dir())
        except FileNotFoundError:
            return []

    def read(self) -> Shared:
        """What a worker reads at each beat; raises `OSError` where the filesystem is not there."""
        if not self.directory.is_dir():
            raise FileNotFoundError(f"{self.directory} is not there")
        join = _read_json(self.directory / "join")
        return Shared(
            _read(self.directory / "members.json"),
            JoinInfo(str(join["token"]), str(join["address"]))
            if "token" in join and "address" in join
            else None,
            _percent(self.workers / INDUCE_SHUTDOWN),
        )

    def publish_join(self, join: JoinInfo) -> None:
        """Say how to join the swarm, readable for this user only."""
        text = json.dumps({"token": join.token, "address": join.address})
        path = self.directory / "join"
        if _read(path) != text:
            _write_private(path, text)

    def publish_members(self, members: Mapping[str, Member], beat: int) -> None:
        """Say who is in the swarm, by node id.

        Parameters
        ----------
        members
            All nodes.
        beat
            A number that is another each time: by it readers see that the list is of recent times.
        """
        nodes = {
            node: {"state": m.state, "availability": m.availability.value, "tasks": m.tasks}
            for node, m in members.items()
        }
        text = json.dumps({"beat": beat, "nodes": nodes})
        self.directory.mkdir(parents=True, exist_ok=True)
        write_file_atomically(text, self.directory / "members.json")


class WorkerFiles:
    """The files of one worker.

    Parameters
    ----------
    directory
        ``workers/HOST``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def booted(self, boot_id: str) -> bool:
        """Note the start of the daemon; what an earlier machine of this name left is removed.

        Parameters
        ----------
        boot_id
            Another text for each start of the machine.

        Returns
        -------
        bool
            Whether the manager was asked for something since the machine's start.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "shutdown").unlink(missing_ok=True)
        if _read(self.directory / "boot").strip() != boot_id:
            (self.directory / "wish").unlink(missing_ok=True)
            write_file_atomically(boot_id, self.directory / "boot")
        return (self.directory / "wish").exists()

    def beat(
        self,
        member: bool,
        tasks: int,
        facts: Mapping[str, Any],
        wish: tuple[Availability, str] | None,
    ) -> None:
        """Give a sign of life.

        Parameters
        ----------
        member, tasks
            Whether this worker is in the swarm, and how many tasks it has.
        facts
            What else there is to say, as JSON.
        wish
            What to ask the manager for, of which node id; ``None`` for nothing.
        """
        touched = ["alive"]
        if member or not (self.directory / "in-swarm").exists():
            touched.append("in-swarm")
        if tasks or not (self.directory / "running-containers").exists():
            touched.append("running-containers")
        for name in touched:
            (self.directory / name).touch()
        # A listing of the directories shows who lives.
        os.utime(self.directory)
        _write_if_new(self.directory / "host.json", json.dumps(dict(facts), sort_keys=True))
        if wish is None:
            (self.directory / "wish").unlink(missing_ok=True)
        else:
            _write_if_new(self.directory / "wish", f"{wish[0].value} {wish[1]}")

    def shutting_down(self, reason: str) -> None:
        """Note that the machine ends, and why."""
        write_file_atomically(reason, self.directory / "shutdown")

    def facts(self) -> dict[str, Any]:
        """What the worker says of itself."""
        return _read_json(self.directory / "host.json")

    def wish(self) -> tuple[Availability, str] | None:
        """What the worker asks the manager for, and of which node id."""
        word, _, node = _read(self.directory / "wish").strip().partition(" ")
        try:
            return (Availability(word), node) if node else None
        except ValueError:
            return None

    def shutdown_reason(self) -> str | None:
        """Why the machine ends or ended itself; ``None`` if it did not."""
        path = self.directory / "shutdown"
        return _read(path).strip() if path.exists() else None

    def beat_time(self) -> float | None:
        """When it last gave a sign of life, in seconds of the filesystem's clock."""
        try:
            return (self.directory / "alive").stat().st_mtime
        except OSError:
            return None


def read_members(text: str) -> dict[str, Member]:
    """The manager's list, by node id; empty if the text is not a list."""
    found = {}
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        for node, item in json.loads(text)["nodes"].items():
            found[node] = Member(
                item["state"], Availability(item["availability"]), int(item["tasks"])
            )
    return found


class Guarded:
    """Calls of the shared filesystem that do not take the caller with them when it hangs.

    A filesystem whose server has gone blocks for ever whoever touches it. One thread does so here;
    while it hangs, each further call fails at once.
    """

    def __init__(self) -> None:
        self._busy: threading.Event | None = None

    def call(self, work: Callable[[], _T], limit_s: float) -> _T:
        """The result of some work.

        Raises
        ------
        Unreachable
            It took longer than this limit in seconds, or an earlier one still does.
        OSError
            As the work raises it.
        """
        if self._busy is not None and not self._busy.is_set():
            raise Unreachable("The shared filesystem does not answer.")
        done = threading.Event()
        results: list[_T] = []
        failures: list[Exception] = []

        def run() -> None:
            try:
                results.append(work())
            except Exception as exn:
                failures.append(exn)
            finally:
                done.set()

        self._busy = done
        threading.Thread(target=run, name="shared-filesystem", daemon=True).start()
        if not done.wait(limit_s):
            raise Unreachable("The shared filesystem does not answer.")
        if failures:
            raise failures[0]
        return results[0]


def _percent(path: Path) -> float:
    try:
        text = path.read_text().strip()
    except OSError:
        return 0.0
    try:
        # An empty file means one in a hundred, as it always did.
        return min(100.0, max(0.0, float(text or 1)))
    except ValueError:
        return 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, PermissionError, UnicodeDecodeError):
        return ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write_if_new(path: Path, text: str) -> None:
    if _read(path).strip() != text:
        write_file_atomically(text, path)


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    part.replace(path)
