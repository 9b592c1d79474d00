"""What EC2 tells an instance of itself: its id, and that its end is near.

Instance metadata service, version 2: each request carries a token (EC2 User Guide, "Use the
Instance Metadata Service"). ``spot/instance-action`` is missing (404) until the notice of two
minutes, ``events/recommendations/rebalance`` until the recommendation ("Spot Instance interruption
notices", "EC2 instance rebalance recommendations"); ``autoscaling/target-lifecycle-state`` says
``Terminated`` once the group has decided so (EC2 Auto Scaling User Guide, "Retrieve the target
lifecycle state through instance metadata").
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import Unreachable
from .policy import Notice

TIMEOUT_S = 2.0
TOKEN_TTL_S = 21600
"""The longest that there is: six hours."""


@dataclass(frozen=True)
class Signs:
    """What is known of the instance's end.

    Parameters
    ----------
    notice
        Who ends it, if that is decided.
    rebalance
        Whether AWS recommends to do without it.
    """

    notice: Notice | None = None
    rebalance: bool = False


class Metadata:
    """The instance metadata service.

    Parameters
    ----------
    url
        Where it is; ``None`` for a machine that has none, of which nothing is known.
    clock
        Seconds that do not jump.
    """

    def __init__(self, url: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url.rstrip("/") if url else None
        self._clock = clock
        self._token = ""
        self._token_until = 0.0
        # The instance's own address is reached directly, never through a proxy.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def instance_id(self) -> str | None:
        """The instance's id; ``None`` where there is none."""
        return self._get("instance-id")

    def signs(self) -> Signs:
        """What is known of the instance's end.

        Raises
        ------
        Unreachable
            The service does not answer.
        """
        # A stop or a hibernation takes the machine out of the swarm as an end does.
        if self._get("spot/instance-action") is not None:
            notice: Notice | None = Notice.SPOT
        elif self._get("autoscaling/target-lifecycle-state") == "Terminated":
            notice = Notice.SCALE_IN
        else:
            notice = None
        return Signs(notice, self._get("events/recommendations/rebalance") is not None)

    def _get(self, path: str) -> str | None:
        """The text at a path; ``None`` if there is none."""
        if self._url is None:
            return None
        for fresh in (False, True):
            headers = {"X-aws-ec2-metadata-token": self._valid_token(fresh)}
            request = urllib.request.Request(
                f"{self._url}/latest/meta-data/{path}", headers=headers
            )
            try:
                return self._open(request)
            except urllib.error.HTTPError as exn:
                if exn.code == 404:
                    return None
                # 401: the token is not valid any more, as after a stop and a start.
                if exn.code != 401 or fresh:
                    raise _unreachable(exn) from exn
            except OSError as exn:
                raise _unreachable(exn) from exn
        return None

    def _valid_token(self, fresh: bool) -> str:
        if fresh or self._clock() >= self._token_until:
            request = urllib.request.Request(
                f"{self._url}/latest/api/token",
                method="PUT",
                headers={"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL_S)},
            )
            try:
                self._token = self._open(request)
            except OSError as exn:
                raise _unreachable(exn) from exn
            self._token_until = self._clock() + TOKEN_TTL_S / 2
        return self._token

    def _open(self, request: urllib.request.Request) -> str:
        with self._opener.open(request, timeout=TIMEOUT_S) as answer:
            return str(answer.read(10_000).decode().strip())


def _unreachable(exn: OSError) -> Unreachable:
    return Unreachable(f"The instance metadata service did not answer: {exn}")
