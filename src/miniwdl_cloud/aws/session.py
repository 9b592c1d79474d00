"""Where every boto3 client is made.

boto3's ``Session`` is not thread-safe while it makes a client; the clients themselves are
(boto3 guide "Resources", "Multithreading or multiprocessing with clients"). So one `AwsSession`
makes each client once, under a lock, and everybody shares it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import boto3
import botocore
import botocore.config
import botocore.session

from ..errors import ConfigurationError
from . import credentials

DEFAULT_RETRIES: Mapping[str, Any] = {"max_attempts": 5, "mode": "standard"}


class AwsSession:
    """Clients of one Region, each made once.

    Parameters
    ----------
    region
        Region name; ``None`` leaves it to boto3's own configuration and then to the instance
        metadata service.
    retries
        botocore's ``retries`` configuration (the setting ``[aws] boto3_retries``).
    max_connections
        Connections that a client keeps open, for callers with many threads.

    Raises
    ------
    ConfigurationError
        No Region is configured anywhere.
    """

    def __init__(
        self,
        region: str | None = None,
        retries: Mapping[str, Any] | None = None,
        max_connections: int = 32,
    ) -> None:
        core = botocore.session.Session()
        credentials.reread_files(core)
        self._session = boto3.Session(region_name=region or None, botocore_session=core)
        resolved = region or self._session.region_name or _region_from_instance_metadata()
        if not resolved:
            raise ConfigurationError(
                "No AWS Region is configured; set AWS_DEFAULT_REGION, or `region` in your AWS"
                " configuration file."
            )
        self.region: str = resolved
        self._config = botocore.config.Config(
            retries=dict(retries or DEFAULT_RETRIES),  # type: ignore[arg-type]
            max_pool_connections=max_connections,
            connect_timeout=10,
            read_timeout=60,
        )
        self._clients: dict[tuple[str, bool], Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str, retrying: bool = True) -> Any:
        """The client of a service, made at first use.

        Parameters
        ----------
        service
            boto3's service name.
        retrying
            Whether botocore may send a request again by itself; wrong for requests that are not
            idempotent.
        """
        with self._lock:
            key = (service, retrying)
            if key not in self._clients:
                config = self._config
                if not retrying:
                    once = botocore.config.Config(retries={"total_max_attempts": 1})
                    config = config.merge(once)
                self._clients[key] = self._make(service, config)
            return self._clients[key]

    def unsigned_client(self, service: str) -> Any:
        """A new client of a service that sends its requests without credentials, and never asks
        for any."""
        unsigned = botocore.config.Config(signature_version=botocore.UNSIGNED)
        with self._lock:
            return self._make(service, self._config.merge(unsigned))

    def _make(self, service: str, config: botocore.config.Config) -> Any:
        return self._session.client(
            service,  # type: ignore[call-overload]
            region_name=self.region,
            config=config,
        )


def _region_from_instance_metadata() -> str | None:
    from botocore.utils import InstanceMetadataRegionFetcher

    region = InstanceMetadataRegionFetcher(timeout=2, num_attempts=1).retrieve_region()
    return str(region) if region else None
