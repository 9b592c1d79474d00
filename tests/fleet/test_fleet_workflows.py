"""Workflows on a fleet whose workers come and go."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest
from fleet_runs import LOOK_S, Fleet, metadata_service, until
from hosts import Hosts

LOSS_EVERY_S = 20
RUN_LIMIT_S = 500
"""Several times what a run takes on a quiet machine of two cores."""

SCATTER = """
version 1.0
task number {
  input { Int i Float seconds }
  command <<<
    sleep ~{seconds}
    echo ~{i} > n.txt
  >>>
  output { File n = "n.txt" }
  runtime { cpu: 1 memory: "64M" }
}
workflow many {
  input { Int count Float seconds }
  scatter (i in range(count)) { call number { input: i = i, seconds = seconds } }
  output { Array[File] numbers = number.n }
}
"""
DEFAULTS = '{"docker": "ubuntu:20.04", "preemptible": 10}'
"""More than any task is interrupted here, and not one failure is forgiven."""


@pytest.fixture
def fleet(hosts: Hosts) -> Iterator[Fleet]:
    """A fleet without workers."""
    raised = Fleet(hosts, ssh_user="root", ssh_key=hosts.key)
    yield raised
    raised.close()


def start(fleet: Fleet, count: int, seconds: float) -> subprocess.Popen[bytes]:
    """Start a scatter of so many tasks, which take so long each."""
    inputs = {"count": count, "seconds": seconds}
    return fleet.miniwdl(SCATTER, inputs, MINIWDL__TASK_RUNTIME__DEFAULTS=DEFAULTS)


def again(fleet: Fleet, run_id: str) -> float:
    """When a task began its second attempt, in seconds of the filesystem's clock."""
    path = fleet.run_dir / run_id / "stderr2.txt"
    assert path.exists(), f"{run_id} did not run again"
    return path.stat().st_mtime


def check_outputs(fleet: Fleet, count: int) -> None:
    """Each task's output is there, and says what it should."""
    outputs = json.loads((fleet.run_dir / "outputs.json").read_text())["many.numbers"]
    here = [fleet.hosts.shared / path.removeprefix("/mnt/shared/") for path in outputs]
    assert [int(path.read_text()) for path in here] == list(range(count))


def not_done(fleet: Fleet, run_ids: list[str]) -> list[str]:
    """Those of some tasks that have no output yet."""
    return [
        one
        for one in run_ids
        if not (fleet.run_dir / one / "outputs.json").exists()
        and not (fleet.run_dir / one / "work" / "n.txt").exists()
    ]


def test_300_tasks_survive_the_loss_of_a_worker_every_20_seconds(fleet: Fleet) -> None:
    """All outputs are there at the end, and each task that was lost with a worker ran again."""
    names = [f"worker{n}" for n in range(1, 6)]
    workers = [fleet.add(name) for name in names]
    fleet.wait_for(*names)
    run = start(fleet, 300, seconds=3.0)
    lost: dict[str, float] = {}
    losses = 0
    began = next_loss = time.monotonic()
    while run.poll() is None:
        now = time.monotonic()
        assert now - began < RUN_LIMIT_S, fleet.log()
        if now >= next_loss:
            busy = {host: not_done(fleet, fleet.running_on(host)) for host in workers}
            victim = max(workers, key=lambda host: len(busy[host]))
            # The first loss waits for the first task, each other one for its time.
            if busy[victim]:
                victim.kill()
                at = time.time()
                lost.update((one, at) for one in not_done(fleet, busy[victim]))
                workers[workers.index(victim)] = fleet.add(victim.name)
                losses += 1
                next_loss = now + LOSS_EVERY_S
        time.sleep(LOOK_S)
    assert run.returncode == 0, fleet.log()
    check_outputs(fleet, 300)
    assert losses >= 3
    assert lost
    waits = [again(fleet, one) - at for one, at in lost.items()]
    took = time.monotonic() - began
    print(
        f"{took:.0f} s, {losses} workers lost with {len(lost)} tasks, again in {max(waits):.0f} s"
    )


def test_a_scatter_of_200_while_workers_are_killed_cut_off_drained_and_added(fleet: Fleet) -> None:
    """Each way to lose a worker moves its tasks on; each worker ends for its reason, or stays."""
    with metadata_service(fleet.hosts.gateway) as metadata:
        killed = fleet.add("killed")
        cut_off = fleet.add("cut-off", orphan_minutes=0.5)
        drained = fleet.add("drained")
        reclaimed = fleet.add("reclaimed", metadata_url=metadata.url)
        workers = [killed, cut_off, drained, reclaimed]
        fleet.wait_for(*(host.name for host in workers))
        run = start(fleet, 200, seconds=1.0)
        until(lambda: all(fleet.running_on(host) for host in workers), fleet.log)

        running = fleet.running_on(killed)
        killed.kill()
        lost = not_done(fleet, running)
        cut_off.partition()
        metadata.answers["spot/instance-action"] = '{"action": "terminate"}'
        done = fleet.call("miniwdl-cloud", "fleet", "drain", "drained", "--wait")
        assert done.returncode == 0, done.stderr
        reclaimed.wait()
        added = fleet.add("added", burst="true", burst_worker_idle_minutes=0.3)
        done = fleet.call("miniwdl-cloud", "fleet", "drain", "drained", "--undo")
        assert done.returncode == 0, done.stderr
        cut_off.wait()
        until(lambda: run.poll() is not None, fleet.log, RUN_LIMIT_S)
        assert run.returncode == 0, fleet.log()
        check_outputs(fleet, 200)
        for one in lost:
            again(fleet, one)
        added.wait()
    ends = {host.name: fleet.end_of(host.name) for host in [*workers, added]}
    assert ends == {
        "killed": None,
        "cut-off": "orphaned",
        "drained": None,
        "reclaimed": "spot interruption notice",
        "added": "idle",
    }
    fleet.wait_for("drained")
    name = fleet.call("miniwdl-cloud", "fleet", "ssh", "drain", "hostname")
    assert (name.returncode, name.stdout) == (0, "drained\n"), name.stderr
    shown = fleet.call("miniwdl-cloud", "fleet", "status").stdout
    assert "ended: idle" in shown
    assert "no tasks wait" in shown
