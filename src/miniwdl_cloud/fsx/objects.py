"""Which objects are there, and whether one is what a file is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

from ..aws.s3 import S3, ObjectInfo, S3Uri
from ..errors import AccessDenied
from .files import SharedFile

LIST_FROM = 20
"""Objects from which on a listing is cheaper than a request for each."""
HEADS_AT_ONCE = 16
_BLOCK = 1 << 20


def existing(s3: S3, uris: Sequence[S3Uri]) -> dict[S3Uri, ObjectInfo]:
    """Those of some objects that exist."""
    found: dict[S3Uri, ObjectInfo] = {}
    buckets: dict[str, set[S3Uri]] = {}
    for uri in uris:
        buckets.setdefault(uri.bucket, set()).add(uri)
    for bucket, wanted in buckets.items():
        left = wanted
        if len(wanted) >= LIST_FROM:
            left = _list(s3, bucket, wanted, found)
        _look(s3, sorted(left, key=str), found)
    return found


def _list(s3: S3, bucket: str, wanted: set[S3Uri], found: dict[S3Uri, ObjectInfo]) -> set[S3Uri]:
    """Find by listing; returns what it did not get to."""
    keys = sorted(uri.key for uri in wanted)
    same = (one == other for one, other in zip(keys[0], keys[-1], strict=False))
    prefix = keys[0][: sum(1 for _ in takewhile(bool, same))]
    most = 4 * len(wanted) + 1000
    try:
        for number, item in enumerate(s3.list_objects(S3Uri(bucket, prefix))):
            if item.uri in wanted:
                found[item.uri] = item
            if number >= most:  # a folder with far more in it than is wanted
                return wanted - set(found)
    except AccessDenied:  # without s3:ListBucket
        return wanted - set(found)
    return set()


def _look(s3: S3, uris: list[S3Uri], found: dict[S3Uri, ObjectInfo]) -> None:
    if not uris:
        return
    pool = ThreadPoolExecutor(min(HEADS_AT_ONCE, len(uris)), thread_name_prefix="fsx-look")
    try:
        for uri, info in zip(uris, pool.map(lambda uri: _head(s3, uri), uris), strict=True):
            if info is not None:
                found[uri] = info
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _head(s3: S3, uri: S3Uri) -> ObjectInfo | None:
    try:
        return s3.head(uri)
    except AccessDenied as exn:
        # S3's answer for an object that is not there, to who may not list the bucket.
        if exn.more_info.get("httpStatus") != 403:
            raise
        return None


def is_same(file: SharedFile, info: ObjectInfo | None) -> bool:
    """Whether an object holds what a file holds: it has its size, and was written after the file
    was changed; or has its MD5, where the entity tag is one."""
    if info is None or info.size != file.size:
        return False
    if info.modified > file.changed:
        return True
    # In parts, or encrypted with a key of KMS, it is no MD5 of the content; then they differ here,
    # which costs a transfer at the most.
    return "-" not in info.etag and info.etag == _md5(file)


def _md5(file: SharedFile) -> str | None:
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with file.path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def too_long(uris: Iterable[S3Uri], most: int = 1024) -> set[S3Uri]:
    """Objects whose keys are longer than S3 takes, in bytes (user guide, "Object key names")."""
    return {uri for uri in uris if len(uri.key.encode("utf-8", "surrogateescape")) > most}
