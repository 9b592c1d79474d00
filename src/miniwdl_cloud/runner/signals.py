"""Termination signals on their way to miniwdl, and the line that ends the log."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, TypeVar

from ..errors import MiniwdlCloudError, Unreachable
from ..patience import patiently

END_OF_LOG = "[miniwdl-run-s3upload] -- END OF LOG --"
"""The last line on standard error, whatever happened: who follows the log waits for it."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)

TERMINATION_WAIT_S = 110.0
"""Seconds that miniwdl may take to end after a signal. Batch kills the container 30 s after its
SIGTERM (user guide, "Job timeouts"), which this does not try to forestall: the container ends with
its first process, so that leaving sooner would only shorten the time in which miniwdl terminates
its jobs. The bound is for a run by hand."""

_LOOK_EVERY_S = 1.0

_T = TypeVar("_T")


class Interrupted(MiniwdlCloudError):
    """A termination signal ended the command before miniwdl's own exit code was there.

    Parameters
    ----------
    signum
        The signal; the exit code is 128 more, as a shell reports it.
    """

    def __init__(self, signum: int) -> None:
        name = signal.Signals(signum).name
        super().__init__(f"{name} ended the command; nothing is deleted, and it may be run again.")
        self.exit_code = 128 + signum


class _Signalled(BaseException):
    """Travels like KeyboardInterrupt: botocore would take an Exception for a failed request, and
    try again."""


class SignalRelay:
    """Handles termination signals while it is entered, on the main thread.

    While `run` waits for miniwdl, each signal is sent on to it. In `shielded` parts a signal is
    only noted (``stop`` is set). Anywhere else it ends the context, which raises `Interrupted`.
    The first signal counts: later ones do not change what is reported.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.stop = threading.Event()
        self._shields = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._previous: dict[int, Any] = {}
        self._said_waiting: float | None = None

    def __enter__(self) -> SignalRelay:
        for signum in SIGNALS:
            self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exn: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        if isinstance(exn, _Signalled):
            raise Interrupted(self.first or 0) from None

    def shielded(self) -> _Shield:
        """A context in which a signal does not raise."""
        return _Shield(self)

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.first is not None:
            raise Interrupted(self.first)

    def patiently(self, step: Callable[[], _T]) -> _T:
        """What a step returns once AWS answers; a signal ends the waiting. See `patience`."""
        return patiently(step, self.stop.is_set, self.say_waiting)

    def say_waiting(self, error: Unreachable) -> None:
        """Write into the log that AWS is waited for, a minute apart at least."""
        now = time.monotonic()
        if self._said_waiting is None or now - self._said_waiting > 60.0:
            self._said_waiting = now
            say(f"waiting for AWS to answer: {error.message}")

    def run(
        self,
        command: list[str],
        environ: dict[str, str],
        wait_s: float = TERMINATION_WAIT_S,
    ) -> tuple[int, bytes]:
        """Run a command; its standard error is ours.

        Parameters
        ----------
        command, environ
            What to run.
        wait_s
            Seconds that it may take to end after the first signal; then it is killed.

        Returns
        -------
        tuple[int, bytes]
            Its exit code (128 and the signal's number if one ended it) and standard output.

        Raises
        ------
        Interrupted
            A signal came before the command was started.
        """
        with self.shielded():
            self.check()
            # In our process group, so that a terminal's Ctrl-Z and job control reach it as well;
            # Ctrl-C then arrives twice, which miniwdl takes for once.
            with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as child:
                self._child = child
                try:
                    if self.first is not None:  # came while it was being started
                        child.send_signal(self.first)
                    output = self._communicate(child, wait_s)
                except BaseException:
                    child.kill()
                    raise
                finally:
                    self._child = None
        code = child.returncode
        if code < 0:
            return 128 + (self.first or -code), output
        return code, output

    def _communicate(self, child: subprocess.Popen[bytes], wait_s: float) -> bytes:
        left = wait_s
        while True:
            try:
                return child.communicate(timeout=_LOOK_EVERY_S)[0]
            except subprocess.TimeoutExpired:
                if self.first is None:
                    continue
                left -= _LOOK_EVERY_S
                if left > 0:
                    continue
            say(f"miniwdl did not end within {wait_s:.0f} s of the signal; killing it")
            child.kill()
            try:
                return child.communicate(timeout=5)[0]
            except subprocess.TimeoutExpired:
                # A grandchild keeps the pipe open. What miniwdl itself would have said is lost.
                return b""

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = signum
        self.stop.set()
        if self._child is not None:
            # poll() inside send_signal sees to it that no stranger with the same id is hit.
            self._child.send_signal(signum)
        elif not self._shields:
            raise _Signalled


class _Shield:
    def __init__(self, relay: SignalRelay) -> None:
        self._relay = relay

    def __enter__(self) -> None:
        self._relay._shields += 1

    def __exit__(self, *_: object) -> None:
        self._relay._shields -= 1


def say(message: str) -> None:
    """Write a line of ours into the log."""
    print(f"[miniwdl-run-s3upload] {message}", file=sys.stderr, flush=True)
