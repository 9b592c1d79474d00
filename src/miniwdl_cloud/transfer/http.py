"""Fetching a file by HTTP(S), going on where a broken connection left off."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from .. import __version__
from ..errors import AccessDenied, ConfigurationError, NotFound, ServiceError, Unreachable
from ..settings import environment

T = TypeVar("T")

TIMEOUT_S = 60.0
ATTEMPTS = 6
FIRST_WAIT_S = 1.0
_CHUNK = 1024 * 1024
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Remote:
    """What a server says of a file.

    Parameters
    ----------
    size
        In bytes; ``None`` if it does not say.
    validator
        A strong entity tag, or a date: proves that a later part is of the same file.
    """

    size: int | None
    validator: str | None


def name_of(url: str) -> str:
    """The file name in a URL's path, percent-decoded, fit to be a local one."""
    name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    name = name.replace("/", "_").replace("\0", "_")
    # 255 bytes are what local filesystems take; the beginning may go, the ending tells the format.
    while len(name.encode(errors="surrogateescape")) > 255:
        name = name[1:]
    return "download" if name in ("", ".", "..") else name


class Http:
    """Fetches files by HTTP and HTTPS.

    Proxies are those of the usual variables (``HTTPS_PROXY``, ``NO_PROXY``…); certificates are
    checked against the system's, or those of ``SSL_CERT_FILE`` or ``REQUESTS_CA_BUNDLE``.

    Parameters
    ----------
    environ
        The process environment.
    sleep
        Waits between attempts, in seconds.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        environ = environment() if environ is None else environ
        self._sleep = sleep
        # OpenSSL reads SSL_CERT_FILE by itself.
        context = ssl.create_default_context()
        bundle = environ.get("REQUESTS_CA_BUNDLE")
        if bundle and not environ.get("SSL_CERT_FILE"):
            try:
                if Path(bundle).is_dir():
                    context.load_verify_locations(capath=bundle)
                else:
                    context.load_verify_locations(cafile=bundle)
            except OSError as exn:
                raise ConfigurationError(
                    f"REQUESTS_CA_BUNDLE names no readable certificates: {exn}"
                ) from exn
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def look(self, url: str) -> Remote:
        """What the server says of a file, without fetching it.

        Raises
        ------
        MiniwdlCloudError
            As `fetch`.
        """

        def once() -> Remote:
            # Not HEAD, which some servers refuse and presigned URLs do not cover.
            with self._open(url, {}) as response:
                return _remote(response)

        return self._retried(url, once)

    def fetch(self, url: str, path: Path, on_bytes: Callable[[int], None] | None = None) -> None:
        """Fetch a file, which appears under its name when it is complete.

        Parameters
        ----------
        on_bytes
            Called with the number of bytes received since the last call; what it raises ends the
            download.

        Raises
        ------
        NotFound
            The server has no such file.
        AccessDenied
            The server refuses it.
        Unreachable
            It could not be had in several attempts.
        ServiceError
            Any other answer.
        ConfigurationError
            The server's certificate is not trusted, or the file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name[:200]}.part")
        remote: Remote | None = None

        def once() -> None:
            nonlocal remote
            have = part.stat().st_size if remote and remote.validator and part.exists() else 0
            headers = {}
            if have and remote and remote.validator:
                headers = {"Range": f"bytes={have}-", "If-Range": remote.validator}
            with self._open(url, headers) as response:
                if response.status != 206 or not have:
                    have = 0
                    remote = _remote(response)
                with part.open("ab" if have else "wb") as file:
                    _copy(response, file.write, on_bytes)
                    size = file.tell()
            if remote and remote.size is not None and size != remote.size:
                raise http.client.IncompleteRead(b"", remote.size - size)

        try:
            self._retried(url, once)
            part.replace(path)
        except OSError as exn:
            raise ConfigurationError(f"{path} cannot be written: {exn.strerror or exn}") from exn
        finally:
            part.unlink(missing_ok=True)

    def _open(self, url: str, headers: Mapping[str, str]) -> Any:
        request = urllib.request.Request(
            url, headers={"User-Agent": f"miniwdl-cloud/{__version__}", **headers}
        )
        return self._opener.open(request, timeout=TIMEOUT_S)

    def _retried(self, url: str, once: Callable[[], T]) -> T:
        wait = FIRST_WAIT_S
        last = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(wait)
                wait *= 2
            try:
                return once()
            except urllib.error.HTTPError as exn:
                exn.close()
                last = f"status {exn.code}"
                if exn.code not in _TRANSIENT:
                    raise _refusal(url, exn.code) from exn
            except urllib.error.URLError as exn:
                last = str(exn.reason)
                if isinstance(exn.reason, ssl.SSLCertVerificationError):
                    raise ConfigurationError(
                        f"The certificate of {urlsplit(url).hostname} is not trusted"
                        f" ({exn.reason.verify_message}); name a file with the right authority's"
                        " in SSL_CERT_FILE."
                    ) from exn
            except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as exn:
                last = str(exn) or type(exn).__name__
        raise Unreachable(f"{url} could not be fetched in {ATTEMPTS} attempts: {last}")


def _copy(
    response: Any, write: Callable[[bytes], Any], on_bytes: Callable[[int], None] | None
) -> None:
    while True:
        chunk = response.read1(_CHUNK)
        if not chunk:
            return
        write(chunk)
        if on_bytes:
            on_bytes(len(chunk))


def _remote(response: Any) -> Remote:
    length = response.headers.get("Content-Length")
    etag = response.headers.get("ETag")
    if etag and etag.startswith("W/"):
        etag = None
    return Remote(
        int(length) if length and length.isdigit() else None,
        etag or response.headers.get("Last-Modified"),
    )


def _refusal(url: str, status: int) -> NotFound | AccessDenied | ServiceError:
    info = {"httpStatus": status}
    if status in (404, 410):
        return NotFound(f"There is no {url} (status {status}); correct its name.", info)
    if status in (401, 403, 407):
        return AccessDenied(f"The server does not give out {url} (status {status}).", info)
    return ServiceError(f"The server refuses {url} with status {status}.", info)
