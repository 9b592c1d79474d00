"""The Docker executor on a real engine."""

from __future__ import annotations

import socketserver
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from docker_tier import BASE_IMAGE, CGROUP_LIMITS, Containers, empty_registry

from miniwdl_cloud.emulator.executors.base import ContainerExit, ContainerSpec, Mount
from miniwdl_cloud.emulator.executors.docker import OWNER_LABEL, DockerExecutor
from miniwdl_cloud.emulator.executors.lines import LINE_LIMIT
from miniwdl_cloud.errors import ConfigurationError


def test_exit_code_and_both_streams(containers: Containers) -> None:
    """A plain exit has its code, no reason, and all lines of standard output and error before."""
    result, lines = containers.run("bash", "-c", "echo out; echo err >&2; printf unended; exit 3")
    assert result == ContainerExit(3)
    assert sorted(lines) == ["err", "out", "unended"]


def test_entry_point_is_replaced(engine: docker.DockerClient, containers: Containers) -> None:
    """An entry point that is given runs in place of the image's own."""
    changed = {"Entrypoint": ["/bin/echo", "image"]}
    made = engine.containers.create(BASE_IMAGE)
    tag = f"entry-point-{uuid.uuid4().hex[:8]}"
    try:
        made.commit("miniwdl-cloud-test", tag, conf=changed)
    finally:
        made.remove()
    image = f"miniwdl-cloud-test:{tag}"
    try:
        assert containers.run("one", image=image)[1] == ["image one"]
        _, lines = containers.run("-c", "echo $0", image=image, entry_point=("/bin/bash",))
        assert lines == ["/bin/bash"]
    finally:
        engine.images.remove(image)


def test_lines_come_while_it_runs(containers: Containers, tmp_path: Path) -> None:
    """A line is reported while the command still runs."""
    running = containers.start(
        "bash",
        "-c",
        "echo first; until [ -e /x/go ]; do sleep 0.05; done; echo last",
        mounts=(Mount(tmp_path, "/x"),),
    )
    running.await_line("first")
    assert running.started.is_set()
    (tmp_path / "go").touch()
    assert running.await_exit() == ContainerExit(0)
    assert running.lines == ["first", "last"]


def test_odd_lines(containers: Containers) -> None:
    """Empty lines are kept, a carriage return goes, bytes that are not UTF-8 are replaced, and an
    endless line is split."""
    _, lines = containers.run(
        "bash",
        "-c",
        r"printf 'a\n\nb\r\n\xff\n'; head -c $1 /dev/zero | tr '\0' x",
        "-",
        str(LINE_LIMIT + 10),
    )
    assert lines[:4] == ["a", "", "b", "\N{REPLACEMENT CHARACTER}"]
    assert [len(line) for line in lines[4:]] == [LINE_LIMIT, 10]


def test_closed_output_is_not_the_end(containers: Containers) -> None:
    """A command that closes its output and goes on is awaited."""
    result, _ = containers.run("bash", "-c", "exec >&- 2>&-; sleep 1; exit 4")
    assert result == ContainerExit(4)


def test_mounts(containers: Containers, tmp_path: Path) -> None:
    """A directory is read and written in place; a read-only one is not written."""
    shared, locked = tmp_path / "shared", tmp_path / "locked"
    shared.mkdir()
    locked.mkdir()
    (shared / "in").write_text("from outside")
    result, lines = containers.run(
        "bash",
        "-c",
        "cat /mnt/efs/in; echo -n inside > /mnt/efs/out; ! touch /mnt/locked/x 2>/dev/null",
        mounts=(Mount(shared, "/mnt/efs"), Mount(locked, "/mnt/locked", read_only=True)),
    )
    assert (result, lines) == (ContainerExit(0), ["from outside"])
    assert (shared / "out").read_text() == "inside"
    assert not list(locked.iterdir())


def test_limits_seen_inside(containers: Containers) -> None:
    """CPU and memory are limited to what the job asks for, with no swap on top."""
    _, lines = containers.run("bash", "-c", CGROUP_LIMITS, vcpus=0.5, memory_mib=128)
    assert lines == ["50000 100000", str(128 * 2**20), "0"]


def test_more_cpus_than_there_are(containers: Containers) -> None:
    """A job for a larger machine gets all CPUs of this one."""
    assert containers.run("true", vcpus=4096)[0] == ContainerExit(0)


def test_memory_over_the_limit(containers: Containers) -> None:
    """A command that takes more memory than its limit ends as ECS reports it."""
    result, _ = containers.run("python3", "-c", "bytearray(200 << 20)", memory_mib=64)
    assert result == ContainerExit(137, "OutOfMemoryError: Container killed due to memory usage")


def test_missing_image(containers: Containers) -> None:
    """An image that its registry does not have is reported in the engine's words."""
    with empty_registry() as registry:
        image = f"{registry}/nowhere:1"
        running = containers.start("true", image=image)
        result = running.await_exit()
    assert result.exit_code is None and result.reason is not None
    assert result.reason.startswith("CannotPullContainerError: Error response from daemon: ")
    assert "manifest unknown" in result.reason
    assert not running.started.is_set()


def test_malformed_image(containers: Containers) -> None:
    """An image name that is none is reported in the engine's words."""
    result, _ = containers.run("true", image="No Image")
    assert result.exit_code is None and result.reason is not None
    assert result.reason.startswith("CannotPullContainerError: Error response from daemon: ")
    assert "invalid reference format" in result.reason


def test_missing_command(containers: Containers) -> None:
    """A command that the image does not have is reported in the engine's words, and never ran."""
    running = containers.start("no-such-command")
    result = running.await_exit()
    assert result.exit_code is None and result.reason is not None
    assert result.reason.startswith("CannotStartContainerError: Error response from daemon: ")
    assert '"no-such-command": executable file not found in $PATH' in result.reason
    assert not running.started.is_set()


def test_missing_mount_source(containers: Containers, tmp_path: Path) -> None:
    """A directory that is not there keeps the container from being made."""
    result, _ = containers.run("true", mounts=(Mount(tmp_path / "no", "/x"),))
    assert result.exit_code is None and result.reason is not None
    assert result.reason.startswith("CannotCreateContainerError: Error response from daemon: ")


def test_entry_point_and_default_command(
    containers: Containers, make_image: Callable[..., str]
) -> None:
    """An image's entry point runs with the job's command, or the image's own, as arguments."""
    image = make_image(
        f"FROM {BASE_IMAGE}",
        'ENTRYPOINT ["/usr/bin/env", "VIA=entrypoint"]',
        'CMD ["bash", "-c", "echo $VIA default"]',
    )
    assert containers.run("bash", "-c", "echo $VIA", image=image)[1] == ["entrypoint"]
    assert containers.run(image=image)[1] == ["entrypoint default"]


def test_environment_and_user(containers: Containers) -> None:
    """Variables arrive byte for byte, and the command runs as the job's user."""
    _, lines = containers.run(
        "bash",
        "-c",
        'echo "$A"; id -u; id -g',
        environment={"A": "an 'ü' = $B"},
        user="1234:5678",
    )
    assert lines == ["an 'ü' = $B", "1234", "5678"]


@pytest.mark.parametrize("read_only", [False, True])
def test_read_only_root(containers: Containers, read_only: bool) -> None:
    """Only a job definition with readonlyRootFilesystem keeps the root from being written."""
    result, _ = containers.run("touch", "/file", read_only_root=read_only)
    assert (result.exit_code == 0) is not read_only


def test_limits_and_shared_memory(containers: Containers) -> None:
    """Open files are limited, and /dev/shm is as large, as the job definition says."""
    result, lines = containers.run(
        *("bash", "-c", "ulimit -Sn; ulimit -Hn; df -m --output=size /dev/shm | tail -n 1"),
        ulimits=(("nofile", 100, 200),),
        shared_memory_mib=96,
    )
    assert result.exit_code == 0
    assert [line.strip() for line in lines] == ["100", "200", "96"]


@pytest.mark.parametrize("privileged", [False, True])
def test_privileged(engine: docker.DockerClient, containers: Containers, privileged: bool) -> None:
    """Only a privileged job gets a privileged container; many a machine cannot run one."""
    spec = ContainerSpec(f"test-{uuid.uuid4()}", BASE_IMAGE, ("true",), {}, privileged=privileged)
    made = engine.containers.get(containers.executor.create(spec))
    assert made.attrs["HostConfig"]["Privileged"] is privileged


def test_network_of_the_host(containers: Containers) -> None:
    """A job reaches a server on this machine's loopback, as it must the emulator."""

    class Greeter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"hello\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Greeter) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        port = server.server_address[1]
        _, lines = containers.run("bash", "-c", f"cat < /dev/tcp/127.0.0.1/{port}")
        thread.join()
    assert lines == ["hello"]


def test_stop_lets_the_command_end_itself(containers: Containers) -> None:
    """A command that handles SIGTERM within its grace has its own exit code."""
    running = containers.start(
        "bash", "-c", "trap 'echo ending; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    )
    running.await_line("up")
    running.stop(grace_s=30)
    assert running.await_exit() == ContainerExit(7)
    assert running.lines == ["up", "ending"]


def test_stop_kills_after_the_grace(containers: Containers) -> None:
    """A command that ignores SIGTERM is killed."""
    running = containers.start("bash", "-c", "trap '' TERM; echo up; sleep 600")
    running.await_line("up")
    running.stop(grace_s=1)
    assert running.await_exit() == ContainerExit(137)


def test_stop_before_it_starts(containers: Containers) -> None:
    """A container that is stopped while it waits for its turn never runs."""
    gate = containers.executor.starting
    places = 0
    while gate.acquire(blocking=False):
        places += 1
    running = containers.start("true")
    running.stop(grace_s=30)
    for _ in range(places):
        gate.release()
    assert running.await_exit() == ContainerExit(None)
    assert not running.started.is_set()


def test_many_at_once(containers: Containers) -> None:
    """Dozens of containers at a time keep their lines and exit codes apart."""
    running = [
        containers.start("bash", "-c", f"echo line {i}; exit {i}", memory_mib=32) for i in range(40)
    ]
    for i, one in enumerate(running):
        assert one.await_exit() == ContainerExit(i)
        assert one.lines == [f"line {i}"]


def test_leftovers_are_removed(engine: docker.DockerClient, containers: Containers) -> None:
    """A container that an earlier emulator of the same name left over goes; others' stay."""

    def leave_over(owner: str) -> docker.models.containers.Container:
        return engine.containers.run(
            BASE_IMAGE, ["sleep", "600"], detach=True, network_mode="host",
            labels={OWNER_LABEL: owner},
        )  # fmt: skip

    owner = str(uuid.uuid4())
    ours, theirs = leave_over(owner), leave_over(containers.owner)
    DockerExecutor(owner).close()
    with pytest.raises(docker.errors.NotFound):
        ours.reload()
    theirs.reload()
    assert theirs.status == "running"


def test_close_kills_what_runs(engine: docker.DockerClient) -> None:
    """Closing ends running containers and reports their end; nothing starts afterwards."""
    owner = str(uuid.uuid4())
    containers = Containers(DockerExecutor(owner), owner)
    running = containers.start("sleep", "600")
    assert running.started.wait(60)
    containers.executor.close()
    running.await_exit()
    assert not engine.containers.list(all=True, filters={"label": f"{OWNER_LABEL}={owner}"})
    with pytest.raises(RuntimeError):
        containers.start("true")


def test_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a Docker Engine there is one sentence that says what to do."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(ConfigurationError) as caught:
        DockerExecutor("nobody")
    assert caught.value.message.startswith("No Docker Engine answers (")
    assert "set DOCKER_HOST, or use `--executor process`" in caught.value.message
    assert caught.value.exit_code == 78
