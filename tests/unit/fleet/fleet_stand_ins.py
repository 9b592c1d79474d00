"""What a worker's and a manager's daemon see in their unit tests: no Docker, no AWS, no clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from miniwdl_cloud.errors import MiniwdlCloudError, Unreachable
from miniwdl_cloud.fleet.config import FleetConfig, fleet_config
from miniwdl_cloud.fleet.policy import Availability
from miniwdl_cloud.fleet.scaling import Capacity
from miniwdl_cloud.fleet.swarm import LocalNode, Node, Snapshot, Task
from miniwdl_cloud.fleet.tree import JoinInfo
from miniwdl_cloud.settings import Settings, mapping_source

JOIN = JoinInfo("SWMTKN-secret", "10.0.0.1:2377")


def config(directory: Path, **settings: object) -> FleetConfig:
    """A fleet's settings, with a period of ten seconds."""
    given = {("fleet", key): str(value) for key, value in settings.items()}
    return fleet_config(Settings(mapping_source({**given, ("fleet", "dir"): str(directory)})))


def node(name: str, **what: object) -> Node:
    """A worker that is ready."""
    made = Node(
        f"id-{name}", name, "10.0.0.9", False, "ready", Availability.ACTIVE, Capacity(4, 400)
    )
    return dataclasses.replace(made, **what)  # type: ignore[arg-type]


def task(on: str = "", nano_cpus: int = 1) -> Task:
    """A task on a worker, or one that waits."""
    return Task(f"id-{on}" if on else "", Capacity(nano_cpus, 1), stopping=False)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeSwarm:
    """A Docker Engine: as a node it does what it is told, as a manager it has a snapshot."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.here = LocalNode("inactive", "", ())
        self.containers = 0
        self.refuses: MiniwdlCloudError | None = None
        self.now = Snapshot((), ())

    def local(self) -> LocalNode:
        if self.refuses:
            raise self.refuses
        return self.here

    def container_count(self) -> int:
        return self.containers

    def join(self, join: JoinInfo) -> None:
        self.calls.append(("join", join.address))
        if self.refuses:
            raise self.refuses
        self.here = LocalNode("active", "id-w1", (join.address,))

    def leave(self) -> None:
        self.calls.append("leave")
        self.here = LocalNode("inactive", "", ())

    def snapshot(self) -> Snapshot:
        if self.refuses:
            raise self.refuses
        return self.now

    def join_info(self) -> JoinInfo:
        return JOIN

    def set_availability(self, node_id: str, availability: Availability) -> None:
        self.calls.append((node_id, availability))

    def forget(self, node_id: str) -> None:
        self.calls.append(("forget", node_id))


class Machine:
    """Where a worker's last deeds end."""

    def __init__(self, failures: int = 0) -> None:
        self.ended: list[Sequence[str]] = []
        self.left: list[str] = []
        self.failures = failures

    def end(self, command: Sequence[str]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("no such command")
        self.ended.append(command)

    def leave_group(self, instance_id: str) -> None:
        self.left.append(instance_id)
        if instance_id == "i-refused":
            raise Unreachable("AWS did not answer")


class MetadataStub:
    """Answers of an instance metadata service, version 2; what is not there is 404."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.tokens = 0
        self.url = ""

    def get(self, path: str, token: str | None) -> tuple[int, str]:
        """Status and text for a GET."""
        if token != f"token-{self.tokens}":
            return 401, ""
        name = path.removeprefix("/latest/meta-data/")
        return (200, self.answers[name]) if name in self.answers else (404, "")

    def expire(self) -> None:
        """Forget the token that is out."""
        self.tokens += 1


@contextmanager
def metadata_service() -> Iterator[MetadataStub]:
    """A metadata service on loopback."""
    stub = MetadataStub()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            assert self.path == "/latest/api/token"
            assert int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21600
            stub.tokens += 1
            self._answer(200, f"token-{stub.tokens}")

        def do_GET(self) -> None:
            self._answer(*stub.get(self.path, self.headers["X-aws-ec2-metadata-token"]))

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
