"""Plain PutObject calls, past moto's HTTP layer to moto's own S3 state.

moto spends most of the time of a PutObject on Flask, URLs and headers: for thousands of small
objects that would be what a benchmark measures. `PlainPuts` takes the calls in which nothing is
special, and makes of them what ``moto.s3.responses`` would (`S3Response.key_response` and below),
with moto's own functions. All others are left to moto. It leans on moto's internals, so moto's
version is pinned; a test compares both for each kind of call.
"""

from __future__ import annotations

import math
import random
import re
import string
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from moto import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.request import PRESERVED_HEADER_NAMES_ENVIRON_KEY
from moto.core.responses import BaseResponse
from moto.iam.access_control import PermissionResult
from moto.iam.models import iam_backends, mark_account_as_visited
from moto.moto_api import recorder
from moto.s3.models import s3_backends
from moto.s3.utils import metadata_from_headers
from moto.s3bucket_path.utils import parse_key_name
from moto.utilities.utils import get_partition

from .calls import caller

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# For which moto takes the bucket from the path.
_PATH_STYLE = re.compile(r"(localhost|127\.0\.0\.1)(:\d+)?")
_ID_CHARACTERS = string.ascii_letters + string.digits
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_ALGORITHM = "HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"
_DIGEST = "HTTP_X_AMZ_CONTENT_SHA256"
# Whatever else is asked for is left to moto.
_PLAIN = frozenset(
    {
        "HTTP_ACCEPT",
        "HTTP_ACCEPT_ENCODING",
        "HTTP_AMZ_SDK_INVOCATION_ID",
        "HTTP_AMZ_SDK_REQUEST",
        "HTTP_AUTHORIZATION",
        "HTTP_CONNECTION",
        "HTTP_EXPECT",
        "HTTP_HOST",
        "HTTP_USER_AGENT",
        "HTTP_X_AMZ_CHECKSUM_CRC32",
        "HTTP_X_AMZ_CHECKSUM_CRC64NVME",
        "HTTP_X_AMZ_DATE",
        "HTTP_X_AMZ_SECURITY_TOKEN",
        _DIGEST,
        _ALGORITHM,
    }
)


class PlainPuts:
    """A WSGI application that answers plain PutObject calls itself.

    Parameters
    ----------
    moto
        Answers all others.
    """

    def __init__(self, moto: WsgiApp) -> None:
        self._moto = moto

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request."""
        headers = put_object(environ)
        if headers is None:
            return self._moto(environ, start_response)
        start_response("200 OK", headers)
        return [b""]


def put_object(environ: dict[str, Any]) -> list[tuple[str, str]] | None:
    """Put an object as moto would.

    Parameters
    ----------
    environ
        The request; its body can be read again.

    Returns
    -------
    list[tuple[str, str]] | None
        The headers of the answer, which has status 200 and no body; ``None`` if the call is left to
        moto, with nothing changed.
    """
    path: str = environ["RAW_URI"].partition("?")[0]
    # moto takes leading slashes off before the bucket's name, but not before the key.
    called = caller(environ)
    if (
        called is None
        or called[0] != "s3"
        or not _is_plain(environ)
        or not path.startswith("/")
        or path.startswith("//")
    ):
        return None
    region = called[1]
    bucket_name = path.split("/")[1]
    key = parse_key_name(unquote(path))
    access_key = BaseResponse.access_key_regex.search(environ["HTTP_AUTHORIZATION"])
    caller_key = access_key.group(1) if access_key else "AKIAEXAMPLE"
    account = _account_of(caller_key)
    backend = s3_backends[account][get_partition(region)]
    bucket = backend.buckets.get(bucket_name)
    if not key or bucket is None or bucket.logging or bucket.object_lock_enabled:
        return None
    resource = f"arn:{bucket.partition}:s3:::{bucket_name}/{key}"
    if bucket.get_permission("s3:PutObject", resource) == PermissionResult.DENIED:
        return None
    headers = {}
    algorithm = environ.get(_ALGORITHM, "")
    value = None
    if algorithm:
        name = f"x-amz-checksum-{algorithm.lower()}"
        value = environ.get("HTTP_" + name.upper().replace("-", "_"))
        if not value:
            return None
        headers[name] = value
    mark_account_as_visited(account, caller_key, "s3", region)
    stored = backend.put_object(
        bucket_name,
        key,
        environ["wsgi.input"].getvalue(),
        storage="STANDARD",
        checksum_value=value,
    )
    given = {"Content-Type": environ.get("CONTENT_TYPE"), "X-Amz-Content-Sha256": environ[_DIGEST]}
    stored.set_metadata(metadata_from_headers({n: v for n, v in given.items() if v}))
    stored.set_acl(bucket.acl)
    if algorithm:
        stored.checksum_algorithm = algorithm
    backend.put_object_tagging(stored, {})
    headers.update(stored.response_dict)
    # That of the object; the answer has no content.
    headers.pop("content-length")
    headers["x-amzn-requestid"] = "".join(random.choices(_ID_CHARACTERS, k=52))
    return list(headers.items())


def _account_of(access_key: str) -> str:
    """As moto's `get_account_id_from`, which makes an IAM of each partition for each account, and
    takes a lock for each."""
    for account_id, account in list(iam_backends.items()):
        if any(access_key in backend.access_keys for backend in list(account.values())):
            return str(account_id)
    return str(DEFAULT_ACCOUNT_ID)


def _is_plain(environ: dict[str, Any]) -> bool:
    return (
        environ["REQUEST_METHOD"] == "PUT"
        and environ["QUERY_STRING"] in ("", "x-id=PutObject")
        and all(name in _PLAIN for name in environ if name.startswith("HTTP_"))
        and "HTTP_AUTHORIZATION" in environ
        and not environ.get(PRESERVED_HEADER_NAMES_ENVIRON_KEY)
        and _PATH_STYLE.fullmatch(environ.get("HTTP_HOST", "")) is not None
        and not environ.get("CONTENT_TYPE", "").startswith(_FORMS)
        # A body in signed chunks.
        and not environ.get(_DIGEST, "STREAMING-").startswith("STREAMING-")
        # moto can be told to check permissions, and to record requests.
        and math.isinf(settings.INITIAL_NO_AUTH_ACTION_COUNT)
        and not recorder._user_enabled
    )
