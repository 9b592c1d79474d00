"""Credentials files that change during a run."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from miniwdl_cloud.aws import credentials
from miniwdl_cloud.aws.session import AwsSession


def _write(path: Path, key: str, token: str | None) -> None:
    lines = ["[default]", f"aws_access_key_id = {key}", "aws_secret_access_key = s"]
    path.write_text("\n".join([*lines, f"aws_session_token = {token}" if token else "", ""]))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared credentials file."""
    path = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    return path


def _session() -> botocore.session.Session:
    session = botocore.session.Session()
    credentials.reread_files(session)
    return session


def _pass_time(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute and more later, by the clock of the credentials."""
    later = datetime.now(timezone.utc) + 2 * credentials.REREAD_EVERY
    monkeypatch.setattr(found, "_time_fetcher", lambda: later)
    # What is read now would be old again at once, by the clock of this machine.
    monkeypatch.setattr(credentials, "REREAD_EVERY", 10 * credentials.REREAD_EVERY)


def test_renewed_credentials_are_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary credentials that are written anew are there a minute later."""
    _write(file, "one", "t1")
    found = _session().get_credentials()
    assert found.get_frozen_credentials()[:3] == ("one", "s", "t1")
    _write(file, "two", "t2")
    assert found.get_frozen_credentials()[:3] == ("one", "s", "t1")
    _pass_time(found, monkeypatch)
    assert found.get_frozen_credentials()[:3] == ("two", "s", "t2")


@pytest.mark.parametrize("text", ["", "[broken", "[other]\n"])
def test_a_file_that_is_being_written_changes_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """While the file is empty, broken or without the profile, the last credentials stay."""
    _write(file, "one", "t1")
    found = _session().get_credentials()
    file.write_text(text)
    _pass_time(found, monkeypatch)
    assert found.get_frozen_credentials()[:3] == ("one", "s", "t1")


def test_lasting_credentials_are_left_to_botocore(file: Path) -> None:
    """Keys without a token do not end."""
    _write(file, "one", None)
    assert _session().get_credentials().method == "shared-credentials-file"


def test_the_environment_comes_first(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of sources is botocore's."""
    _write(file, "one", "t1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "env")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env")
    assert _session().get_credentials().access_key == "env"


def test_our_sessions_read_the_file_again(file: Path) -> None:
    """Every client that we make has such credentials."""
    _write(file, "one", "t1")
    client = AwsSession("us-east-1").client("batch")
    assert client._request_signer._credentials.method == credentials.RereadFile.METHOD
