"""What the role firewall installs keeps the containers of tasks off the fleet's own doors."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from ansible_runs import play
from hosts import METADATA, START_S, Host, Hosts, Tier

PLAYBOOK = """\
- name: Firewall
  hosts: all
  become: true
  roles: [common, firewall]
"""
SERVER = """\
import socketserver, sys
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"HTTP/1.0 404 Not Found\\r\\nContent-Length: 0\\r\\n\\r\\n")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
for port in sys.argv[2:]:
    import threading
    threading.Thread(target=Server((sys.argv[1], int(port)), Handler).serve_forever).start()
print("ready", flush=True)
"""
PROBE = """\
import socket, sys
for place in sys.argv[1:]:
    kind, host, port = place.split("/")
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(20)
    try:
        s.connect((host, int(port)))
        if kind == "udp":
            # A refusal comes back to the socket that sent.
            s.send(b"x")
            s.recv(1)
        print(place, "open")
    except OSError as error:
        print(place, type(error).__name__)
"""


def swarm(hosts: Hosts) -> list[Host]:
    """A swarm of a manager and two workers."""
    manager, *workers = made = [hosts.add(name) for name in ("manager", "worker1", "worker2")]
    manager.docker("swarm", "init", "--advertise-addr", manager.address)
    token = manager.docker("swarm", "join-token", "--quiet", "worker")
    for worker in workers:
        worker.docker("swarm", "join", "--token", token, f"{manager.address}:2377")
    return made


def test_tasks_reach_none_of_the_fleets_doors(tier: Tier, hosts: Hosts) -> None:
    """From a task's container eight doors are shut that are open to its host, on this machine and
    on others, and one that tasks need is open."""
    manager, worker, other = swarm(hosts)
    playbook = hosts.folder / "firewall.yml"
    playbook.write_text(PLAYBOOK)
    play(tier, hosts, str(playbook), hosts.all, {})
    # What has no server of its own here gets one: Lustre, Docker's API, an endpoint, metadata.
    serve(manager, manager.address, 988, 1021, 2375, 443)
    serve(worker, worker.address, 8080)
    metadata = subprocess.Popen(
        hosts.switch_command("python3", "-c", SERVER, METADATA, "80"),
        stdout=subprocess.PIPE,
    )
    try:
        assert metadata.stdout is not None and metadata.stdout.readline() == b"ready\n"
        forbidden = [
            f"tcp/{manager.address}/2377",
            f"tcp/{other.address}/7946",
            f"tcp/{manager.address}/988",
            f"tcp/{manager.address}/1021",
            f"tcp/{manager.address}/2375",
            f"tcp/{manager.address}/22",
            f"tcp/{METADATA}/80",
            f"tcp/{worker.address}/8080",
        ]
        allowed = f"tcp/{manager.address}/443"
        assert set(probe(worker, "python3", *forbidden, allowed).values()) == {"open"}
        container = "docker run --rm -i ubuntu:20.04 python3"
        # VXLAN's port has no server that answers; the refusal says that it is shut.
        vxlan = f"udp/{other.address}/4789"
        found = probe(worker, container, *forbidden, allowed, vxlan)
        refused = "ConnectionRefusedError"
        assert found == {**dict.fromkeys([*forbidden, vxlan], refused), allowed: "open"}

        # A task of the swarm is no better off.
        fleet_service(manager, worker, [*forbidden, allowed])
    finally:
        metadata.kill()
        metadata.wait()


def fleet_service(manager: Host, worker: Host, places: list[str]) -> None:
    """Run the probe as a service of the swarm, as miniwdl runs tasks, and look at what it finds."""
    command = ("python3", "-c", PROBE, *places)
    manager.docker(
        *("service", "create", "--detach", "--name", "probe", "--restart-condition", "none"),
        *("--constraint", f"node.hostname=={worker.name}", "--no-resolve-image"),
        *("ubuntu:20.04", *command),
    )
    found: dict[str, str] = {}
    deadline = time.monotonic() + START_S
    while len(found) < len(places):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
        shown = manager.docker("service", "logs", "--raw", "probe", check=False)
        found = dict(line.split() for line in shown.splitlines())
    assert [place for place, state in found.items() if state == "open"] == places[-1:]


def probe(host: Host, python: str, *places: str) -> dict[str, str]:
    """What connecting to places comes to, with a Python on a host."""
    shown = host.run(f"{python} - {' '.join(places)}", stdin=PROBE).stdout
    return dict(line.split() for line in shown.splitlines())


def serve(host: Host, *arguments: Any) -> None:
    """Take connections on a host."""
    given = " ".join(str(argument) for argument in arguments)
    host.run("cat >/run/server.py", stdin=SERVER)
    host.run(f"python3 /run/server.py {given} </dev/null >/run/server.log 2>&1 & disown")
    deadline = time.monotonic() + START_S
    while host.run("cat /run/server.log").stdout != "ready\n":
        assert time.monotonic() < deadline, host.run("cat /run/server.log").stdout
        time.sleep(0.1)
