"""A cache of miniwdl's that notices when an ``s3://`` input was overwritten under its name.

miniwdl knows an input from a URI by the URI alone, so that its caches give what they have for it
whatever the object has become. `EtagCache` looks at each ``s3://`` input once a run, and what it
finds (the entity tag; of a Directory those of all objects below the prefix) becomes part of the
call cache's key and of the path in the download cache. It is miniwdl's plugin ``s3_etag`` of the
group ``miniwdl.plugin.cache_backend``, chosen by ``[call_cache] backend``.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import logging
import re
import threading
from pathlib import Path
from typing import Any

from WDL import Value
from WDL.runtime.cache import CallCache, CallCacheAddPaths

from ..aws.s3 import S3, parse_s3_uri
from ..errors import ConfigurationError, NotFound
from ..miniwdl_compat import log_message as _
from ..miniwdl_compat import termination_flag
from .downloads import patiently_for, shared_s3

_Key = tuple[str, bool]

BACKEND = "s3_etag"
"""Name of this plugin in ``[call_cache] backend``."""


class Versions:
    """What identifies the content of S3 inputs, looked at once.

    Its methods raise `MiniwdlCloudError` where an object cannot be looked at.

    Parameters
    ----------
    cfg
        miniwdl's configuration.
    """

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg
        self._versions: dict[_Key, str] = {}
        self._checked: set[_Key] = set()
        self._lock = threading.Lock()

    def amend(self, key: str, inputs: Any, logger: logging.Logger) -> str:
        """A call's key with the versions of its S3 inputs; as it is where there are none."""
        found: set[_Key] = set()

        def visit(value: Value.File | Value.Directory) -> str:
            if value.value.startswith("s3://"):
                found.add(_key(value.value, isinstance(value, Value.Directory)))
            return str(value.value)

        Value.rewrite_env_paths(inputs, visit)
        if not found:
            return key
        versions = [[*item, self.version(*item, logger)] for item in sorted(found)]
        digest = hashlib.sha256(json.dumps(versions).encode()).digest()
        return f"{key}-{base64.b32encode(digest[:20]).decode().lower()}"

    def version(self, uri: str, directory: bool, logger: logging.Logger) -> str:
        """What identifies the content now; the same for the whole run."""
        key = _key(uri, directory)
        with self._lock:
            known = self._versions.get(key)
        if known is not None:
            return known
        found = self._look(uri, directory, logger)
        with self._lock:
            known = self._versions.setdefault(key, found)
        logger.info(_("S3 input", uri=uri, etag=known))
        return known

    def check(self, uri: str, directory: bool, logger: logging.Logger) -> None:
        """Look again, once.

        Raises
        ------
        ConfigurationError
            The object was overwritten in the meantime.
        """
        key = _key(uri, directory)
        with self._lock:
            before = self._versions.get(key)
            if before is None or key in self._checked:
                return
        if self._look(uri, directory, logger) != before:
            raise ConfigurationError(
                f"{uri} was overwritten while the run used it; run the workflow again.",
                {"uri": uri},
            )
        with self._lock:
            self._checked.add(key)

    def _look(self, uri: str, directory: bool, logger: logging.Logger) -> str:
        s3 = shared_s3(self._cfg)
        with termination_flag(logger) as terminating:
            step = patiently_for(uri, logger, terminating)
            return step(lambda: _directory_tag(s3, uri) if directory else _file_tag(s3, uri))


@functools.lru_cache(maxsize=4)
def versions_of(cfg: Any) -> Versions:
    """The versions that one run has seen, of which miniwdl hands one configuration object to all
    plugins."""
    return Versions(cfg)


def versioned_key(cfg: Any, logger: logging.Logger, key: str, inputs: Any) -> str:
    """A call's key as the chosen cache backend knows it: with the versions of S3 inputs or not."""
    if cfg["call_cache"]["backend"] != BACKEND:
        return key
    return versions_of(cfg).amend(key, inputs, logger)


class EtagCache(CallCache):  # type: ignore[misc]
    """miniwdl's own cache, with entity tags of S3 objects in its keys and paths.

    Its methods raise `MiniwdlCloudError` where an object cannot be looked at, which fails the run.
    """

    def __init__(self, cfg: Any, logger: logging.Logger) -> None:
        super().__init__(cfg, logger)
        self._versions = versions_of(cfg)
        self._amended: dict[str, str] = {}

    def get(self, key: str, inputs: Any, output_types: Any) -> Any:
        """Outputs of a call in the cache, if its S3 inputs are still what they were."""
        return super().get(self._amend(key, inputs), inputs, output_types)

    def put(self, key: str, outputs: Any, *args: Any, inputs: Any, **kwargs: Any) -> None:
        """Store the outputs of a call."""
        super().put(self._amend(key, inputs), outputs, *args, inputs=inputs, **kwargs)

    def get_add_paths(self, key: str) -> CallCacheAddPaths:
        """What miniwdl knows besides of a call that was got or put."""
        return super().get_add_paths(self._amended.get(key, key))

    def download_path(self, uri: str, directory: bool = False) -> str | None:
        """Where in the download cache this version of a file or directory belongs; ``None`` if
        it is not to be cached."""
        found = super().download_path(uri, directory)
        if found is None or not uri.startswith("s3://"):
            return None if found is None else str(found)
        path = Path(found)
        version = self._versions.version(uri, directory, self._logger)
        version = re.sub(r"[^A-Za-z0-9-]", "_", version)
        # miniwdl's tools expect the depth to be the same for all entries.
        return str(path.parent.with_name(f"{path.parent.name}@{version}") / path.name)

    def put_download(self, uri: str, filename: str, directory: bool = False, **kwargs: Any) -> str:
        """Take what was downloaded into the cache, if it can only be what was looked at.

        Raises
        ------
        ConfigurationError
            The object was overwritten in the meantime.
        """
        self._versions.check(uri, directory, self._logger)
        return str(super().put_download(uri, filename, directory, **kwargs))

    def memo_download(self, uri: str, filename: str, directory: bool = False) -> None:
        """Remember what was downloaded for the rest of the run; raises as `put_download`, which
        miniwdl does not call where its caches may not be used."""
        self._versions.check(uri, directory, self._logger)
        super().memo_download(uri, filename, directory)

    def _amend(self, key: str, inputs: Any) -> str:
        if not any(self._cfg["call_cache"].get_bool(use) for use in ("get", "put")):
            return key
        amended = self._versions.amend(key, inputs, self._logger)
        self._amended[key] = amended
        return amended


def _key(uri: str, directory: bool) -> _Key:
    return (uri.rstrip("/") if directory else uri, directory)


def _file_tag(s3: S3, uri: str) -> str:
    found = s3.head(parse_s3_uri(uri))
    if found is None:
        raise NotFound(f"There is no object {uri}; correct its name.")
    return found.etag


def _directory_tag(s3: S3, uri: str) -> str:
    folder = parse_s3_uri(uri).folder()
    digest, empty = hashlib.sha256(), True
    for info in sorted(s3.list_objects(folder), key=lambda info: info.uri.key):
        digest.update(json.dumps([info.uri.key, info.etag]).encode() + b"\n")
        empty = False
    if empty:
        raise NotFound(f"There are no objects below {folder}; correct its name.")
    return digest.hexdigest()[:32]
