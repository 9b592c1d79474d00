"""Runs a job's command as a process of this machine: no container, no isolation, no image.

One thread watches the output and the end of all processes, so that thousands can run.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ... import settings
from . import namespaces
from .base import ContainerExit, ContainerSpec, Mount, RunningContainer
from .lines import LogLines

logger = logging.getLogger(__name__)

_READ_SIZE = 64 * 1024
_READS_IN_TURN = 16
_POLL_S = 0.02
# How long children of an ended command may go on writing, as while Docker tears a container down.
_LINGER_S = 0.1
# What a process inherits; all else of its environment comes from its job.
INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
)


class _Process:
    """One running process: what is left of its last line, and whom to tell."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        scratch: Path,
        on_log: Callable[[str], None],
        on_exit: Callable[[ContainerExit], None],
        executor: ProcessExecutor,
    ) -> None:
        self.popen = popen
        self.scratch = scratch
        self.lines = LogLines(on_log)
        self.on_exit = on_exit
        self.executor = executor
        self.pidfd: int | None = None
        self.output: int | None = None
        self.linger_until: float | None = None
        self.ended = False

    def stop(self, grace_s: float) -> None:
        """Send SIGTERM to the command, as Docker does to a container's first process, and SIGKILL
        to its whole group after ``grace_s`` seconds."""
        self.executor.stop(self, grace_s)

    def signal_group(self, number: signal.Signals) -> None:
        """Signal every process of the group; nothing if it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, number)


class _NeverStarted:
    """Stands for a process that could not be started."""

    def stop(self, grace_s: float) -> None:
        """There is nothing to stop."""


class ProcessExecutor:
    """Runs commands on this machine.

    Parameters
    ----------
    scratch
        Directory for the working directories of running commands.
    images
        Directories with the commands of an image, by image name; they come first in its ``PATH``.
    filesystem
        The shared filesystem's directory, of which a job may mount parts alone.
    """

    def __init__(
        self,
        scratch: Path,
        images: Mapping[str, Path] | None = None,
        filesystem: Path | None = None,
    ) -> None:
        self._scratch = scratch
        self._filesystem = filesystem
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._images = dict(images or {})
        self._inherited = {
            name: value for name, value in settings.environment().items() if name in INHERITED
        }
        self._selector = selectors.DefaultSelector()
        self._running: set[_Process] = set()
        self._polled: set[_Process] = set()
        self._lingering: set[_Process] = set()
        self._kills: list[tuple[float, int, _Process]] = []
        self._kill_ids = itertools.count()
        self._lock = threading.RLock()
        self._said_images = False
        self._closed = False
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_out, False)
        os.set_blocking(self._wake_in, False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)
        self._cleaner = ThreadPoolExecutor(1, thread_name_prefix="emulator-cleaner")
        self._thread = threading.Thread(target=self._run, name="emulator-processes", daemon=True)
        _raise_open_files_limit()
        self._thread.start()

    def start(
        self,
        spec: ContainerSpec,
        on_started: Callable[[], None],
        on_log: Callable[[str], None],
        on_exit: Callable[[ContainerExit], None],
    ) -> RunningContainer:
        """Start a command; see `Executor.start`."""
        reason = self._why_not(spec)
        if reason:
            on_exit(ContainerExit(None, f"CannotStartContainerError: {reason}"))
            return _NeverStarted()
        scratch = Path(tempfile.mkdtemp(prefix="job-", dir=self._scratch))
        temporary = scratch / "tmp"
        temporary.mkdir()
        working = scratch / "work"
        working.mkdir()
        arguments = [*_arguments(spec)]
        if self._filesystem and namespaces.are_parts(spec.mounts, self._filesystem):
            stage = scratch / "stage"
            stage.mkdir()
            arguments = namespaces.entering(spec.mounts, self._filesystem, stage) + arguments
        try:
            popen = subprocess.Popen(
                arguments,
                cwd=working,
                env=self._environment(spec, temporary),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as exn:
            shutil.rmtree(scratch, ignore_errors=True)
            on_exit(ContainerExit(None, _why_not_started(spec, exn)))
            return _NeverStarted()
        process = _Process(popen, scratch, on_log, on_exit, self)
        on_started()
        with self._lock:
            self._running.add(process)
            self._watch(process)
            if self._closed:
                process.signal_group(signal.SIGKILL)
        self._wake()
        return process

    def stop(self, process: _Process, grace_s: float) -> None:
        """Stop a process; returns at once."""
        with self._lock:
            if process.ended:
                return
            with contextlib.suppress(ProcessLookupError):
                process.popen.terminate()
            at = time.monotonic() + grace_s
            heapq.heappush(self._kills, (at, next(self._kill_ids), process))
        self._wake()

    def close(self) -> None:
        """Kill what still runs, report its end, and free everything."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for process in self._running:
                process.signal_group(signal.SIGKILL)
        self._wake()
        self._thread.join(timeout=30)
        self._cleaner.shutdown(wait=True)
        self._selector.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _why_not(self, spec: ContainerSpec) -> str | None:
        with self._lock:
            first, self._said_images = not self._said_images, True
        if first:
            logger.warning(
                "The process executor runs commands on this machine and ignores container images."
            )
        parts = self._filesystem and namespaces.are_parts(spec.mounts, self._filesystem)
        if parts and (reason := namespaces.why_not(spec.mounts)):
            return reason
        for mount in () if parts else spec.mounts:
            if not _is_there(mount):
                return (
                    f"the process executor cannot mount {mount.source} at {mount.target}: start the"
                    f" embedded AWS with --filesystem {mount.target}, or with --executor docker."
                )
        if not _arguments(spec):
            return "the process executor has no images, so the job needs a command."
        return None

    def _environment(self, spec: ContainerSpec, temporary: Path) -> dict[str, str]:
        environment = {**self._inherited, **spec.environment, "TMPDIR": str(temporary)}
        path = [str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]
        if spec.image in self._images:
            path.insert(0, str(self._images[spec.image]))
        environment["PATH"] = os.pathsep.join(path)
        return environment

    def _watch(self, process: _Process) -> None:
        assert process.popen.stdout is not None
        process.output = process.popen.stdout.fileno()
        os.set_blocking(process.output, False)
        self._selector.register(process.output, selectors.EVENT_READ, process)
        try:
            process.pidfd = os.pidfd_open(process.popen.pid)
            self._selector.register(process.pidfd, selectors.EVENT_READ, process)
        except (AttributeError, OSError):
            # A kernel before 5.3, or a sandbox without pidfd_open, or no free descriptors.
            self._polled.add(process)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_in, b"x")

    # The thread.

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select(self._timeout()):
                process = key.data
                if process is None:
                    _drain(self._wake_out)
                elif key.fd == process.output:
                    self._read(process, _READS_IN_TURN)
                elif key.fd == process.pidfd:
                    self._linger(process)
            with self._lock:
                for process in [p for p in self._polled if _has_ended(p)]:
                    self._linger(process)
                self._kill_overdue()
                closed = self._closed
            now = time.monotonic()
            for process in list(self._lingering):
                if process.output is None or closed or now >= (process.linger_until or 0.0):
                    self._finish(process)
            with self._lock:
                if self._closed and not self._running:
                    return

    def _timeout(self) -> float | None:
        with self._lock:
            waits = [_POLL_S] if self._polled else []
            if self._kills:
                waits.append(max(0.0, self._kills[0][0] - time.monotonic()))
        waits.extend(
            max(0.0, (process.linger_until or 0.0) - time.monotonic())
            for process in self._lingering
        )
        return min(waits, default=None)

    def _kill_overdue(self) -> None:
        while self._kills and (self._kills[0][2].ended or self._kills[0][0] <= time.monotonic()):
            process = heapq.heappop(self._kills)[2]
            if not process.ended:
                process.signal_group(signal.SIGKILL)

    def _read(self, process: _Process, turns: int | None) -> None:
        for _ in itertools.count() if turns is None else range(turns):
            if process.output is None:
                return
            try:
                data = os.read(process.output, _READ_SIZE)
            except BlockingIOError:
                return
            if not data:
                self._close_output(process)
                return
            process.lines.feed(data)

    def _close_output(self, process: _Process) -> None:
        assert process.popen.stdout is not None
        if process.output is not None:
            self._selector.unregister(process.output)
            process.output = None
            process.popen.stdout.close()

    def _linger(self, process: _Process) -> None:
        process.linger_until = time.monotonic() + _LINGER_S
        self._lingering.add(process)
        self._polled.discard(process)
        if process.pidfd is not None:
            self._selector.unregister(process.pidfd)
            os.close(process.pidfd)
            process.pidfd = None

    def _finish(self, process: _Process) -> None:
        self._lingering.discard(process)
        with self._lock:
            # Before the leader is reaped, so that its group's number cannot be anybody else's.
            process.signal_group(signal.SIGKILL)
            status = process.popen.wait()
            process.ended = True
        self._read(process, None)
        self._close_output(process)
        process.lines.end()
        with self._lock:
            self._running.discard(process)
        self._cleaner.submit(shutil.rmtree, process.scratch, ignore_errors=True)
        process.on_exit(ContainerExit(128 - status if status < 0 else status))


def _arguments(spec: ContainerSpec) -> tuple[str, ...]:
    return (*(spec.entry_point or ()), *spec.command)


def _is_there(mount: Mount) -> bool:
    return os.path.realpath(mount.target) == os.path.realpath(mount.source)


def _why_not_started(spec: ContainerSpec, exn: Exception) -> str:
    """The reason as Docker words it."""
    if isinstance(exn, FileNotFoundError):
        text = "executable file not found in $PATH"
    else:
        text = (getattr(exn, "strerror", None) or str(exn)).lower()
    return f'CannotStartContainerError: exec: "{_arguments(spec)[0]}": {text}: unknown'


def _has_ended(process: _Process) -> bool:
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.popen.pid, options) is not None


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 4096):
            pass


def _raise_open_files_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
