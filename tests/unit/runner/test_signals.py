"""Termination signals before and while a command runs."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from miniwdl_cloud.runner.signals import END_OF_LOG, Interrupted, SignalRelay

from .conftest import Runner


def when(path: Path, signum: signal.Signals) -> threading.Thread:
    """A thread that sends this process a signal once a file exists."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signum)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_exit_code_and_output() -> None:
    """Without a signal a command's exit code and standard output are passed on."""
    with SignalRelay() as relay:
        code, output = relay.run([sys.executable, "-c", "print('x'); exit(5)"], dict(os.environ))
    assert (code, output) == (5, b"x\n")


def test_killed_by_something_else() -> None:
    """A command that a signal ends without our doing has 128 and its number."""
    source = "import os; os.kill(os.getpid(), 9)"
    with SignalRelay() as relay:
        assert relay.run([sys.executable, "-c", source], dict(os.environ))[0] == 137


def test_stubborn_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that ignores the signal is killed when its time is up."""
    ready = tmp_path / "ready"
    source = (
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(120)\n"
    )
    thread = when(ready, signal.SIGTERM)
    with SignalRelay() as relay:
        code, _ = relay.run([sys.executable, "-c", source], dict(os.environ), wait_s=1.0)
    thread.join()
    assert code == 128 + signal.SIGTERM
    assert "did not end within 1 s of the signal; killing it" in capsys.readouterr().err


def test_handlers_are_restored() -> None:
    """Afterwards signals do what they did before."""
    before = signal.getsignal(signal.SIGTERM)
    with SignalRelay():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_nothing_running() -> None:
    """Outside of `run` a signal ends the context; the first one is reported."""
    with pytest.raises(Interrupted) as caught, SignalRelay() as relay:
        with relay.shielded():
            signal.raise_signal(signal.SIGHUP)
        assert relay.stop.is_set()
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.exit_code == 128 + signal.SIGHUP


def test_no_start_after_a_signal() -> None:
    """What has been told to end starts nothing."""
    with SignalRelay() as relay:
        with relay.shielded():
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            relay.run(["/nonexistent"], {})


def test_before_the_run(runner: Runner) -> None:
    """A signal while S3 is asked ends the command at once, the end-of-log marker included."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        port = silent.getsockname()[1]
        process = runner.start(
            "",
            *("--s3upload", "s3://bucket/r"),
            environ={"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"},
        )
        connection, _ = silent.accept()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
        connection.close()
    assert process.returncode == 128 + signal.SIGTERM
    assert "miniwdl-run-s3upload: SIGTERM ended the command; nothing is deleted" in stderr
    assert stderr.rstrip().endswith(END_OF_LOG)
    assert not runner.run_dir.exists()
