"""`miniwdl-aws-submit` as a process of its own, with an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

_SUBMIT = "from miniwdl_cloud.cli.main import submit_main; submit_main()"


def submit(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run it; what it prints goes to standard error.

    Parameters
    ----------
    arguments
        Of the command.
    environ
        Its whole environment.

    Returns
    -------
    int
        Its exit code; 128 and the signal's number, if a signal ended it.
    """
    code = subprocess.run(
        [sys.executable, "-c", _SUBMIT, *arguments],
        stdout=sys.stderr,
        env=dict(environ),
        check=False,
    ).returncode
    return code if code >= 0 else 128 - code
