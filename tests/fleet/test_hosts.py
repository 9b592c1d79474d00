"""The hosts of the fleet's tests do what hosts do, and leave nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from hosts import CGROUPS, START_S, Host, Hosts, Tier

SWARM = "docker swarm join --token {token} {address}:2377"


def node_states(manager: Host) -> dict[str, str]:
    """What the swarm says of each node."""
    shown = manager.docker("node", "ls", "--format", "{{.Hostname}} {{.Status}}")
    return dict(line.split() for line in shown.splitlines())


def wait_for(manager: Host, states: dict[str, str]) -> None:
    """Wait until nodes have these states."""
    deadline = time.monotonic() + START_S
    while (found := node_states(manager)) != states:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_hosts_form_a_swarm_and_are_lost_cut_off_and_shut_down(hosts: Hosts) -> None:
    """What is killed, cut off or shut down is Down; what is back is Ready, and does tasks."""
    manager, *workers = [hosts.add(name) for name in ("manager", "w1", "w2", "w3")]
    manager.run(f"docker swarm init --advertise-addr {manager.address}")
    # A node is missed after three beats.
    manager.docker("swarm", "update", "--dispatcher-heartbeat", "1s")
    token = manager.docker("swarm", "join-token", "--quiet", "worker")
    for worker in workers:
        worker.run(SWARM.format(token=token, address=manager.address))
    wait_for(manager, dict.fromkeys(("manager", "w1", "w2", "w3"), "Ready"))

    workers[0].kill()
    workers[1].partition()
    workers[2].run("nohup shutdown -h now >/dev/null 2>&1 &")
    workers[2].wait()
    wait_for(manager, {"manager": "Ready", "w1": "Down", "w2": "Down", "w3": "Down"})
    assert [host.name for host in hosts.all] == ["manager", "w2"]
    workers[1].heal()
    wait_for(manager, {"manager": "Ready", "w1": "Down", "w2": "Ready", "w3": "Down"})

    # Containers run, and see what all hosts share.
    mount = "type=bind,source=/mnt/shared,target=/mnt/shared"
    workers[1].run(f"docker run --rm --mount {mount} ubuntu:20.04 touch /mnt/shared/seen")
    assert (hosts.shared / "seen").exists()
    assert manager.run("ls /mnt/shared").stdout == "seen\n"


def test_nothing_is_left_when_the_test_process_is_killed(tier: Tier, tmp_path: Path) -> None:
    """Processes, interfaces and mounts go away with the process that started them."""
    folder = tmp_path / "hosts"
    program = f"""\
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from hosts import Hosts, Tier
with Hosts(Tier(Path({str(tier.hosts)!r}), Path()), Path({str(folder)!r})) as hosts:
    print(hosts.add("a").pid, hosts.gateway, hosts.cgroup, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid, gateway, cgroup = process.stdout.readline().split()
        assert gateway in addresses()
        process.kill()
    deadline = time.monotonic() + START_S
    while Path(f"/proc/{pid}").exists() or gateway in addresses():
        assert time.monotonic() < deadline, "the host is still there"
        time.sleep(0.1)
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    # No container ran, and so there is no cgroup either.
    assert not list(CGROUPS.glob(f"**/{cgroup}"))


def addresses() -> list[str]:
    """This machine's addresses."""
    shown = subprocess.run(
        ["ip", "-o", "-4", "address"], capture_output=True, text=True, check=True
    ).stdout
    return [line.split()[3].split("/")[0] for line in shown.splitlines()]
