"""Caches that notice when an S3 input was overwritten under its name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import WDL
from batch_helper import Batch, make_client, unique, wait_until
from engine_runs import Deployment, Run
from WDL.runtime import config

from miniwdl_cloud.emulator.server import LocalCloud
from miniwdl_cloud.errors import ConfigurationError, NotFound
from miniwdl_cloud.transfer import downloads
from miniwdl_cloud.transfer.versions import EtagCache

READS = """
version 1.2
workflow w {
  input {
    File f
    Directory? d
  }
  call t { input: f = f, d = d }
  output {
    String content = t.content
    Array[String] tree = t.tree
  }
}
task t {
  input {
    File f
    Directory? d
  }
  command <<<
    cat "~{f}"
    touch tree
    if [ -n "~{d}" ]; then cat "~{d}"/* > tree; fi
  >>>
  output {
    String content = read_string(stdout())
    Array[String] tree = read_lines("tree")
  }
}
"""


@pytest.fixture
def deployment(cloud: LocalCloud, batch: Batch, tmp_path: Path) -> Deployment:
    """Queues and a directory of the shared filesystem for one test."""
    return Deployment(cloud, batch, tmp_path)


@pytest.fixture
def s3(cloud: LocalCloud) -> Any:
    return make_client(cloud, "s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = unique("versions").lower().replace("_", "-")
    s3.create_bucket(Bucket=name)
    return name


def caching(deployment: Deployment, backend: str = "s3_etag") -> dict[str, str]:
    """Both caches on, in the test's own directory."""
    use = {
        f"MINIWDL__{cache}__{key}": value
        for cache in ("CALL_CACHE", "DOWNLOAD_CACHE")
        for key, value in {
            "PUT": "true",
            "GET": "true",
            "DIR": str(deployment.root / cache.lower()),
        }.items()
    }
    return {**use, "MINIWDL__CALL_CACHE__BACKEND": backend}


def seen(run: Run) -> tuple[str, list[str], bool]:
    """What the task read, and whether the run was found in the cache."""
    cached = "done (cached)" in (run.directory / "workflow.log").read_text()
    return run.outputs["w.content"], run.outputs["w.tree"], cached


def test_an_overwritten_input_is_noticed(deployment: Deployment, s3: Any, bucket: str) -> None:
    """File and Directory: the same run is cached until an object changes; then the new content is
    used; and what was there before is found again if it comes back."""
    env = caching(deployment)

    def run(content: str, member: str) -> tuple[str, list[str], bool]:
        for key, body in (("in/f.txt", content), ("ref/x", member)):
            s3.put_object(Bucket=bucket, Key=key, Body=body.encode())
        uris = (f"f=s3://{bucket}/in/f.txt", f"d=s3://{bucket}/ref")
        return seen(deployment.run(READS, *uris, env=env))

    assert run("one", "a") == ("one", ["a"], False)
    assert run("one", "a") == ("one", ["a"], True)
    assert run("two", "a") == ("two", ["a"], False)
    assert run("two", "b") == ("two", ["b"], False)
    assert run("one", "a") == ("one", ["a"], True)
    files = sorted((deployment.root / "download_cache").glob("files/s3/*/*/f.txt"))
    assert sorted(path.read_text() for path in files) == ["one", "two"]


@pytest.mark.parametrize("overwritten", [False, True], ids=["same", "overwritten"])
def test_a_job_that_read_another_version_is_not_taken_over(
    deployment: Deployment, s3: Any, bucket: str, overwritten: bool
) -> None:
    """What a killed run has left is adopted if its S3 input is still the same, and only then."""
    gate, started = deployment.root / "gate", deployment.root / "started"
    source = """
        version 1.1
        task t {
          input { File f  String gate  String started }
          command <<<
            echo x >> ~{started}; until [ -e ~{gate} ]; do sleep 0.1; done; cat ~{f}
          >>>
          output { String content = read_string(stdout()) }
        }
        """
    s3.put_object(Bucket=bucket, Key="f.txt", Body=b"one")
    env = {**caching(deployment), "MINIWDL__AWS__ADOPT": "true"}
    arguments = (f"f=s3://{bucket}/f.txt", f"gate={gate}", f"started={started}")
    process = deployment.start(source, *arguments, env=env)
    wait_until(started.exists, "the first task to begin")
    process.kill()
    process.communicate()
    if overwritten:
        s3.put_object(Bucket=bucket, Key="f.txt", Body=b"two")
    again = deployment.start(source, *arguments, env=env)
    gate.touch()
    run = deployment.finish(again)
    assert run.outputs["t.content"] == ("two" if overwritten else "one")
    assert len(started.read_text().split()) == (2 if overwritten else 1)


@pytest.fixture
def new_cache(
    cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], EtagCache]]:
    """Makes caches of one directory, as miniwdl makes them."""
    root = tmp_path
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    overrides = {
        "aws": {"region": cloud.region},
        "file_io": {"root": str(root)},
        "call_cache": {"put": True, "get": True, "dir": str(root / "calls")},
        "download_cache": {"put": True, "get": True, "dir": str(root / "downloads")},
    }
    logger = logging.getLogger(unique("cache"))
    # Kept for the life of a process, which is longer than that of an embedded AWS here.
    downloads._shared.cache_clear()
    yield lambda: EtagCache(config.Loader(logger, overrides=overrides), logger)
    downloads._shared.cache_clear()


def test_an_object_overwritten_during_the_run(
    new_cache: Callable[[], EtagCache], s3: Any, bucket: str, tmp_path: Path
) -> None:
    """What was downloaded meanwhile may be either version, so it does not get into the cache."""
    cache = new_cache()
    uri = f"s3://{bucket}/f"
    s3.put_object(Bucket=bucket, Key="f", Body=b"one")
    assert cache.get_download(uri) is None
    s3.put_object(Bucket=bucket, Key="f", Body=b"two")
    (tmp_path / "got").write_text("two")
    with pytest.raises(ConfigurationError) as caught:
        cache.put_download(uri, str(tmp_path / "got"))
    assert caught.value.message == (
        f"{uri} was overwritten while the run used it; run the workflow again."
    )
    assert not list((tmp_path / "downloads" / "files").rglob("f"))
    with pytest.raises(ConfigurationError):
        cache.memo_download(uri, str(tmp_path / "got"))
    with new_cache() as again:
        kept = again.put_download(uri, str(tmp_path / "got"))
        assert Path(kept).read_text() == "two"
        assert again.get_download(uri) == kept


def test_what_is_not_there_is_named(new_cache: Callable[[], EtagCache], bucket: str) -> None:
    """An input that is gone is no reason to use what the cache has for it."""
    cache = new_cache()
    for value, text in (
        (WDL.Value.File(f"s3://{bucket}/gone"), f"There is no object s3://{bucket}/gone"),
        (WDL.Value.Directory(f"s3://{bucket}/d/"), f"There are no objects below s3://{bucket}/d/"),
    ):
        inputs = WDL.Env.Bindings().bind("x", WDL.Value.Array(WDL.Type.Any(), [value]))
        with pytest.raises(NotFound) as caught:
            cache.get("name/digest/inputs", inputs, WDL.Env.Bindings())
        assert caught.value.message == f"{text}; correct its name."


def test_other_inputs_keep_their_keys(new_cache: Callable[[], EtagCache], tmp_path: Path) -> None:
    """Calls without S3 inputs share their entries with miniwdl's own cache."""
    cache = new_cache()
    inputs = WDL.Env.Bindings().bind("x", WDL.Value.File("https://example.org/x"))
    add = cache.get_add_paths("name/digest/inputs")
    cache.put("name/digest/inputs", WDL.Env.Bindings(), inputs=inputs, add_paths=add)
    assert (tmp_path / "calls/name/digest/inputs.json").is_file()
    plain, s3 = "https://example.org/d/x", f"s3://{unique('no')}/x"
    assert cache.download_path(plain) == super(EtagCache, cache).download_path(plain)
    assert cache.download_path(s3 + "?versionId=1") is None
