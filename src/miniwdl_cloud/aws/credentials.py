"""Credentials that somebody renews in a file while a run goes on.

botocore renews those of containers, instances, roles and single sign-on by itself. It reads the
shared credentials file once, although tools that write temporary credentials there do so again and
again; a run that takes longer than they last would end with them.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import botocore.session
from botocore.credentials import (
    CredentialProvider,
    Credentials,
    RefreshableCredentials,
    SharedCredentialProvider,
)
from botocore.exceptions import BotoCoreError

REREAD_EVERY = timedelta(seconds=60)
"""The file is read again when it was last read so long ago and credentials are needed."""


def reread_files(session: botocore.session.Session) -> None:
    """Let a session read temporary credentials in the shared credentials file again and again.

    Parameters
    ----------
    session
        A session that has not looked for credentials yet.
    """
    resolver = session.get_component("credential_provider")
    for provider in list(resolver.providers):
        if isinstance(provider, SharedCredentialProvider):
            resolver.insert_before(provider.METHOD, RereadFile(provider))


class RereadFile(CredentialProvider):
    """Temporary credentials from the shared credentials file; others are left to botocore.

    Parameters
    ----------
    file
        botocore's own reader of the file.
    """

    METHOD = "reread-credentials-file"

    def __init__(self, file: SharedCredentialProvider) -> None:
        self._file = file
        self._last: Credentials | None = None

    def load(self) -> Credentials | None:
        """The credentials, if the file has temporary ones."""
        self._last = self._file.load()
        if self._last is None or self._last.token is None:
            return None
        return RefreshableCredentials.create_from_metadata(
            self._read(), self._read, self.METHOD, advisory_timeout=0, mandatory_timeout=0
        )

    def _read(self) -> dict[str, str | None]:
        try:
            # A file that is just being written may be unreadable, or empty.
            self._last = self._file.load() or self._last
        except BotoCoreError:
            pass
        assert self._last is not None
        return {
            "access_key": self._last.access_key,
            "secret_key": self._last.secret_key,
            "token": self._last.token,
            "expiry_time": (datetime.now(timezone.utc) + REREAD_EVERY).isoformat(),
        }
