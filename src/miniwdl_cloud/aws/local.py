"""A session for an embedded AWS, whatever the user's own AWS configuration says."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import boto3
import botocore.config
import botocore.session

from .error_mapping import map_errors
from .session import AwsSession

DUMMY_CREDENTIAL = "local"
"""Both halves of the access key that goes to an embedded AWS, which does not look at it."""

_STATUSES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")


class LocalSession(AwsSession):
    """Clients of an embedded AWS.

    Parameters
    ----------
    endpoint_url
        Where it answers.
    region
        Its Region.
    """

    def __init__(self, endpoint_url: str, region: str) -> None:
        # Without the profile variables: a profile that does not exist would be an error.
        profile: Mapping[str, Any] = {"profile": (None, None, None, None)}
        core = botocore.session.Session(session_vars=dict(profile))
        self._session = boto3.Session(
            aws_access_key_id=DUMMY_CREDENTIAL,
            aws_secret_access_key=DUMMY_CREDENTIAL,
            region_name=region,
            botocore_session=core,
        )
        self.region = region
        self._endpoint_url = endpoint_url
        self._config = botocore.config.Config(
            connect_timeout=10,
            read_timeout=60,
            # Loopback is reached directly, never through a proxy.
            proxies={},
        )
        self._clients = {}
        self._lock = threading.Lock()

    def _make(self, service: str, config: botocore.config.Config) -> Any:
        return self._session.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self._endpoint_url,
            config=config,
        )


def job_counts(session: AwsSession, queue: str) -> dict[str, int]:
    """How many jobs a queue has, by status; statuses without any are left out.

    Raises
    ------
    MiniwdlCloudError
        The queue cannot be looked at.
    """
    client = session.client("batch")
    counts: dict[str, int] = {}
    with map_errors(f"listing the jobs of the queue '{queue}'"):
        pages = client.get_paginator("list_jobs")
        for status in _STATUSES:
            found = pages.paginate(jobQueue=queue, jobStatus=status)
            count = sum(len(page["jobSummaryList"]) for page in found)
            if count:
                counts[status] = count
    return counts
