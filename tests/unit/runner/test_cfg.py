"""The default policy, as miniwdl reads it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from WDL.runtime.cache import CallCache
from WDL.runtime.config import Loader

from miniwdl_cloud.runner.run import DEFAULT_CFG


@pytest.fixture
def cfg(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MINIWDL__FILE_IO__ROOT", "/mnt/efs")
    for name in ("MINIWDL__SCHEDULER__CONTAINER_BACKEND", "MINIWDL__CALL_CACHE__GET"):
        monkeypatch.delenv(name, raising=False)
    return Loader(logging.getLogger("test"), [str(DEFAULT_CFG)])


def test_policy(cfg: Any) -> None:
    """Our engine, caches on the shared filesystem, interruptions and downloads tried again."""
    assert cfg.get("scheduler", "container_backend") == "aws_batch_job"
    assert cfg.get_int("scheduler", "task_concurrency") == 2500
    assert cfg.get_dict("task_runtime", "defaults") == {"docker": "ubuntu:20.04", "preemptible": 2}
    assert cfg.get_dict("task_runtime", "download_defaults")["maxRetries"] == 3
    for cache in ("call_cache", "download_cache"):
        assert cfg.get_bool(cache, "put") and cfg.get_bool(cache, "get")
    assert cfg.get("call_cache", "dir") == "miniwdl_run/_CACHE/call"


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("s3://b/inputs/sha256/ab/abcd/x.bam", True),
        ("s3://b/any/prefix/inputs/sha256/ab/abcd/x.bam", True),
        ("s3://b/x.bam", False),
        ("https://example.com/x.bam", False),
    ],
)
def test_only_unchanging_downloads_are_kept(cfg: Any, uri: str, kept: bool) -> None:
    """Only what a hash in its name keeps from changing is served from the download cache."""
    cache = CallCache.__new__(CallCache)
    cache._cfg, cache._download_cache_dir = cfg, "/mnt/efs/miniwdl_run/_CACHE/download"
    assert (cache.download_path(uri) is not None) == kept


def test_every_option_is_known(cfg: Any, caplog: pytest.LogCaptureFixture) -> None:
    """miniwdl knows every option in the file."""
    with caplog.at_level(logging.WARNING):
        cfg.log_unused_options()
    assert "unused configuration" not in caplog.text
