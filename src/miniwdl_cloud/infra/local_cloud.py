"""An embedded AWS as a background process, with the shipped template deployed into it.

What is kept in its state directory, beside what the emulator keeps there itself:

* ``local.json``: the process, the options it was started with, and the outputs of its stack;
* ``emulator.log``: its log;
* ``up.lock``: held while somebody starts or stops it.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import ConfigurationError, MiniwdlCloudError
from ..settings import environment

if TYPE_CHECKING:
    from ..aws.local import LocalSession
    from ..emulator.state import ServerState

STACK = "miniwdl"
START_TIMEOUT = 120.0
"""Seconds that the emulator may take until it answers."""
STOP_TIMEOUT = 60.0
"""Seconds that it may take to end its jobs and itself, before it is killed."""
EXIT_TIMEOUT = 5.0
"""Seconds that it is then given to be gone."""
_POLL = 0.05
_CONTAINER_MOUNT = "/mnt/efs"
_UNSET = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN")
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


@dataclass(frozen=True)
class LocalOptions:
    """How an embedded AWS is started.

    Parameters
    ----------
    filesystem
        Directory that stands for the shared filesystem.
    executor
        ``process`` or ``docker``.
    port
        TCP port on loopback; 0 for any that is free.
    calls_per_second
        Batch calls a second above which it says "slow down"; `None` for no limit.
    images
        ``NAME=DIR`` texts, for the process executor.
    """

    filesystem: str
    executor: str = "process"
    port: int = 0
    calls_per_second: float | None = None
    images: tuple[str, ...] = field(default_factory=tuple)

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """The options that are not as in another's `asdict`; any port will do for port 0."""
        # By way of JSON, as the other comes from a file, where a tuple is a list.
        mine, other = (json.loads(json.dumps(options)) for options in (asdict(self), other))
        return [
            name.replace("_", "-")
            for name, value in mine.items()
            if other.get(name) != value and not (name == "port" and value == 0)
        ]

    def arguments(self, state: Path) -> list[str]:
        """The command line of the emulator."""
        found = ["--state", str(state), "--filesystem", self.filesystem]
        found += ["--executor", self.executor, "--port", str(self.port)]
        if self.calls_per_second is not None:
            found += ["--allow-calls-per-second", str(self.calls_per_second)]
        for image in self.images:
            found += ["--image", image]
        return found


@dataclass(frozen=True)
class RunningLocalCloud:
    """An embedded AWS that runs, with its stack.

    Parameters
    ----------
    server
        Where it answers, and more.
    outputs
        Outputs of its stack.
    """

    server: ServerState
    outputs: Mapping[str, str]

    def session(self) -> LocalSession:
        """Clients of it."""
        from ..aws.local import LocalSession

        return LocalSession(self.server.endpoint_url, self.server.region)

    def go_wrong(self, plan: Mapping[str, Any]) -> None:
        """Let it follow a fault plan from now on.

        Parameters
        ----------
        plan
            Of docs/testing-failures.md, as JSON has it.

        Raises
        ------
        ConfigurationError
            It does not answer, or does not take the plan.
        """
        request = urllib.request.Request(
            f"{self.server.endpoint_url}/_local/faults", json.dumps(plan).encode(), method="POST"
        )
        # Loopback is reached directly, never through a proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=START_TIMEOUT):
                pass
        except OSError as exn:
            raise ConfigurationError(
                f"The embedded AWS did not take the fault plan ({exn}); stop it with `miniwdl-cloud"
                " local down` and start it again."
            ) from exn

    def exports(self) -> dict[str, str]:
        """The environment that makes any AWS client, and ours, use it."""
        from ..aws.local import DUMMY_CREDENTIAL

        found = {
            "AWS_ENDPOINT_URL": self.server.endpoint_url,
            "AWS_ACCESS_KEY_ID": DUMMY_CREDENTIAL,
            "AWS_SECRET_ACCESS_KEY": DUMMY_CREDENTIAL,
            "AWS_DEFAULT_REGION": self.server.region,
            "AWS_REGION": self.server.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "MINIWDL__AWS__WORKFLOW_QUEUE": self.outputs["WorkflowQueue"],
            "MINIWDL__AWS__WORKFLOW_IMAGE": f"miniwdl-cloud:{__version__}",
            "MINIWDL_CLOUD_BUCKET": self.outputs["BucketName"],
            "MINIWDL_CLOUD_FILESYSTEM": self.server.filesystem,
        }
        if any(environment().get(name) for name in _PROXIES):
            # A proxy cannot reach this machine's loopback.
            known = environment().get("no_proxy") or environment().get("NO_PROXY") or ""
            hosts = [host for host in known.split(",") if host]
            hosts += [host for host in ("127.0.0.1", "localhost") if host not in hosts]
            found.update(NO_PROXY=",".join(hosts), no_proxy=",".join(hosts))
        return found

    def shell(self) -> str:
        """The same as shell commands, for `eval`."""
        lines = [f"unset {' '.join(_UNSET)}"]
        lines += [f"export {name}={shlex.quote(text)}" for name, text in self.exports().items()]
        return "\n".join(lines)

    def process_environment(self) -> dict[str, str]:
        """The same as the environment of a child process."""
        inherited = {k: v for k, v in environment().items() if k not in _UNSET}
        return {**inherited, **self.exports()}


def default_state() -> Path:
    """Where state is kept if nobody says: below the XDG state directory."""
    base = environment().get("XDG_STATE_HOME")
    root = Path(base) if base else Path("~/.local/state").expanduser()
    return root / "miniwdl-cloud" / "local"


def find(state: Path) -> RunningLocalCloud | None:
    """The embedded AWS that runs over a state directory, if one does and is deployed."""
    from ..emulator.state import read_state

    server = read_state(state)
    kept = _read(state)
    if server is None or kept.get("pid") != server.pid or not kept.get("outputs"):
        return None
    return RunningLocalCloud(server, kept["outputs"])


def up(state: Path, options: LocalOptions) -> RunningLocalCloud:
    """Start an embedded AWS and deploy into it; or give back the one that runs already.

    Raises
    ------
    ConfigurationError
        One with other options runs already, or it does not start.
    """
    for module in ("moto", "flask"):
        if importlib.util.find_spec(module) is None:
            raise ConfigurationError(
                "The embedded AWS is not installed; run `pip install 'miniwdl-cloud[local]'`."
            )
    from ..emulator.state import read_state

    state.mkdir(parents=True, exist_ok=True)
    with _turn(state):
        server = read_state(state)
        if server is not None:
            kept = _read(state)
            same_process = kept.get("pid") == server.pid
            other = options.differences(kept.get("options", {})) if same_process else []
            if other:
                raise ConfigurationError(
                    f"An embedded AWS already runs over {state} with another"
                    f" {' and '.join('--' + name for name in other)}; stop it with `miniwdl-cloud"
                    " local down`, or give another directory with --state."
                )
        else:
            server = _start(state, options)
        return _deploy(state, server, options)


def down(state: Path) -> bool:
    """Stop the embedded AWS of a state directory, with all its jobs; `False` if none runs.

    Raises
    ------
    ConfigurationError
        It cannot be stopped.
    """
    from ..emulator.state import FILE_NAME

    if not state.is_dir():
        return False
    with _turn(state):
        ran = not _is_free(state)
        if ran:
            _end(state)
        for name in (FILE_NAME, "local.json"):
            (state / name).unlink(missing_ok=True)
        return ran


def _start(state: Path, options: LocalOptions) -> ServerState:
    from ..emulator.state import read_state

    log = state / "emulator.log"
    command = [sys.executable, "-m", "miniwdl_cloud.emulator", *options.arguments(state)]
    with log.open("w") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            cwd=state,
        )
    _write(state, {"pid": process.pid, "options": asdict(options)})
    deadline = time.monotonic() + START_TIMEOUT
    try:
        while True:
            server = read_state(state)
            if server is not None and server.pid == process.pid:
                return server
            if process.poll() is not None:
                raise ConfigurationError(
                    f"The embedded AWS did not start: {_last_line(log)} (its log is {log})."
                )
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"The embedded AWS did not answer within {START_TIMEOUT:.0f} s; look into"
                    f" {log}."
                )
            time.sleep(_POLL)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _deploy(state: Path, server: ServerState, options: LocalOptions) -> RunningLocalCloud:
    from ..aws.local import LocalSession
    from .deploy import deploy_stack, template_text

    kept = _read(state)
    if kept.get("pid") == server.pid and kept.get("outputs"):
        return RunningLocalCloud(server, kept["outputs"])
    # With the process executor nothing is mounted: the directory is where it is.
    mount = server.filesystem if server.executor == "process" else ""
    outputs = deploy_stack(
        LocalSession(server.endpoint_url, server.region),
        template_text(),
        STACK,
        {
            "MaxVCPUTask": "4096",
            "MaxVCPUWorkflow": "256",
            "MountPoint": "" if mount == _CONTAINER_MOUNT else mount,
        },
        timeout_s=START_TIMEOUT,
        poll_s=_POLL,
    )
    _write(state, {"pid": server.pid, "options": asdict(options), "outputs": outputs})
    return RunningLocalCloud(server, outputs)


def _end(state: Path) -> None:
    """End the emulator that holds the state directory."""
    pid = _holder(state)
    if pid is None:
        raise ConfigurationError(
            f"Some process holds {state}, but it left no word which; end it, or wait for it."
        )
    for number, patience in ((signal.SIGTERM, STOP_TIMEOUT), (signal.SIGKILL, 10.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise ConfigurationError(
                f"The embedded AWS over {state} belongs to another user; let them stop it."
            ) from None
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if _is_free(state):
                _await_exit(pid)
                return
            time.sleep(_POLL)
    raise ConfigurationError(f"The embedded AWS (process {pid}) does not end; kill it.")


def _await_exit(pid: int) -> None:
    """Let a process that has given up its lock finish, so that its directory can be deleted."""
    deadline = time.monotonic() + EXIT_TIMEOUT
    while time.monotonic() < deadline:
        try:
            # If it is our own child, it stays a zombie until it is waited for.
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
        try:
            os.kill(pid, 0)
        except OSError:
            return
        time.sleep(_POLL)


def _holder(state: Path) -> int | None:
    from ..emulator.state import FILE_NAME

    for name in (FILE_NAME, "local.json"):
        try:
            pid = json.loads((state / name).read_text())["pid"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(pid, int) and pid > 1:
            return pid
    return None


def _is_free(state: Path) -> bool:
    """Whether no emulator holds the directory. Its lock is sure where a process id, that may have
    been given anew, is not."""
    from ..emulator.state import StateDirectory

    try:
        StateDirectory(state).release()
    except MiniwdlCloudError:
        return False
    return True


@contextmanager
def _turn(state: Path) -> Iterator[None]:
    """One command at a time starts or stops; the kernel frees the lock of a dead one."""
    with (state / "up.lock").open("a") as lock:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"Another command starts or stops the embedded AWS over {state}; wait for"
                        " it, then try again."
                    ) from None
                time.sleep(_POLL)
        yield


def _read(state: Path) -> dict[str, Any]:
    try:
        kept = json.loads((state / "local.json").read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _write(state: Path, kept: Mapping[str, Any]) -> None:
    temporary = state / f"local.json.{os.getpid()}"
    temporary.write_text(json.dumps(kept, indent=1))
    temporary.replace(state / "local.json")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].rstrip(".") if lines else "it said nothing"
