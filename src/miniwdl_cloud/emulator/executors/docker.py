"""The Docker executor: jobs run as real containers of a Docker Engine on this machine.

One thread follows one container from its image to its removal; the compute environments' maxvCpus
bound how many there are, and some hundreds are fine. An image that several containers wait for is
pulled once, and a few containers at most are created and started at the same time.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any

import docker.errors
import docker.types
import docker.utils
import requests

from ...errors import ConfigurationError
from ...settings import environment
from .base import ContainerExit, ContainerSpec, RunningContainer
from .lines import LogLines

OWNER_LABEL = "miniwdl-cloud.emulator"
"""Label on every container; its value tells the emulators of one machine apart."""

STARTS_AT_ONCE = 4

LEAST_MEMORY_MIB = 6
"""What the engine demands at least (Docker documentation, "Resource constraints")."""

KILLED = 128 + 9
LATE_OOM_S = 1.0

CALL_TIMEOUT_S = 120
CLOSE_TIMEOUT_S = 60


class DockerExecutor:
    """Runs containers on the Docker Engine that ``DOCKER_HOST``, or else the default socket, names.

    The engine has to be on this machine: the shared filesystem's directory is bind-mounted, and
    jobs use this machine's network.

    Parameters
    ----------
    owner
        Names the emulator, such as by its state directory. Containers that an earlier emulator of
        this name left over are removed.

    Raises
    ------
    ConfigurationError
        No engine answers.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        try:
            client = docker.from_env(environment=dict(environment()), timeout=CALL_TIMEOUT_S)
            self.api: Any = client.api
            self._cpus = float(self.api.info()["NCPU"])
            self._remove_all()
        except (docker.errors.DockerException, requests.RequestException) as exn:
            raise ConfigurationError(
                f"No Docker Engine answers ({exn}); start one, set DOCKER_HOST, or use"
                " `--executor process`."
            ) from exn
        self.images = _Images(self.api)
        self.starting = threading.BoundedSemaphore(STARTS_AT_ONCE)
        self._lock = threading.Lock()
        self._running: set[_Container] = set()
        self._closed = False

    def start(
        self,
        spec: ContainerSpec,
        on_started: Callable[[], None],
        on_log: Callable[[str], None],
        on_exit: Callable[[ContainerExit], None],
    ) -> RunningContainer:
        """Start a container; see `Executor.start`.

        Raises
        ------
        RuntimeError
            The executor is closed.
        """

        def gone(result: ContainerExit) -> None:
            with self._lock:
                self._running.discard(container)
            on_exit(result)

        container = _Container(self, spec, on_started, on_log, gone)
        with self._lock:
            if self._closed:
                raise RuntimeError("the Docker executor is closed")
            self._running.add(container)
        container.thread.start()
        return container

    def close(self) -> None:
        """Kill and remove all containers."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            running = list(self._running)
        for container in running:
            container.stopping.set()
        self._remove_all()
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        for container in running:
            container.thread.join(max(0.0, deadline - time.monotonic()))
        # Those that were just being created when the first sweep looked.
        self._remove_all()
        self.api.close()

    def create(self, spec: ContainerSpec) -> str:
        """Make a container, not yet started; gives its id."""
        memory = max(spec.memory_mib, LEAST_MEMORY_MIB) * 2**20
        host_config = self.api.create_host_config(
            # AWS Batch runs EC2 jobs in host network mode (Batch user guide, "Networking modes for
            # AWS Batch jobs"), and so a job reaches the emulator, which listens on loopback only.
            network_mode="host",
            mounts=[
                docker.types.Mount(m.target, str(m.source), type="bind", read_only=m.read_only)
                for m in spec.mounts
            ],
            # The engine refuses more CPUs than the machine has.
            nano_cpus=int(min(spec.vcpus, self._cpus) * 1e9),
            mem_limit=memory,
            # Memory and swap together: no swap.
            memswap_limit=memory,
            privileged=spec.privileged,
            ulimits=[docker.types.Ulimit(name=n, soft=s, hard=h) for n, s, h in spec.ulimits],
            shm_size=spec.shared_memory_mib * 2**20 if spec.shared_memory_mib else None,
            read_only=spec.read_only_root,
            device_requests=(
                [docker.types.DeviceRequest(count=spec.gpus, capabilities=[["gpu"]])]
                if spec.gpus
                else None
            ),
            # Lines go to `on_log` as they come; a second copy on the engine's disk helps nobody.
            log_config=docker.types.LogConfig(type="none"),
        )
        # Batch's containerProperties have no entry point: an image's own ENTRYPOINT runs, with the
        # command as its arguments. An ECS container definition can replace it.
        created = self.api.create_container(
            image=spec.image,
            entrypoint=list(spec.entry_point) if spec.entry_point else None,
            command=list(spec.command) or None,
            environment=dict(spec.environment),
            user=spec.user,
            name=spec.name,
            labels={OWNER_LABEL: self._owner},
            host_config=host_config,
        )
        return str(created["Id"])

    def remove(self, container_id: str) -> None:
        """Kill and remove a container with its anonymous volumes, if it is there."""
        with suppress(docker.errors.APIError):
            self.api.remove_container(container_id, force=True, v=True)

    def _remove_all(self) -> None:
        found = self.api.containers(
            all=True, quiet=True, filters={"label": f"{OWNER_LABEL}={self._owner}"}
        )
        if found:
            with ThreadPoolExecutor(max_workers=STARTS_AT_ONCE) as pool:
                list(pool.map(lambda c: self.remove(c["Id"]), found))


class _Images:
    """Sees to it that an image is there; whoever needs one that is being pulled shares that pull,
    its failure too."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._pulls: dict[str, Future[None]] = {}

    def ensure(self, image: str) -> None:
        """Take the local image, else pull it."""
        with suppress(docker.errors.APIError):
            self._api.inspect_image(image)
            return
        with self._lock:
            pull = self._pulls.get(image)
            mine = pull is None
            if pull is None:
                pull = self._pulls[image] = Future()
        if mine:
            try:
                self._pull(image)
                pull.set_result(None)
            except BaseException as exn:
                pull.set_exception(exn)
            finally:
                with self._lock:
                    del self._pulls[image]
        pull.result()

    def _pull(self, image: str) -> None:
        repository, tag = docker.utils.parse_repository_tag(image)
        for news in self._api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if "error" in news:
                raise docker.errors.APIError("pull failed", explanation=news["error"])


class _Container:
    """One container and the thread that follows it."""

    def __init__(
        self,
        engine: DockerExecutor,
        spec: ContainerSpec,
        on_started: Callable[[], None],
        on_log: Callable[[str], None],
        on_exit: Callable[[ContainerExit], None],
    ) -> None:
        self._engine = engine
        self._spec = spec
        self._on_started = on_started
        self._on_log = on_log
        self._on_exit = on_exit
        self._lock = threading.Lock()
        self._started_id: str | None = None
        self._since = time.time()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"docker-{spec.name}", daemon=True)

    def stop(self, grace_s: float) -> None:
        """See `RunningContainer.stop`."""
        threading.Thread(target=self._stop, args=(grace_s,), daemon=True).start()

    def _stop(self, grace_s: float) -> None:
        self.stopping.set()
        with self._lock:
            container_id = self._started_id
        if container_id is not None:
            # An error means that it is gone already, or that its own thread will meet it too.
            with suppress(docker.errors.APIError, requests.RequestException):
                self._engine.api.stop(container_id, timeout=math.ceil(grace_s))

    def _run(self) -> None:
        try:
            result = self._follow()
        except _Failed as exn:
            result = ContainerExit(None, str(exn))
        self._on_exit(result)

    def _follow(self) -> ContainerExit:
        with _failing("CannotPullContainerError", "pulled"):
            self._engine.images.ensure(self._spec.image)
        container_id = None
        try:
            with self._engine.starting:
                if self.stopping.is_set():
                    return ContainerExit(None)
                with _failing("CannotCreateContainerError", "created"):
                    container_id = self._engine.create(self._spec)
                with _failing("CannotStartContainerError", "started"):
                    # Attached before it starts, so that no line is missed.
                    output = self._engine.api.attach(container_id, stream=True, demux=True)
                    if not self._begin(container_id):
                        output.close()
                        return ContainerExit(None)
            self._on_started()
            with closing(output):
                self._read(output)
            return self._wait(container_id)
        finally:
            if container_id is not None:
                with suppress(requests.RequestException):
                    self._engine.remove(container_id)

    def _begin(self, container_id: str) -> bool:
        with self._lock:
            if self.stopping.is_set():
                return False
            self._engine.api.start(container_id)
            self._started_id = container_id
            return True

    def _read(self, output: Iterator[tuple[bytes | None, bytes | None]]) -> None:
        stdout, stderr = LogLines(self._on_log), LogLines(self._on_log)
        # Lines break off when the engine does; what became of the container is asked next.
        with suppress(OSError):
            for out, err in output:
                stdout.feed(out or b"")
                stderr.feed(err or b"")
        stdout.end()
        stderr.end()

    def _wait(self, container_id: str) -> ContainerExit:
        with _failing("CannotInspectContainerError", "stopped"):
            # A command may close its output long before it ends.
            while True:
                try:
                    self._engine.api.wait(container_id, timeout=CALL_TIMEOUT_S)
                    break
                except requests.ReadTimeout:
                    if self.stopping.is_set():
                        raise
            state = self._engine.api.inspect_container(container_id)["State"]
            code = int(state["ExitCode"])
            out_of_memory = state["OOMKilled"]
            if code == KILLED and not out_of_memory and not self.stopping.is_set():
                out_of_memory = self._late_oom(container_id)
        reason = "OutOfMemoryError: Container killed due to memory usage"
        return ContainerExit(code, reason if out_of_memory else None)

    def _late_oom(self, container_id: str) -> bool:
        # The kernel's word of running out of memory can reach the engine after that of the exit;
        # it is then missing from the state, but is an event all the same.
        filters = {"container": container_id, "event": "oom"}
        deadline = time.monotonic() + LATE_OOM_S
        while time.monotonic() < deadline:
            events = self._engine.api.events(
                since=int(self._since), until=time.time(), filters=filters
            )
            with closing(events):
                if next(events, None) is not None:
                    return True
            time.sleep(0.1)
        return False


class _Failed(Exception):
    """A container's end before its time; the text is its reason as ECS words it."""


@contextmanager
def _failing(error: str, transition: str) -> Iterator[None]:
    """Word the engine's errors as ECS does (ECS developer guide, "Stopped tasks error codes")."""
    try:
        yield
    except docker.errors.APIError as exn:
        raise _Failed(f"{error}: Error response from daemon: {exn.explanation or exn}") from exn
    except requests.Timeout as exn:
        raise _Failed(
            f"DockerTimeoutError: Could not transition to {transition}; timed out after waiting"
            f" {CALL_TIMEOUT_S}s"
        ) from exn
    except (docker.errors.DockerException, requests.RequestException, OSError) as exn:
        raise _Failed(f"{error}: {exn}") from exn
