"""AWS IAM: whether a role exists."""

from __future__ import annotations

import re

from ..errors import AccessDenied, NotFound
from .error_mapping import map_errors
from .session import AwsSession

# IAM identifiers, "IAM ARNs": partition, no Region, account, optional path, role name.
ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/(?:[\x21-\x7e]+/)?([\w+=,.@-]{1,64})")


class Iam:
    """AWS IAM, seen with the caller's credentials."""

    def __init__(self, session: AwsSession) -> None:
        self._client = session.client("iam")

    def role_exists(self, arn: str) -> bool | None:
        """Whether a role exists; ``None`` where the credentials may not ask.

        Parameters
        ----------
        arn
            A role's ARN that `ROLE_ARN` matches.
        """
        match = ROLE_ARN.fullmatch(arn)
        return False if match is None else self.has_role(match[1])

    def has_role(self, name: str) -> bool | None:
        """Whether the account has a role; ``None`` where the credentials may not ask.

        Parameters
        ----------
        name
            Its name, without a path.
        """
        try:
            with map_errors(f"looking up the role {name}"):
                self._client.get_role(RoleName=name)
        except NotFound:
            return False
        except AccessDenied as exn:
            if exn.more_info:  # an answer of IAM; missing credentials have none
                return None
            raise
        return True
