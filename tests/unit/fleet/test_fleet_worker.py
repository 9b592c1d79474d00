"""A worker's daemon does what was decided, and says so in the fleet's directory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_stand_ins import JOIN, Clock, FakeSwarm, Machine, MetadataStub, config, metadata_service

from miniwdl_cloud.errors import ServiceError, Unreachable
from miniwdl_cloud.fleet.metadata import Metadata
from miniwdl_cloud.fleet.policy import Action, Availability
from miniwdl_cloud.fleet.swarm import LocalNode
from miniwdl_cloud.fleet.tree import FleetTree, Guarded, Member
from miniwdl_cloud.fleet.worker import Surroundings, Worker, boot_id


class Scene:
    """A worker and all that is around it."""

    def __init__(self, directory: Path, metadata: MetadataStub, **settings: object) -> None:
        self.tree = FleetTree(directory)
        directory.mkdir(exist_ok=True)
        self.files = self.tree.worker("w1")
        self.swarm, self.machine, self.clock = FakeSwarm(), Machine(), Clock()
        self.metadata = metadata
        self.chance = 0.5
        self.reachable = True
        self.beats = 0
        self.config = config(directory, group="workers", **settings)
        self.worker = self.new_daemon()

    def new_daemon(self, boot: str = "boot-1") -> Worker:
        """The daemon, started anew."""
        around = Surroundings(
            self.swarm,  # type: ignore[arg-type]
            self.tree,
            Metadata(self.metadata.url, self.clock),
            "w1",
            boot,
            self.machine.leave_group,
            self.machine.end,
            lambda addresses: self.reachable and bool(addresses),
            self.clock,
            lambda: self.chance,
        )
        self.worker = Worker(self.config, around)
        return self.worker

    def manager(
        self,
        state: str | None = "ready",
        availability: Availability = Availability.ACTIVE,
        tasks: int = 0,
    ) -> None:
        """Let the manager write its list, with this worker in that state (or without it)."""
        self.beats += 1
        self.tree.publish_join(JOIN)
        nodes = {"id-w1": Member(state, availability, tasks)} if state else {}
        self.tree.publish_members(nodes, self.beats)

    def beat(self, after_s: float = 10) -> Action:
        """A beat of the worker, so many seconds later."""
        self.clock.now += after_s
        return self.worker.beat().action

    def become_member(self) -> None:
        """The first beats."""
        self.manager(None)
        self.beat()
        self.manager()
        self.beat()


@pytest.fixture
def stub() -> Iterator[MetadataStub]:
    """An instance metadata service."""
    with metadata_service() as running:
        running.answers["instance-id"] = "i-1"
        yield running


@pytest.fixture
def scene(tmp_path: Path, stub: MetadataStub) -> Scene:
    """A burst worker, with the default times."""
    return Scene(tmp_path / "swarm", stub, burst=True)


def age(path: Path, by_s: float) -> None:
    """Make a file older."""
    then = time.time() - by_s
    os.utime(path, (then, then))


def test_it_joins_as_soon_as_the_manager_says_how_and_again_where_that_fails(scene: Scene) -> None:
    """No token yet, then a manager that refuses, then success."""
    assert scene.beat() is Action.JOIN
    assert scene.swarm.calls == []
    scene.manager(None)
    scene.swarm.refuses = None
    refusing = ServiceError("the manager is not there yet")
    join = scene.swarm.join

    def refuse(info: object) -> None:
        scene.swarm.calls.append("refused")
        raise refusing

    scene.swarm.join = refuse  # type: ignore[assignment,method-assign]
    scene.beat()
    scene.swarm.join = join  # type: ignore[method-assign]
    scene.beat()
    assert scene.swarm.calls == ["refused", ("join", "10.0.0.1:2377")]
    scene.manager()
    assert scene.beat() is Action.STAY


def test_the_files_that_scripts_know_tell_by_their_times(scene: Scene) -> None:
    """Each file is touched while what it stands for is so, and not after."""
    scene.become_member()
    names = {path.name for path in scene.files.directory.iterdir()}
    assert names == {"boot", "alive", "in-swarm", "running-containers", "host.json"}
    for path in scene.files.directory.iterdir():
        age(path, 1000)
    scene.swarm.containers = 2
    scene.manager()
    scene.beat()
    new = {p.name for p in scene.files.directory.iterdir() if time.time() - p.stat().st_mtime < 500}
    assert new >= {"alive", "in-swarm", "running-containers"}
    assert "boot" not in new
    for path in scene.files.directory.iterdir():
        age(path, 1000)
    scene.swarm.containers = 0
    scene.swarm.here = LocalNode("pending", "id-w1", ())
    scene.beat()
    new = {p.name for p in scene.files.directory.iterdir() if time.time() - p.stat().st_mtime < 500}
    assert "alive" in new
    assert not new & {"in-swarm", "running-containers", "boot"}


def test_a_new_start_of_the_machine_removes_the_end_of_the_last_one(scene: Scene) -> None:
    """Another boot touches ``boot``; another start of the daemon does not."""
    scene.become_member()
    scene.files.shutting_down("idle")
    age(scene.files.directory / "boot", 1000)
    before = (scene.files.directory / "boot").stat().st_mtime
    scene.new_daemon()
    scene.beat()
    assert scene.files.shutdown_reason() is None
    assert (scene.files.directory / "boot").stat().st_mtime == before
    scene.new_daemon("boot-2")
    scene.beat()
    assert (scene.files.directory / "boot").stat().st_mtime > before


def test_an_idle_burst_worker_asks_for_no_further_tasks_then_leaves_its_group(scene: Scene) -> None:
    """Pause, then the end: out of the swarm, out of the group, and the machine."""
    scene.become_member()
    scene.manager()
    assert scene.beat(1801) is Action.STAY
    scene.manager()
    assert scene.beat() is Action.STAY
    assert scene.files.wish() == (Availability.PAUSE, "id-w1")
    scene.manager(availability=Availability.PAUSE)
    assert scene.beat() is Action.SHUTDOWN
    assert scene.files.shutdown_reason() == "idle"
    assert scene.swarm.calls[-1] == "leave"
    assert scene.machine.left == ["i-1"]
    assert scene.machine.ended == [("shutdown", "-h", "now")]


def test_a_task_that_came_before_the_pause_keeps_the_worker(scene: Scene) -> None:
    """The manager knows of a task whose image is still being pulled; the worker takes its wish
    back, and once that is heard it says nothing any more."""
    scene.become_member()
    for after in (1801, 10):
        scene.manager()
        scene.beat(after)
    scene.manager(availability=Availability.PAUSE, tasks=1)
    assert scene.beat() is Action.STAY
    assert scene.files.wish() == (Availability.ACTIVE, "id-w1")
    assert scene.machine.ended == []
    for _ in range(2):
        scene.manager(availability=Availability.ACTIVE)
        scene.beat()
    assert scene.files.wish() is None


def test_a_wish_outlives_the_daemon_but_not_the_machine(scene: Scene) -> None:
    """A daemon that starts anew takes back what the one before it asked for."""
    scene.become_member()
    for after in (1801, 10):
        scene.manager()
        scene.beat(after)
    assert scene.files.wish() == (Availability.PAUSE, "id-w1")
    scene.new_daemon()
    scene.beat()
    assert scene.files.wish() == (Availability.ACTIVE, "id-w1")
    scene.new_daemon("boot-2")
    scene.beat()
    assert scene.files.wish() is None


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("spot/instance-action", '{"action": "terminate", "time": "2026-01-01T00:00:00Z"}'),
        ("autoscaling/target-lifecycle-state", "Terminated"),
    ],
)
def test_a_notice_drains_first(scene: Scene, stub: MetadataStub, path: str, text: str) -> None:
    """Tasks move on, then the machine ends; its group replaces it by itself."""
    scene.become_member()
    stub.answers[path] = text
    scene.swarm.containers = 3
    scene.manager()
    assert scene.beat() is Action.STAY
    assert scene.files.wish() == (Availability.DRAIN, "id-w1")
    assert scene.machine.ended == []
    scene.swarm.containers = 0
    scene.manager(availability=Availability.DRAIN)
    assert scene.beat() is Action.SHUTDOWN
    assert (scene.swarm.calls[-1], scene.machine.left) == ("leave", [])


def test_a_group_in_service_is_no_notice(scene: Scene, stub: MetadataStub) -> None:
    """The state that instances of a group usually have."""
    stub.answers["autoscaling/target-lifecycle-state"] = "InService"
    scene.become_member()
    assert scene.beat() is Action.STAY


def test_without_a_manager_a_drained_worker_leaves_all_the_same(
    scene: Scene, stub: MetadataStub
) -> None:
    """Nobody fulfils the wish: after [fleet] drain_seconds it goes."""
    scene.become_member()
    stub.answers["spot/instance-action"] = "{}"
    scene.swarm.containers = 1
    assert [scene.beat(after) for after in (10, 50)] == [Action.STAY, Action.STAY]
    assert scene.beat(10) is Action.SHUTDOWN
    assert len(scene.machine.ended) == 1


def test_an_orphan_ends_and_leaves_its_group(scene: Scene) -> None:
    """Docker goes on saying that it is active, and the manager has gone."""
    scene.become_member()
    scene.reachable = False
    assert scene.beat(61) is Action.STAY
    assert scene.beat(1700) is Action.STAY
    assert scene.beat(100) is Action.SHUTDOWN
    assert scene.files.shutdown_reason() == "orphaned"
    assert scene.machine.left == ["i-1"]


def test_while_the_list_is_old_a_manager_that_answers_is_enough(scene: Scene) -> None:
    """The manager's own daemon may be stopped for hours; the swarm goes on."""
    scene.become_member()
    scene.swarm.containers = 1
    assert {scene.beat(600) for _ in range(20)} == {Action.STAY}


def test_a_worker_that_the_manager_has_removed_joins_anew(scene: Scene) -> None:
    """It leaves a swarm that does not know it any more, and joins it at the next beat."""
    scene.become_member()
    found = []
    for _ in range(9):
        scene.manager(None)
        found.append(scene.beat())
    assert found.count(Action.REJOIN) == 1
    assert scene.swarm.calls[-2:] == ["leave", ("join", "10.0.0.1:2377")]


def test_a_list_from_before_the_daemon_began_says_nothing(scene: Scene) -> None:
    """What a manager wrote that has long gone does not make a worker leave."""
    scene.manager(None)
    scene.swarm.here = LocalNode("active", "id-w1", ("10.0.0.1:2377",))
    assert {scene.beat() for _ in range(30)} == {Action.STAY}


def test_a_stress_test_ends_machines_abruptly(scene: Scene) -> None:
    """A hundred per cent a minute ends each at its next beat, without leaving the swarm."""
    scene.become_member()
    (scene.tree.workers / "_induce_shutdown").write_text("100\n")
    scene.swarm.containers = 4
    calls = list(scene.swarm.calls)
    assert scene.beat() is Action.SHUTDOWN
    assert scene.files.shutdown_reason() == "induced"
    assert scene.swarm.calls == calls
    assert scene.machine.left == []


def test_a_stress_test_ends_so_many_in_a_minute(scene: Scene) -> None:
    """Of a beat each ten seconds, half of the workers live through six of them at 50 per cent."""
    scene.become_member()
    (scene.tree.workers / "_induce_shutdown").write_text("50")
    each = 1 - 0.5 ** (1 / 6)
    scene.chance = each + 0.001
    assert scene.beat() is Action.STAY
    scene.chance = each - 0.001
    assert scene.beat() is Action.SHUTDOWN


def test_a_shutdown_command_that_fails_is_run_again(scene: Scene) -> None:
    """A machine that is to end does not stay, and does not join the swarm again."""
    scene.become_member()
    scene.machine.failures = 2
    (scene.tree.workers / "_induce_shutdown").write_text("100")
    assert [scene.beat() for _ in range(3)] == [Action.SHUTDOWN] * 3
    assert len(scene.machine.ended) == 1
    assert scene.swarm.calls == [("join", "10.0.0.1:2377")]


def test_a_group_that_cannot_be_left_does_not_keep_the_machine(
    scene: Scene, stub: MetadataStub
) -> None:
    """AWS does not answer: the machine ends anyway."""
    stub.answers["instance-id"] = "i-refused"
    scene.become_member()
    scene.reachable = False
    scene.beat(61)
    scene.beat(1801)
    assert len(scene.machine.ended) == 1


def test_without_docker_filesystem_or_metadata_it_lives_on_and_ends_as_an_orphan(
    scene: Scene, stub: MetadataStub
) -> None:
    """Nothing that a beat meets ends the daemon, but for the machine's own end."""
    scene.become_member()
    scene.swarm.refuses = Unreachable("The Docker Engine did not answer.")
    stub.answers.clear()
    stub.expire()
    assert scene.beat() is Action.STAY
    gone = scene.tree.directory.rename(scene.tree.directory.with_name("gone"))
    assert scene.beat() is Action.STAY
    gone.rename(scene.tree.directory)
    assert scene.beat(1801) is Action.SHUTDOWN


def test_the_daemon_ends_with_the_machine(scene: Scene) -> None:
    """Once the machine is told to end there is no further beat; the daemon waits to be stopped."""
    scene.config = config(scene.tree.directory, period=0.01)
    scene.new_daemon()
    scene.manager(None)
    (scene.tree.workers).mkdir()
    (scene.tree.workers / "_induce_shutdown").write_text("100")
    scene.chance = 0.0
    stop = threading.Event()
    daemon = threading.Thread(target=scene.worker.run, args=(stop,), daemon=True)
    daemon.start()
    deadline = time.monotonic() + 60
    while not scene.machine.ended:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stop.set()
    daemon.join(60)
    assert not daemon.is_alive()
    assert len(scene.machine.ended) == 1


def test_a_filesystem_that_hangs_takes_nobody_with_it() -> None:
    """The first call gives up after its limit, the next at once; both work again afterwards."""
    guarded, release = Guarded(), threading.Event()
    with pytest.raises(Unreachable, match="does not answer"):
        guarded.call(release.wait, 0.05)
    with pytest.raises(Unreachable, match="does not answer"):
        guarded.call(lambda: 1, 60)
    release.set()
    deadline = time.monotonic() + 60
    while True:
        try:
            assert guarded.call(lambda: 1, 60) == 1
            break
        except Unreachable:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_join_token_is_for_root_alone_and_in_no_log(scene: Scene) -> None:
    """Its file has the mode 0600 from the start."""
    scene.manager()
    assert (scene.tree.directory / "join").stat().st_mode & 0o777 == 0o600
    assert "secret" not in repr(scene.tree.read())


def test_this_machine_has_a_boot_id() -> None:
    """Of two parts, the same each time."""
    assert boot_id() == boot_id()
    assert len(boot_id().split()) == 2
