"""The roles make a fleet of hosts that have nothing yet, and change nothing the second time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_runs import WHEELS, play, run_ansible, start_unit, wheels_for
from hosts import START_S, Hosts, Tier

WORKERS = ("worker1", "worker2")
VARIABLES = {
    "miniwdl_pip_arguments": f"--no-index --find-links {WHEELS}",
    "manager_user": "root",
    "worker_user": "root",
    "common_aws_region": "us-east-1",
    "manager_settings": {"period": 1},
    "worker_settings": {"burst": "true", "burst_worker_idle_minutes": 30, "period": 1},
}


class Fleet:
    """A fleet that the roles made."""

    def __init__(self, tier: Tier, network: Hosts) -> None:
        self.tier = tier
        self.network = network
        self.manager = network.add("manager", docker=False)
        self.workers = [network.add(name, docker=False) for name in WORKERS]

    def apply(self) -> dict[str, dict[str, int]]:
        """Apply the roles to all; how many tasks changed something, of each host."""
        (wheel,) = (self.network.folder.parent / "wheels").glob("miniwdl_cloud-*.whl")
        variables = {**VARIABLES, "miniwdl_package": f"{WHEELS}/{wheel.name}"}
        plays = {"manager.yml": [self.manager], "worker.yml": self.workers}
        with ThreadPoolExecutor() as pool:
            # Neither waits for the other, as on AWS.
            futures = [
                pool.submit(play, self.tier, self.network, playbook, hosts, variables)
                for playbook, hosts in plays.items()
            ]
        return {name: counts for future in futures for name, counts in future.result().items()}

    def nodes(self) -> dict[str, str]:
        """Status and availability of each node of the swarm."""
        form = "{{.Hostname}} {{.Status}}/{{.Availability}}"
        shown = self.manager.docker("node", "ls", "--format", form)
        return dict(line.split() for line in shown.splitlines())


@pytest.fixture(scope="module")
def fleet(tier: Tier, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A manager and two workers, made by the roles from hosts without Docker Engine."""
    folder = tmp_path_factory.mktemp("roles")
    with Hosts(tier, folder / "hosts", {wheels_for(tier, folder): WHEELS}) as network:
        made = Fleet(tier, network)
        first = made.apply()
        assert all(counts["changed"] > 5 for counts in first.values())
        yield made


def test_ansible_lint_finds_nothing(tier: Tier, tmp_path: Path) -> None:
    """The playbooks and roles are clean in ansible-lint's strictest profile."""
    done = run_ansible(tier, tmp_path, "ansible-lint", "--offline", "-q")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_time_changes_nothing(fleet: Fleet) -> None:
    """All tasks of all roles are ok, and none changes anything."""
    for host, counts in fleet.apply().items():
        assert counts["changed"] == 0, host
        assert counts["failed"] == counts["unreachable"] == 0


def test_workers_join_by_the_units_commands(fleet: Fleet) -> None:
    """The daemons of manager and workers, run as their units say, make a swarm; the manager takes
    no tasks and logs in on workers with its own key."""
    start_unit(fleet.manager, "miniwdl-cloud-fleet-manager.service")
    for worker in fleet.workers:
        start_unit(worker, "miniwdl-cloud-fleet-worker.service")
    wanted = {"manager": "Ready/Drain", **dict.fromkeys(WORKERS, "Ready/Active")}
    deadline = time.monotonic() + START_S
    while (found := fleet.nodes()) != wanted:
        assert time.monotonic() < deadline, (
            found,
            fleet.workers[0].run("tail /var/log/*fleet*.log"),
        )
        time.sleep(0.2)
    shared = fleet.network.shared / ".swarm"
    assert (shared / "join").stat().st_mode & 0o777 == 0o600
    said = fleet.manager.run("miniwdl-cloud fleet ssh worker2 hostname", check=False)
    assert said.stdout == "worker2\n", said.stderr
    assert fleet.manager.run("miniwdl --version").stdout
    assert fleet.manager.run("cmp /etc/xdg/miniwdl.cfg <(miniwdl-cloud-fleet config)").stdout == ""
