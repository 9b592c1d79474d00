"""A fleet on `hosts`: the daemons of manager and workers, and miniwdl on the manager.

Programs run from this checkout, in a host's network, names and processes, and see the shared
filesystem where the host sees it: so the fleet needs no installation, and any Python will do. What
runs so dies with its host.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hosts import SHARED, START_S, Host, Hosts

BIN = Path(sys.executable).parent
LOOK_S = 0.5

_IN_HOST = """
mount --make-rprivate /
if [ ! -d /mnt/shared ]; then mount -t tmpfs tmpfs /mnt; mkdir /mnt/shared; fi
mount --bind "$1" /mnt/shared
cd /mnt/shared
shift
exec "$@"
"""


def until(what: Callable[[], Any], why: Callable[[], str], limit_s: float = START_S) -> Any:
    """Look again and again until something is true; what it was.

    Parameters
    ----------
    what
        What should become true.
    why
        What to say if it does not within so many seconds.

    Raises
    ------
    AssertionError
        It was not within so many seconds.
    """
    deadline = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {why()}"
        time.sleep(LOOK_S)
    return found


class Metadata:
    """Answers of an instance metadata service, by path below ``meta-data/``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, str] = {}


@contextmanager
def metadata_service(address: str) -> Iterator[Metadata]:
    """An instance metadata service, version 2, at an address of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._answer("token")

        def do_GET(self) -> None:
            assert self.headers["X-aws-ec2-metadata-token"] == "token"
            self._answer(metadata.answers.get(self.path.removeprefix("/latest/meta-data/")))

        def _answer(self, text: str | None) -> None:
            self.send_response(404 if text is None else 200)
            self.send_header("Content-Length", str(len(text or "")))
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    metadata = Metadata(f"http://{address}:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield metadata
    finally:
        server.shutdown()
        server.server_close()


class Fleet:
    """A manager and workers, each with its daemon.

    Parameters
    ----------
    hosts
        The network that they are on.
    settings
        Of section ``[fleet]``, for all of them.
    """

    def __init__(self, hosts: Hosts, **settings: object) -> None:
        self.hosts = hosts
        self._settings = {"period": 1, "metadata_url": 0, **settings}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._numbers = 0
        self.manager = hosts.add("manager")
        self.manager.docker("swarm", "init", "--advertise-addr", self.manager.address)
        own = self.manager.docker("info", "--format", "{{.Swarm.NodeID}}")
        self.manager.docker("node", "update", "--availability", "drain", own)
        # What the role `manager` makes.
        (hosts.shared / ".swarm").mkdir()
        self.daemon(self.manager, "manager")

    def daemon(self, host: Host, which: str, **settings: object) -> subprocess.Popen[bytes]:
        """Start a daemon on a host."""
        command = {"shutdown_command": "kill -TERM 1"}
        environ = {
            f"MINIWDL__FLEET__{key}".upper(): str(value)
            for key, value in {**self._settings, **command, **settings}.items()
        }
        return self.start(host, [str(BIN / "miniwdl-cloud-fleet"), which], environ, f"{which}.log")

    def start(
        self, host: Host, argv: list[str], environ: Mapping[str, str], log: str
    ) -> subprocess.Popen[bytes]:
        """Start a program on a host; what it says goes to a file."""
        path = self.hosts.folder / f"{host.name}.{log}"
        with path.open("ab") as out:
            process = subprocess.Popen(
                self.inside(host, argv),
                env=self.environ(host, environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._processes.append(process)
        return process

    def inside(self, host: Host, argv: list[str]) -> list[str]:
        """Command that runs a program of this machine on a host."""
        target = ["nsenter", f"--target={host.pid}", "--net", "--uts", "--pid"]
        shared = str(self.hosts.shared)
        return [*target, "unshare", "--mount", "bash", "-euc", _IN_HOST, "inside", shared, *argv]

    def environ(self, host: Host, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a program on a host."""
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
        home = self.hosts.folder / "home"
        home.mkdir(exist_ok=True)
        docker = {"DOCKER_HOST": host.docker_host, "HOME": str(home)}
        return {**kept, **docker, **(more or {})}

    def call(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this package on the manager."""
        environ = {f"MINIWDL__FLEET__{k}".upper(): str(v) for k, v in self._settings.items()}
        return subprocess.run(
            self.inside(self.manager, [str(BIN / argv[0]), *argv[1:]]),
            env=self.environ(self.manager, environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )

    def add(self, name: str | None = None, **settings: object) -> Host:
        """Raise a worker; it joins by itself, sooner or later."""
        self._numbers += 1
        host = self.hosts.add(name or f"worker{self._numbers}")
        self.daemon(host, "worker", **settings)
        return host

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The nodes of the swarm that are ready, by host name."""
        found = self.status()["workers"]
        up = ("ready", "paused", "draining", "drained")
        return {one["host"]: one for one in found if one["state"] in up}

    def status(self) -> dict[str, Any]:
        """What `miniwdl-cloud fleet status --json` says."""
        done = self.call("miniwdl-cloud", "fleet", "status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def wait_for(self, *names: str) -> None:
        """Wait until these workers, and no others, are ready."""
        until(lambda: set(self.nodes()) == set(names), self.log)

    def end_of(self, name: str) -> str | None:
        """Why a worker ended itself; ``None`` if it did not."""
        path = self.hosts.shared / ".swarm" / "workers" / name / "shutdown"
        return path.read_text().strip() if path.exists() else None

    def running_on(self, host: Host) -> list[str]:
        """The ``miniwdl_run_id`` of each task that runs on a host, as its own engine says."""
        label = '{{.Label "miniwdl_run_id"}}'
        return host.docker("ps", "--format", label).split()

    def log(self) -> str:
        """The ends of all logs."""
        paths = sorted(self.hosts.folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in paths)

    def miniwdl(
        self, wdl: str, inputs: Mapping[str, object], **settings: str
    ) -> subprocess.Popen[bytes]:
        """Start a workflow on the manager, with the configuration of a fleet; its run directory is
        `run_dir`."""
        folder = self.hosts.shared / "wdl"
        folder.mkdir(exist_ok=True)
        (folder / "source.wdl").write_text(wdl)
        (folder / "inputs.json").write_text(json.dumps(dict(inputs)))
        config = self.call("miniwdl-cloud-fleet", "config")
        (folder / "miniwdl.cfg").write_text(config.stdout)
        at = f"{SHARED}/wdl"
        argv = [str(BIN / "miniwdl"), "run", f"{at}/source.wdl", "--input", f"{at}/inputs.json"]
        argv += ["--cfg", f"{at}/miniwdl.cfg", "--dir", f"{SHARED}/run/."]
        return self.start(self.manager, argv, settings, "miniwdl.log")

    @property
    def run_dir(self) -> Path:
        """The run directory of the workflow that `miniwdl` started."""
        return self.hosts.shared / "run"

    def close(self) -> None:
        """End what was started."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for host in self.hosts.all:
            host.kill()
        for process in self._processes:
            process.wait(START_S)
