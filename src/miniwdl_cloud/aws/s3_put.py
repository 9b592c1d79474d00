"""PutObject of thousands of small objects.

botocore takes about half a millisecond of the processor to make a PutObject request, and as much
again to send it: it validates the parameters, evaluates the rules that say where a bucket answers,
and tells dozens of handlers. For objects of one bucket the outcome is the same but for key, length
and checksum. So one object of a bucket goes through the client, and `DirectPut` makes the others'
requests after its pattern, signed by botocore's signer with the client's credentials, over
connections of its own.

It never decides what an error means: whatever is not plain success the caller's thread repeats
through the client, which retries, follows redirects and raises. Repeating is harmless: the same
bytes are put to the same key.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import threading
import time
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.awsrequest import AWSRequest
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

PAUSE_S = 5.0
"""Seconds for which everything goes through the client, which knows how to back off, after an
answer that was no success."""
_SIGNATURE = "s3v4"
_EVENT = "before-sign.s3.PutObject"
_CHECKSUM = "x-amz-checksum-crc32"
_ALGORITHM = "x-amz-sdk-checksum-algorithm"
# What belongs to one request alone, in lower case.
_OWN_HEADERS = frozenset(
    {
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "authorization",
        "content-encoding",
        "content-length",
        "content-md5",
        "content-type",
        "expect",
        "host",
        "transfer-encoding",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-security-token",
        "x-amz-trailer",
    }
)


@dataclass(frozen=True)
class _Pattern:
    """What the requests of one bucket have in common."""

    connections: _Connections
    base: str
    headers: Mapping[str, str]
    signing_name: str
    region: str
    signer: Any
    checksum: bool


class DirectPut:
    """Puts objects after the pattern of what a client sends. May be used from any thread.

    Parameters
    ----------
    client
        boto3's S3 client.
    clock
        Seconds, monotonic.
    """

    def __init__(self, client: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._patterns: dict[str, _Pattern | None] = {}
        self._lock = threading.Lock()
        self._learning = threading.local()
        self._not_before = clock()
        client.meta.events.register_first(_EVENT, self._before_sign)

    def put(self, bucket: str, key: str, body: bytes, extra: Mapping[str, str]) -> None:
        """Put an object.

        Parameters
        ----------
        extra
            Of ``put_object``: ``ContentType`` where it is known, and what is the same for all
            objects.

        Raises
        ------
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError
            The client's.
        """
        pattern = self._patterns.get(bucket)
        if pattern is not None and self._clock() >= self._not_before:
            if self._send(pattern, key, body, extra.get("ContentType")):
                return
            self._not_before = self._clock() + PAUSE_S
        with self._lock:
            known = bucket in self._patterns
            self._patterns.setdefault(bucket, None)
        if known:
            self._client.put_object(Bucket=bucket, Key=key, Body=body, **extra)
        else:
            self._learn(bucket, key, body, extra)

    def _learn(self, bucket: str, key: str, body: bytes, extra: Mapping[str, str]) -> None:
        """Put the first object of a bucket."""
        self._learning.key, self._learning.found = key, None
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=body, **extra)
        except BaseException:
            del self._patterns[bucket]
            raise
        finally:
            self._learning.key = None
        # The last request that was signed is the one that succeeded, after a redirect perhaps.
        self._patterns[bucket] = self._learning.found

    def _before_sign(
        self,
        request: AWSRequest,
        signing_name: str,
        region_name: str,
        signature_version: str,
        request_signer: Any,
        **_: Any,
    ) -> None:
        """The client is about to sign a request, in the thread that asked for it."""
        key = getattr(self._learning, "key", None)
        if key is None:
            return
        self._learning.found = None
        tail, url = _quoted(key), str(request.url)
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        algorithm = headers.get(_ALGORITHM)
        connections = _connections(self._client, url)
        if (
            connections is None
            or signature_version != _SIGNATURE
            or not url.endswith("/" + tail)
            or "?" in url
            or algorithm not in (None, "CRC32")
        ):
            return
        # What botocore's signer takes: the bucket's Region, where that is not the client's.
        signing = request.context.get("signing") or {}
        self._learning.found = _Pattern(
            connections=connections,
            base=url[: -len(tail)],
            headers={
                name: value
                for name, value in headers.items()
                if name not in _OWN_HEADERS and not name.startswith("x-amz-checksum-")
            },
            signing_name=signing.get("signing_name") or signing_name,
            region=signing.get("region") or region_name,
            signer=request_signer,
            checksum=algorithm is not None,
        )

    def _send(self, pattern: _Pattern, key: str, body: bytes, content_type: str | None) -> bool:
        """Whether S3 took it."""
        headers = dict(pattern.headers)
        if pattern.checksum:
            headers[_CHECKSUM] = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        if content_type:
            headers["content-type"] = content_type
        url = pattern.base + _quoted(key)
        parts = urlsplit(url)
        headers["host"] = parts.netloc
        request = AWSRequest("PUT", url, headers, body)
        # Asks the client's credentials each time, which refresh themselves.
        pattern.signer.get_auth_instance(pattern.signing_name, pattern.region, _SIGNATURE).add_auth(
            request
        )
        lines = [f"PUT {parts.path} HTTP/1.1"]
        lines += [f"{name}: {_text(value)}" for name, value in request.headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return pattern.connections.exchange("\r\n".join(lines).encode() + body) == 200


class _Connections:
    """Connections to one server that are kept open.

    Parameters
    ----------
    connect
        Makes one.
    """

    def __init__(self, connect: Callable[[], http.client.HTTPConnection]) -> None:
        self._connect = connect
        # Appending to a deque and taking from it need no lock.
        self._idle: deque[http.client.HTTPConnection] = deque()
        weakref.finalize(self, _close_all, self._idle)

    def exchange(self, request: bytes) -> int | None:
        """Send a request; returns the status of the answer, `None` if there is none."""
        while True:
            try:
                connection, used = self._idle.pop(), True
            except IndexError:
                connection, used = self._connect(), False
            try:
                if connection.sock is None:
                    connection.connect()
                connection.sock.sendall(request)
                answer = http.client.HTTPResponse(connection.sock, method="PUT")
                try:
                    answer.begin()
                    answer.read()
                finally:
                    answer.close()
            except (OSError, http.client.HTTPException) as exn:
                connection.close()
                if not used or isinstance(exn, TimeoutError):
                    return None
                # The server may have closed it meanwhile; a new one tells.
                continue
            except BaseException:
                connection.close()
                raise
            if answer.will_close:
                connection.close()
            else:
                self._idle.append(connection)
            return answer.status


def _connections(client: Any, url: str) -> _Connections | None:
    """Connections for what a client sends to a URL; `None` where only the client can make them."""
    config, parts = client.meta.config, urlsplit(url)
    # Private to botocore: which certificates it trusts. Where it is missing, the client does it.
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    verify = getattr(session, "_verify", False)
    if not verify or config.proxies or config.client_cert or get_environ_proxies(url):
        return None
    host, port, timeout = parts.hostname or "", parts.port, config.read_timeout
    if parts.scheme != "https":
        return _Connections(lambda: http.client.HTTPConnection(host, port, timeout=timeout))
    context = ssl.create_default_context(cafile=get_cert_path(verify))
    return _Connections(
        lambda: http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    )


def _close_all(connections: deque[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


def _quoted(key: str) -> str:
    """A key as botocore puts it into a path."""
    return quote(key, safe="/~")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
