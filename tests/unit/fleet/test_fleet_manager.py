"""The manager's daemon, and what a person sees of a fleet."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pytest
from fleet_stand_ins import JOIN, Clock, FakeSwarm, config, node, task

from miniwdl_cloud.aws.autoscaling import Group
from miniwdl_cloud.errors import NotFound, ServiceError, UsageError
from miniwdl_cloud.fleet.manager import BOOT_S, Manager
from miniwdl_cloud.fleet.policy import Availability
from miniwdl_cloud.fleet.scaling import Capacity
from miniwdl_cloud.fleet.status import find_worker, fleet_status, lines
from miniwdl_cloud.fleet.swarm import Node, Snapshot, Task
from miniwdl_cloud.fleet.tree import FleetTree, read_members

ACTIVE, PAUSE, DRAIN = Availability.ACTIVE, Availability.PAUSE, Availability.DRAIN


class Groups:
    """EC2 Auto Scaling with one group."""

    def __init__(self, desired: int = 0, instances: tuple[str, ...] = (), maximum: int = 9) -> None:
        self.now = Group("burst", desired, 0, maximum, instances)
        self.asked: list[int] = []
        self.refuses = False

    def group(self, name: str) -> Group:
        assert name == "burst"
        return self.now

    def set_desired(self, name: str, desired: int) -> None:
        assert name == "burst"
        self.asked.append(desired)
        if self.refuses:
            raise ServiceError("AWS refused.")


class Scene:
    """A manager and what is around it."""

    def __init__(self, directory: Path, groups: Groups | None = None, **settings: object) -> None:
        directory.mkdir(exist_ok=True)
        self.tree, self.swarm, self.clock = FleetTree(directory), FakeSwarm(), Clock()
        self.groups = groups or Groups()
        self.manager = Manager(
            config(directory, **settings),
            self.swarm,  # type: ignore[arg-type]
            self.tree,
            self.groups,  # type: ignore[arg-type]
            self.clock,
        )

    def beat(self, *items: Node | Task, after_s: float = 10) -> list[object]:
        """A beat with these nodes and tasks; what the Docker Engine was told."""
        nodes = tuple(item for item in items if isinstance(item, Node))
        tasks = tuple(item for item in items if isinstance(item, Task))
        self.swarm.now, self.swarm.calls = Snapshot(nodes, tasks), []
        self.clock.now += after_s
        self.manager.beat()
        return self.swarm.calls

    def worker(
        self, name: str, wish: tuple[Availability, str] | None = None, **facts: object
    ) -> None:
        """A worker's sign of life."""
        self.tree.worker(name).booted("boot")
        facts = {"node_id": f"id-{name}", **facts}
        self.tree.worker(name).beat(True, 0, facts, wish)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A manager that scales nothing."""
    return Scene(tmp_path / "swarm")


def test_it_says_how_to_join_and_who_is_in_the_swarm(scene: Scene) -> None:
    """The list is another text at each beat, so that workers see that it is of now."""
    scene.beat(node("w1"), node("w2", state="down"), task("w1"), task())
    first = scene.tree.read()
    assert first.join == JOIN
    members = read_members(first.list_text)
    assert {key: (m.state, m.tasks) for key, m in members.items()} == {
        "id-w1": ("ready", 1),
        "id-w2": ("down", 0),
    }
    scene.beat(node("w1"), node("w2", state="down"), task("w1"), task())
    assert scene.tree.read().list_text != first.list_text


@pytest.mark.parametrize(
    ("wish", "now", "told"),
    [
        (PAUSE, ACTIVE, PAUSE),
        (DRAIN, ACTIVE, DRAIN),
        (DRAIN, PAUSE, DRAIN),
        (ACTIVE, PAUSE, ACTIVE),
        (PAUSE, PAUSE, None),
        (ACTIVE, DRAIN, None),
        (PAUSE, DRAIN, None),
    ],
)
def test_wishes(scene: Scene, wish: Availability, now: Availability, told: object) -> None:
    """What workers ask for is done, but a drained node stays drained."""
    scene.worker("w1", (wish, "id-w1"))
    calls = scene.beat(node("w1", availability=now))
    assert calls == ([("id-w1", told)] if told else [])


def test_wishes_of_others_are_not_heard(scene: Scene) -> None:
    """Of a node that has gone, of the manager itself, of one that is down; nor is nonsense."""
    scene.worker("w1", (DRAIN, "id-earlier"))
    scene.worker("w2", (DRAIN, "id-w2"))
    scene.worker("w3", (DRAIN, "id-manager"))
    scene.worker("w4")
    (scene.tree.workers / "w4" / "wish").write_text("fly id-w1\n")
    nodes = [node("w1"), node("w2", state="down"), node("manager", manager=True)]
    assert scene.beat(*nodes) == []


def test_a_worker_that_was_lost_long_ago_is_forgotten(scene: Scene) -> None:
    """After ten minutes without a break; one that came back and went again has its time anew."""
    down, up = node("w1", state="down"), node("w1")
    assert scene.beat(down) == []
    assert scene.beat(down, after_s=599) == []
    assert scene.beat(up) == []
    assert scene.beat(down) == []
    assert scene.beat(down, after_s=599) == []
    assert scene.beat(down, after_s=1) == [("forget", "id-w1")]


def test_one_step_that_fails_does_not_keep_the_others(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, and tried again at each beat."""
    scene.worker("w1", (PAUSE, "id-w1"))
    scene.tree.directory.joinpath("join").mkdir()
    for _ in range(3):
        assert scene.beat(node("w1")) == [("id-w1", PAUSE)]
    assert len(caplog.records) == 1
    scene.swarm.refuses = ServiceError("The Docker Engine refused.")
    scene.beat(node("w1"))
    scene.beat(node("w1"))
    assert [record.message for record in caplog.records][1:] == ["The Docker Engine refused."]


def test_it_raises_the_burst_group_for_tasks_that_wait(tmp_path: Path) -> None:
    """After the wait, and once; a worker of the group tells how large they are."""
    scene = Scene(tmp_path / "swarm", Groups(1, ("i-1",)), scale="on", burst_group="burst")
    scene.worker("w1", group="burst", instance_id="i-1")
    large = node("w0", capacity=Capacity(100, 1000))
    now = [node("w1"), large, *[task("w1", 4), task("w0", 100)], *[task("", 2)] * 6]
    scene.beat(*now)
    scene.beat(*now, after_s=59)
    assert scene.groups.asked == []
    scene.beat(*now, after_s=1)
    assert scene.groups.asked == [4]
    scene.groups.now = Group("burst", 4, 0, 9, ("i-1", "i-2"))
    for _ in range(50):
        scene.beat(*now)
    assert scene.groups.asked == [4]


def test_machines_that_never_join_are_not_waited_for_for_ever(tmp_path: Path) -> None:
    """After a quarter of an hour others are asked for in their place."""
    scene = Scene(tmp_path / "swarm", Groups(1, ("i-1",)), scale="on", burst_group="burst")
    now = [node("w0", availability=DRAIN), task("", 2)]
    scene.beat(*now)
    scene.beat(*now, after_s=BOOT_S - 1)
    assert scene.groups.asked == []
    scene.beat(*now, after_s=1)
    scene.beat(*now, after_s=60)
    assert scene.groups.asked == [2]


def test_a_capacity_that_aws_refuses_is_asked_for_again(tmp_path: Path) -> None:
    """A refusal is not taken for a change."""
    scene = Scene(tmp_path / "swarm", scale="on", burst_group="burst")
    scene.groups.refuses = True
    now = [node("w0", availability=DRAIN), task("", 2)]
    for after in (0, 60, 10):
        scene.beat(*now, after_s=after)
    assert scene.groups.asked == [1, 1]


@pytest.mark.parametrize("scale", ["off", "dry-run"])
def test_without_permission_nothing_is_changed(
    tmp_path: Path, scale: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Off says nothing, a dry run what it would do."""
    caplog.set_level(logging.INFO, "miniwdl_cloud.fleet")
    scene = Scene(tmp_path / "swarm", scale=scale, burst_group="burst")
    for _ in range(20):
        scene.beat(node("w0", availability=DRAIN), task("", 2))
    assert scene.groups.asked == []
    said = [record.message for record in caplog.records]
    if scale == "off":
        assert said == []
    else:
        assert said[-1] == (
            "burst group, dry run: 1 waiting tasks would take 1 more workers: 0 -> 1 (bound 9)"
        )


def test_the_setting_bounds_the_group(tmp_path: Path) -> None:
    """[fleet] burst_max, where it is less than the group's own maximum."""
    scene = Scene(tmp_path / "s", scale="on", burst_group="burst", burst_max=3)
    for _ in range(20):
        scene.beat(node("w0", availability=DRAIN), *[task("", 4)] * 50)
    assert scene.groups.asked[0] == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scale": "perhaps"}, "should be off, dry-run or on"),
        ({"scale": "on"}, "there is no burst group"),
        ({"period": 0}, "should be more than 0"),
        ({"period": "nan"}, "should be more than 0"),
        ({"shutdown_command": "'shutdown"}, "is not a command"),
        ({"burst": "maybe"}, "should be true or false"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings: dict[str, object], words: str) -> None:
    """Each is told in a sentence that says what to do."""
    with pytest.raises(UsageError, match=words) as raised:
        config(tmp_path, **settings)
    assert raised.value.exit_code == 64


def test_status_tells_workers_tasks_and_what_waits(scene: Scene) -> None:
    """Each state in its word, with what the heartbeat adds."""
    gib = 2**30
    own = {"burst": True, "load": 1.5, "instance_id": "i-1"}
    scene.worker("w1", **own)
    scene.worker("w2", burst=False, load=0.0)
    scene.worker("w7")
    scene.worker("w8")
    scene.tree.worker("w8").shutting_down("idle")
    for name, age_s in {"w6": 600, "w9": 4000}.items():
        scene.worker(name)
        then = time.time() - age_s
        os.utime(scene.tree.workers / name / "alive", (then, then))
    size = Capacity(4_000_000_000, 16 * gib)
    some = Capacity(1_000_000_000, 2 * gib)
    snapshot = Snapshot(
        (
            node("manager", manager=True, availability=DRAIN),
            node("w1", capacity=size),
            node("w2", capacity=size, availability=PAUSE),
            node("w3", availability=DRAIN),
            node("w4", availability=DRAIN),
            node("w5", state="down"),
        ),
        (
            *[Task("id-w1", some, False)] * 2,
            Task("id-w3", Capacity(), True),
            Task("id-w5", some, True),
            Task("", some, False),
        ),
    )
    status = fleet_status(snapshot, scene.tree)
    states = {one.host: (one.state, one.tasks) for one in status.workers}
    assert states == {
        "w1": ("ready", 2),
        "w2": ("paused", 0),
        "w3": ("draining", 1),
        "w4": ("drained", 0),
        "w5": ("down", 0),
        "w6": ("lost", 0),
        "w7": ("joining", 0),
        "w8": ("ended: idle", 0),
    }
    shown = list(lines(status))
    assert shown[1].split()[:7] == ["w1", "ready", "burst", "2", "2/4", "4.0/16.0", "1.50"]
    assert "1 tasks wait for a worker: 1 CPUs, 2.0 GiB" in shown
    assert "shared filesystem: " in shown[-1]
    assert json.loads(json.dumps(status.as_json()))["workers"][0]["instance_id"] == "i-1"


def test_a_fleet_without_workers(scene: Scene) -> None:
    """Says so."""
    assert list(lines(fleet_status(Snapshot((), ()), scene.tree)))[1:3] == [
        "no workers",
        "no tasks wait",
    ]


def test_a_worker_is_found_by_what_a_person_writes() -> None:
    """Name, beginning, address, id; not the manager, nor a machine that was replaced."""
    old = node("ip-10-0-0-9", node_id="old", state="down")
    now = node("ip-10-0-0-9", node_id="now")
    other = node("ip-10-0-0-90", address="10.0.0.90")
    snapshot = Snapshot((old, now, other, node("manager", manager=True)), ())
    for name in ("ip-10-0-0-9", "10.0.0.9", "now"):
        assert find_worker(snapshot, name) is now
    assert find_worker(snapshot, "ip-10-0-0-90") is other
    with pytest.raises(NotFound, match="no worker 'manager' in the swarm; there are: ip-10-0-0-9,"):
        find_worker(snapshot, "manager")
    with pytest.raises(UsageError, match=r"'ip-' may be .* or .*; write more of it"):
        find_worker(snapshot, "ip-")
