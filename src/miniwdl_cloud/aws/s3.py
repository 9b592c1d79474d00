"""Amazon S3: addresses of objects, and the calls that we make."""

from __future__ import annotations

import mimetypes
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import s3transfer.exceptions
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from s3transfer.subscribers import BaseSubscriber

from ..errors import (
    AccessDenied,
    ConfigurationError,
    CredentialsExpired,
    MiniwdlCloudError,
    NotFound,
    ServiceError,
    Unreachable,
    UsageError,
)
from ..settings import S3_KMS_KEY, S3_REQUESTER_PAYS, Settings
from .error_mapping import map_errors
from .s3_put import DirectPut
from .session import AwsSession

T = TypeVar("T")

MULTIPART_BYTES = 16 * 1024 * 1024
"""Larger files travel in parts of this size; s3transfer enlarges the parts where more than the
10,000 that S3 allows would be needed."""
IN_MEMORY_BYTES = 1024 * 1024
"""Files up to this size are read into memory to be uploaded."""
PARTS_AT_ONCE = 4
"""Parts of one file under way at a time; with 8 large files at a time (transfer/pool.py) that is as
many connections as a client of `AwsSession` keeps open."""
PROBE_NAME = ".test.miniwdl-run-s3upload"
"""The object that proves that a folder may be written to; existing scripts know its name."""

# Of today's buckets, and of those made in us-east-1 before 2018 (S3 user guide, "General purpose
# bucket naming rules").
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


@dataclass(frozen=True)
class S3Uri:
    """The address of an object or, where the key is empty or ends in ``/``, of a folder.

    Parameters
    ----------
    bucket
        Bucket name.
    key
        Object key, as it is: the ``s3://`` form knows no percent-encoding.
    """

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> S3Uri:
        """The object of this name in this folder (a trailing ``/`` is added where it lacks)."""
        return S3Uri(self.bucket, self.folder().key + name)

    def folder(self) -> S3Uri:
        """The same with a trailing ``/``, unless it is the whole bucket."""
        if self.key == "" or self.key.endswith("/"):
            return self
        return S3Uri(self.bucket, self.key + "/")

    @property
    def name(self) -> str:
        """What follows the last ``/`` that is not at the end."""
        return self.key.rstrip("/").rpartition("/")[2]


def parse_s3_uri(text: str) -> S3Uri:
    """Take an ``s3://bucket/key`` text apart.

    Raises
    ------
    UsageError
        The text is something else.
    """
    scheme, separator, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not separator or not _BUCKET_NAME.fullmatch(bucket):
        raise UsageError(f"'{text}' is not an S3 location; write it as s3://bucket/folder.")
    return S3Uri(bucket, key)


@dataclass(frozen=True)
class ObjectInfo:
    """An object that exists.

    Parameters
    ----------
    uri
        Where it is.
    size
        In bytes.
    etag
        Its entity tag, without quotes; changes with the content.
    modified
        When it was written, in seconds since the epoch by S3's clock, whole seconds.
    """

    uri: S3Uri
    size: int
    etag: str
    modified: float = 0.0


@dataclass(frozen=True)
class S3Options:
    """What is the same for all our requests to S3.

    Parameters
    ----------
    requester_pays
        Whether we pay for requests to requester-pays buckets, which refuse them otherwise; other
        buckets ignore it (S3 user guide, "Downloading objects from Requester Pays buckets").
    kms_key
        Id, ARN or alias of the KMS key for uploads; ``None`` leaves it to the bucket.
    """

    requester_pays: bool = False
    kms_key: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> S3Options:
        """Those of the settings."""
        return cls(settings.get(S3_REQUESTER_PAYS), settings.get(S3_KMS_KEY))


class S3:
    """S3 through one session. All methods may be called from any thread.

    Reading falls back to unsigned requests where there are no credentials or they may not read
    the object, because it may be a public one. A bucket may be in any Region: botocore follows
    S3's answer to where it is, once a bucket. Every method raises the errors of
    `miniwdl_cloud.errors` that `aws.error_mapping` makes of botocore's.
    """

    def __init__(self, session: AwsSession, options: S3Options | None = None) -> None:
        options = options or S3Options()
        self._session = session
        self._kms_key = options.kms_key
        # Members of the requests. Nobody can be billed for an unsigned one.
        self._payer = {"RequestPayer": "requester"} if options.requester_pays else {}
        self._upload = dict(self._payer)
        if options.kms_key:
            self._upload |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": options.kms_key}
        self._client = session.client("s3")
        self._direct = DirectPut(self._client)
        self._unsigned: Any = None
        self._lock = threading.Lock()
        # "auto" would let boto3 switch to its CRT client, which takes no per-client configuration.
        self._transfer = TransferConfig(
            multipart_threshold=MULTIPART_BYTES,
            multipart_chunksize=MULTIPART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
            preferred_transfer_client="classic",
        )

    def head(self, uri: S3Uri) -> ObjectInfo | None:
        """Size and entity tag of an object; ``None`` if it does not exist.

        S3 answers "not allowed" for a missing object to who may not list the bucket.
        """

        def call(client: Any, more: dict[str, str]) -> ObjectInfo:
            found = client.head_object(Bucket=uri.bucket, Key=uri.key, **more)
            return ObjectInfo(
                uri,
                int(found["ContentLength"]),
                found["ETag"].strip('"'),
                found["LastModified"].timestamp(),
            )

        try:
            return self._read(f"looking at {uri}", call)
        except NotFound:
            return None

    def bucket_exists(self, bucket: str) -> bool:
        """Whether there is a bucket of this name, readable with these credentials or not."""
        try:
            with map_errors(f"looking up the bucket '{bucket}'"):
                self._client.head_bucket(Bucket=bucket)
        except NotFound:
            return False
        except AccessDenied as exn:
            # Only of an existing bucket does S3 answer 403; without credentials nothing was asked.
            if exn.more_info.get("httpStatus") != 403:
                raise
        return True

    def list_objects(self, prefix: S3Uri) -> Iterator[ObjectInfo]:
        """All objects whose key begins with the prefix's key."""

        place: dict[str, str] = {}

        def page(client: Any, more: dict[str, str]) -> dict[str, Any]:
            found = client.list_objects_v2(Bucket=prefix.bucket, Prefix=prefix.key, **place, **more)
            return dict(found)

        while True:
            answer = self._read(f"listing {prefix}", page)
            for item in answer.get("Contents", ()):
                yield ObjectInfo(
                    S3Uri(prefix.bucket, item["Key"]),
                    int(item["Size"]),
                    item["ETag"].strip('"'),
                    item["LastModified"].timestamp(),
                )
            if not answer.get("NextContinuationToken"):
                return
            place = {"ContinuationToken": answer["NextContinuationToken"]}

    def get_bytes(self, uri: S3Uri) -> bytes:
        """The content of a small object."""

        def call(client: Any, more: dict[str, str]) -> bytes:
            found = client.get_object(Bucket=uri.bucket, Key=uri.key, **more)
            return bytes(found["Body"].read())

        return self._read(f"downloading {uri}", call)

    def put_bytes(self, uri: S3Uri, data: bytes, content_type: str | None = None) -> None:
        """Write a small object."""
        more = dict(self._upload)
        if content_type:
            more["ContentType"] = content_type
        with map_errors(f"uploading {uri}"):
            self._client.put_object(Bucket=uri.bucket, Key=uri.key, Body=data, **more)

    def upload_file(
        self, path: Path, uri: S3Uri, on_bytes: Callable[[int], None] | None = None
    ) -> None:
        """Upload a file, in parallel parts if it is large.

        Parameters
        ----------
        on_bytes
            Called, from any thread, with the number of bytes sent since the last call; what it
            raises ends the upload.
        """
        content_type, encoding = mimetypes.guess_type(path.name)
        # x.vcf.gz is a gzip file, not a text that a browser should unpack in passing.
        extra = dict(self._upload)
        if content_type and not encoding:
            extra["ContentType"] = content_type
        with _errors(f"uploading {path} to {uri}"):
            size = path.stat().st_size
            if size < MULTIPART_BYTES:
                # One request: s3transfer would start threads for each file.
                with path.open("rb") as file:
                    if size <= IN_MEMORY_BYTES:
                        self._direct.put(uri.bucket, uri.key, file.read(), extra)
                    else:
                        self._client.put_object(Bucket=uri.bucket, Key=uri.key, Body=file, **extra)
                    size = file.tell()
                if on_bytes:
                    on_bytes(size)
                return
            # Not client.upload_file, whose exception does not tell which error S3 answered.
            with create_transfer_manager(self._client, self._transfer) as manager:
                manager.upload(
                    str(path), uri.bucket, uri.key, extra, _subscribers(on_bytes)
                ).result()

    def download_file(
        self, uri: S3Uri, path: Path, on_bytes: Callable[[int], None] | None = None
    ) -> None:
        """Download an object to a file, which appears under its name when it is complete.

        Parameters
        ----------
        on_bytes
            Called, from any thread, with the number of bytes received since the last call; what
            it raises ends the download.
        """
        path.parent.mkdir(parents=True, exist_ok=True)

        # s3transfer writes to a temporary name beside the file, and renames it last.
        def call(client: Any, more: dict[str, str]) -> None:
            with create_transfer_manager(client, self._transfer) as manager:
                manager.download(
                    uri.bucket, uri.key, str(path), dict(more), _subscribers(on_bytes)
                ).result()

        self._read(f"downloading {uri}", call)

    def probe_writable(self, folder: S3Uri) -> None:
        """Prove that objects may be written below a folder, by writing a small one.

        Raises
        ------
        NotFound
            The bucket does not exist.
        AccessDenied
            The credentials do not allow it, or there are none.
        ConfigurationError
            The KMS key cannot be used.
        """
        note = b"miniwdl-run-s3upload wrote this object to find out whether it may.\n"
        try:
            self.put_bytes(folder / PROBE_NAME, note)
        except NotFound as exn:
            raise NotFound(
                f"The bucket '{folder.bucket}' of the upload folder {folder} does not exist;"
                " name one that does.",
                exn.more_info,
            ) from exn
        except AccessDenied as exn:
            if "httpStatus" not in exn.more_info:
                raise
            key = f" and kms:GenerateDataKey on the key {self._kms_key}" if self._kms_key else ""
            raise AccessDenied(
                f"These credentials may not write to {folder.folder()}; allow them s3:PutObject on"
                f" the bucket '{folder.bucket}'{key}, or name another upload folder.",
                exn.more_info,
            ) from exn
        except ServiceError as exn:
            # KMS.NotFoundException, KMS.DisabledException and others (S3 API, "Error responses").
            if not str(exn.more_info.get("code", "")).startswith("KMS."):
                raise
            raise ConfigurationError(
                f"Objects in {folder.folder()} cannot be encrypted with the KMS key"
                f" {self._kms_key or 'of the bucket'} ({exn.more_info['code']}); correct"
                f" {S3_KMS_KEY.env} or the bucket's configuration.",
                exn.more_info,
            ) from exn

    def _read(self, doing: str, call: Callable[[Any, dict[str, str]], T]) -> T:
        try:
            with _errors(doing):
                return call(self._client, self._payer)
        except (AccessDenied, CredentialsExpired) as denied:
            try:
                with _errors(doing):
                    return call(self._unsigned_client(), {})
            except MiniwdlCloudError:
                # The object is not public, so that the first answer is the one that matters.
                raise denied from None

    def _unsigned_client(self) -> Any:
        with self._lock:
            if self._unsigned is None:
                self._unsigned = self._session.unsigned_client("s3")
            return self._unsigned


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    """`map_errors`, and s3transfer's and the local disk's errors too."""
    try:
        with map_errors(doing):
            yield
    except s3transfer.exceptions.RetriesExceededError as exn:
        raise Unreachable(
            f"AWS broke the connection several times while {doing}: {exn.last_exception}"
        ) from exn
    except OSError as exn:
        # botocore wraps the network's, so this one is the local file's.
        raise ConfigurationError(
            f"The local file failed while {doing}: {exn.strerror or exn}"
        ) from exn


def _subscribers(on_bytes: Callable[[int], None] | None) -> list[BaseSubscriber]:
    return [_BytesSubscriber(on_bytes)] if on_bytes else []


class _BytesSubscriber(BaseSubscriber):
    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        self._on_bytes = on_bytes

    def on_progress(self, future: Any, bytes_transferred: int, **kwargs: Any) -> None:
        self._on_bytes(bytes_transferred)
