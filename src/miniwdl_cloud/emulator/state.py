"""Which emulator runs over a state directory: its lock, and its ``server.json``."""

from __future__ import annotations

import fcntl
import json
import os
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError

FILE_NAME = "server.json"
_LOCK_NAME = "server.lock"


@dataclass(frozen=True)
class ServerState:
    """A running emulator.

    Parameters
    ----------
    pid
        Its process.
    endpoint_url
        Where it answers.
    region
        Its Region.
    filesystem
        Directory that stands for the shared filesystem.
    executor
        ``process`` or ``docker``.
    """

    pid: int
    endpoint_url: str
    region: str
    filesystem: str
    executor: str


def read_state(state_dir: Path, timeout_s: float = 5.0) -> ServerState | None:
    """The emulator that runs over a state directory, or `None`.

    A file that a dead emulator left counts for nothing: its process must live and answer at its
    address with the same process id.

    Parameters
    ----------
    state_dir
        The state directory.
    timeout_s
        Seconds to wait for its answer.
    """
    try:
        found: dict[str, Any] = json.loads((state_dir / FILE_NAME).read_text())
        state = ServerState(**{name: found[name] for name in ServerState.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not _is_alive(state.pid):
        return None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{state.endpoint_url}/_local/health", timeout=timeout_s) as answer:
            health = json.load(answer)
    except (OSError, ValueError):
        return None
    return state if health.get("pid") == state.pid else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError, TypeError):
        return False
    return True


class StateDirectory:
    """A state directory that an emulator holds as long as it runs.

    Parameters
    ----------
    path
        The directory; made if missing.

    Raises
    ------
    ConfigurationError
        Another emulator that runs holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock = (path / _LOCK_NAME).open("a")
        try:
            # The kernel frees it with the process, however that ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ConfigurationError(
                f"An embedded AWS already runs over {path}; use it, stop it with `miniwdl-cloud"
                f" local down --state {path}`, or give another directory with --state."
            ) from None

    def publish(self, state: ServerState) -> None:
        """Say in ``server.json`` that the emulator is ready; the file appears complete."""
        temporary = self.path / f"{FILE_NAME}.{os.getpid()}"
        temporary.write_text(json.dumps(asdict(state), indent=1))
        temporary.replace(self.path / FILE_NAME)

    def release(self) -> None:
        """Take ``server.json`` away and let another emulator have the directory."""
        (self.path / FILE_NAME).unlink(missing_ok=True)
        self._lock.close()
