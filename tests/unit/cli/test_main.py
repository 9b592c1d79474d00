"""The entry points: errors become one line and an exit code; help loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from miniwdl_cloud import errors
from miniwdl_cloud.cli import main as cli

KINDS = {
    errors.UsageError: 64,
    errors.NotFound: 69,
    errors.ServiceError: 70,
    errors.Unreachable: 75,
    errors.Throttled: 75,
    errors.AccessDenied: 77,
    errors.ConfigurationError: 78,
    errors.TooLarge: 123,
}


def _exit_code(work: Callable[[], int]) -> int:
    with pytest.raises(SystemExit) as caught:
        cli._exit_with(work, "prog")
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(("kind", "code"), KINDS.items(), ids=lambda v: getattr(v, "__name__", v))
def test_each_kind_of_error_has_its_exit_code(
    kind: type[errors.MiniwdlCloudError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message is all that is printed, and the kind decides the exit code."""

    def work() -> int:
        raise kind("This is wrong; do that.")

    assert _exit_code(work) == code
    assert capsys.readouterr() == ("", "prog: This is wrong; do that.\n")


def test_the_commands_own_exit_code_passes() -> None:
    """What the command returns is what the process exits with."""
    assert _exit_code(lambda: 42) == 42


def test_interruption_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends in one line and exit code 130."""

    def work() -> int:
        raise KeyboardInterrupt

    assert _exit_code(work) == 130
    assert capsys.readouterr().err == "prog: interrupted\n"


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("entry", ["main", "submit_main", "run_main"])
def test_help_loads_neither_boto3_nor_wdl(entry: str) -> None:
    """--help must be quick: no heavy module is imported for it."""
    done = _python(
        "-c",
        "import sys\n"
        "sys.argv = ['prog', '--help']\n"
        f"from miniwdl_cloud.cli.main import {entry}\n"
        "try:\n"
        f"    {entry}()\n"
        "except SystemExit as exn:\n"
        "    heavy = {'boto3', 'botocore', 'WDL', 'rich', 'moto', 'docker'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
        "    assert exn.code == 0\n",
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_only_the_named_command_is_imported() -> None:
    """A task job that fetches a file needs none of the other commands."""
    done = _python(
        "-c",
        "import sys\n"
        "sys.argv = ['prog', 'fetch', '--help']\n"
        "from miniwdl_cloud.cli.main import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    assert 'miniwdl_cloud.cli.local' not in sys.modules\n",
    )
    assert done.returncode == 0, done.stderr


def test_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """--version says the version."""
    monkeypatch.setattr(sys, "argv", ["miniwdl-cloud", "--version"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "miniwdl-cloud 0." in capsys.readouterr().out


def test_an_unknown_command_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word that is no command ends in exit code 2, as argparse has it."""
    monkeypatch.setattr(sys, "argv", ["miniwdl-cloud", "nonsense"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert "nonsense" in capsys.readouterr().err


def test_errors_have_exit_codes_of_their_own() -> None:
    """No two kinds that a script tells apart share a code by accident, and none is miniwdl's 2."""

    def kinds(cls: Any) -> list[Any]:
        return [cls, *(kind for sub in cls.__subclasses__() for kind in kinds(sub))]

    codes = {kind.exit_code for kind in kinds(errors.MiniwdlCloudError) if kind in KINDS}
    assert len(codes) == len(set(KINDS.values()))
    assert 2 not in codes
