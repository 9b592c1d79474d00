"""miniwdl's download plugins for ``s3://`` and ``https://`` inputs.

What is small is fetched by this process itself, which takes seconds less than a job. What is larger
gets a task job that runs `miniwdl-cloud fetch` in the image of the workflow job, with a worker's
network and retries by miniwdl. Where another engine runs the tasks, miniwdl's own downloaders do.
"""

from __future__ import annotations

import functools
import json
import logging
import threading
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import WDL

from .. import settings
from ..aws.s3 import S3, S3Options
from ..aws.session import AwsSession
from ..errors import Unreachable
from ..miniwdl_compat import log_message as _
from ..miniwdl_compat import run_dir_of, termination_flag
from ..patience import patiently
from ..settings import Settings
from .fetch import Found, look
from .http import Http

Steps = Generator[dict[str, Any], dict[str, Any], None]
Downloader = Callable[..., Steps]

IN_PROCESS_AT_ONCE = 8
"""Downloads by this process at a time, whatever the number of miniwdl's threads."""

_MB = 1_000_000
_T = TypeVar("_T")
_TASK = r"""
task fetch {
    input {
        env String uri
        env String options
        env String s3_endpoint
        String name
        String kind
        String docker
    }
    command <<<
        set -euo pipefail
        if [ -n "$s3_endpoint" ]; then export AWS_ENDPOINT_URL_S3="$s3_endpoint"; fi
        mkdir __out
        miniwdl-cloud fetch $options "$uri" __out
    >>>
    output {
        File? file = if kind == "file" then "__out/" + name else None
        Directory? directory = if kind == "directory" then "__out/" + name else None
    }
    runtime {
        docker: docker
    }
}
"""


def s3_file(
    cfg: WDL.runtime.config.Loader, logger: logging.Logger, uri: str, **kwargs: Any
) -> Steps:
    """Download an S3 object; see miniwdl's WDL/runtime/download.py for the contract."""
    from WDL.runtime.download import awscli_downloader

    yield from _download(cfg, logger, uri, False, awscli_downloader, kwargs)


def s3_directory(
    cfg: WDL.runtime.config.Loader, logger: logging.Logger, uri: str, **kwargs: Any
) -> Steps:
    """Download all S3 objects below a prefix as a Directory."""
    from WDL.runtime.download import awscli_directory_downloader

    yield from _download(cfg, logger, uri, True, awscli_directory_downloader, kwargs)


def http_file(
    cfg: WDL.runtime.config.Loader, logger: logging.Logger, uri: str, **kwargs: Any
) -> Steps:
    """Download a file by HTTP or HTTPS."""
    from WDL.runtime.download import aria2c_downloader

    yield from _download(cfg, logger, uri, False, aria2c_downloader, kwargs)


def _download(
    cfg: WDL.runtime.config.Loader,
    logger: logging.Logger,
    uri: str,
    directory: bool,
    of_miniwdl: Downloader,
    kwargs: dict[str, Any],
) -> Steps:
    found = _settings(cfg)
    if not str(found.get(settings.CONTAINER_BACKEND)).startswith("aws_"):
        yield from of_miniwdl(cfg, logger, uri, **kwargs)
        return
    region, s3_options = found.get(settings.REGION), S3Options.of(found)
    shared = _shared_of(found)
    with termination_flag(logger) as terminating:
        # A look at a page of a server is a download in small.
        with shared.slots:
            source = patiently_for(uri, logger, terminating)(
                lambda: look(uri, directory, shared.s3, Http)
            )
        limit = found.get(settings.DOWNLOAD_IN_PROCESS_MAX) * _MB
        image = found.get(settings.WORKFLOW_IMAGE)
        # By hand on a host no image may be known; then there is nothing to run a job with.
        if source.size is None or source.size <= limit or not image:
            with shared.slots:
                path = _fetch_here(cfg, logger, uri, source, terminating)
            recv = yield {"outputs": {"directory" if directory else "file": str(path)}}
        else:
            options = ["--directory"] if directory else []
            options += ["--region", region] if region else []
            options += ["--requester-pays"] if s3_options.requester_pays else []
            recv = yield {
                "task_wdl": _TASK,
                "inputs": {
                    "uri": uri,
                    "options": " ".join(options),
                    # A task job does not have this process's environment.
                    "s3_endpoint": settings.environment().get(settings.S3_ENDPOINT, ""),
                    "name": source.name,
                    "kind": "directory" if directory else "file",
                    "docker": image,
                },
            }
    yield recv


def _fetch_here(
    cfg: WDL.runtime.config.Loader,
    logger: logging.Logger,
    uri: str,
    source: Found,
    terminating: Callable[[], bool],
) -> Path:
    run_dir = run_dir_of(logger) or Path(cfg.get("file_io", "root")) / "miniwdl_run"
    into = run_dir / "download" / f"in-process-{uuid.uuid4().hex[:12]}"
    into.mkdir(parents=True)

    def on_bytes(count: int) -> None:
        if terminating():
            raise Unreachable(f"The download of {uri} ends because the run does.")

    logger.info(_("downloading in this process", uri=uri, bytes=source.size, dir=str(into)))
    return patiently_for(uri, logger, terminating)(lambda: source.fetch(into, on_bytes))


def patiently_for(
    uri: str, logger: logging.Logger, terminating: Callable[[], bool]
) -> Callable[[Callable[[], _T]], _T]:
    """Runs a step, again if AWS does not answer; other servers are waited for by `Http` alone."""
    if not uri.startswith("s3://"):
        return lambda step: step()
    return lambda step: patiently(
        step,
        terminating,
        lambda exn: logger.warning(_("waiting for AWS to answer", message=exn.message)),
    )


def shared_s3(cfg: WDL.runtime.config.Loader) -> S3:
    """The S3 of this process's downloads."""
    return _shared_of(_settings(cfg)).s3()


def _settings(cfg: WDL.runtime.config.Loader) -> Settings:
    return Settings(
        lambda section, key: cfg.get(section, key) if cfg.has_option(section, key) else None
    )


class _Shared:
    def __init__(self, region: str | None, retries: str, options: S3Options) -> None:
        self._region, self._retries, self._options = region, retries, options
        self._lock = threading.Lock()
        self._s3: S3 | None = None
        self.slots = threading.BoundedSemaphore(IN_PROCESS_AT_ONCE)

    def s3(self) -> S3:
        with self._lock:
            if self._s3 is None:
                session = AwsSession(self._region, json.loads(self._retries))
                self._s3 = S3(session, self._options)
            return self._s3


def _shared_of(found: Settings) -> _Shared:
    retries = json.dumps(found.get(settings.BOTO3_RETRIES), sort_keys=True)
    return _shared(found.get(settings.REGION), retries, S3Options.of(found))


@functools.cache
def _shared(region: str | None, retries: str, options: S3Options) -> _Shared:
    """What the downloads of one process share, keyed by the settings that it is made of."""
    return _Shared(region, retries, options)
