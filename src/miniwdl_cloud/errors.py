"""The errors that a person or a run can meet, and the exit code that each kind ends in.

    MiniwdlCloudError
    ├── UsageError           a wrong or missing option, input or setting          64
    ├── ConfigurationError   the deployment or a setting does not fit             78
    │   └── BudgetReached    the tasks of a run have cost what they may
    ├── NotFound             a queue, access point, role, bucket… does not exist  69
    ├── AccessDenied         credentials missing, expired or not allowed          77
    ├── Unreachable          AWS did not answer                                   75
    │   ├── Throttled        AWS asked to slow down
    │   │   └── NoCapacity   AWS has no room for a job at this time
    │   └── CredentialsExpired  credentials that may be renewed meanwhile         77
    ├── FilesystemFull       the shared filesystem has no room left               73
    ├── TooLarge             the WDL source code does not fit into the request    123
    └── ServiceError         any other answer of AWS                              70

Exit codes are those of BSD's sysexits.h where one fits, so that they cannot be mistaken for
miniwdl's own (2) or for a task command's; 123 is what existing scripts know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class MiniwdlCloudError(Exception):
    """An error that is reported in one sentence, without a traceback.

    Parameters
    ----------
    message
        One sentence that says what is wrong and what to do.
    more_info
        JSON-able details; they end in miniwdl's ``error.json`` when a run fails of it.
    """

    exit_code = 1

    def __init__(self, message: str, more_info: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.more_info: dict[str, Any] = dict(more_info or {})


class UsageError(MiniwdlCloudError):
    """A wrong or missing command line option, input or setting."""

    exit_code = 64


class ConfigurationError(MiniwdlCloudError):
    """The deployment, the machine or a setting does not fit what was asked."""

    exit_code = 78


class BudgetReached(ConfigurationError):
    """The tasks of a run have cost what they may, and no more are submitted."""


class NotFound(MiniwdlCloudError):
    """Something that a setting names does not exist in the account and Region."""

    exit_code = 69


class AccessDenied(MiniwdlCloudError):
    """Credentials are missing, expired, or do not allow the call."""

    exit_code = 77


class Unreachable(MiniwdlCloudError):
    """AWS (or the endpoint that stands for it) did not answer; trying again may help."""

    exit_code = 75


class Throttled(Unreachable):
    """AWS asked to slow down; trying again later will help."""


class NoCapacity(Throttled):
    """AWS has no room for a job of this size at this time, or the account no quota left."""


class CredentialsExpired(Unreachable):
    """The credentials are not valid any more, or could not be had; they may be renewed."""

    exit_code = 77


class FilesystemFull(MiniwdlCloudError):
    """The shared filesystem has no room left."""

    exit_code = 73


class TooLarge(MiniwdlCloudError):
    """The WDL source code does not fit into the request that ships it."""

    exit_code = 123


class ServiceError(MiniwdlCloudError):
    """Any other error answer of an AWS service."""

    exit_code = 70
