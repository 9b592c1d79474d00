"""A record of API calls: who made which, with what parameters.

For tests that compare what is done with what policies allow. A job's calls are known by its access
key, which the emulator makes of the name of its role.
"""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any, TextIO

_KEY = re.compile(r"Credential=([^/,]+)/")
ANONYMOUS = "testing"


def access_key(role_arn: str | None) -> str:
    """The access key that a container has.

    Parameters
    ----------
    role_arn
        Of its job role or task role; `None` if it has none.
    """
    if not role_arn:
        return ANONYMOUS
    # A comma or slash would end it in the header that carries it.
    return "role." + re.sub(r"[^\w.-]", "_", role_arn.rpartition("/")[2])


class CallRecord:
    """Writes each call into a file, one JSON object a line.

    Parameters
    ----------
    path
        The file; it is begun anew.
    """

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("w")
        self._lock = threading.Lock()

    def add(self, service: str, operation: str, environ: dict[str, Any]) -> None:
        """Write down a call.

        Parameters
        ----------
        service
            Its signing name.
        operation
            As `OperationNames` finds it.
        environ
            The request; its body can be read again.
        """
        key = _KEY.search(environ.get("HTTP_AUTHORIZATION", ""))
        body = ""
        if service != "s3":  # whose bodies are files
            body = environ["wsgi.input"].read().decode(errors="replace")
            environ["wsgi.input"].seek(0)
        line = json.dumps(
            {
                "service": service,
                "operation": operation,
                "accessKey": key.group(1) if key else "",
                "uri": environ["RAW_URI"],
                "body": body,
            }
        )
        with self._lock:
            if not self._file.closed:
                print(line, file=self._file, flush=True)

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            self._file.close()
