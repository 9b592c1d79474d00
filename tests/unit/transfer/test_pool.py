"""Parallel transfers, with a stand-in for S3."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from miniwdl_cloud.aws.s3 import IN_MEMORY_BYTES, S3, S3Uri
from miniwdl_cloud.errors import AccessDenied, Unreachable
from miniwdl_cloud.transfer.pool import SMALL_AT_ONCE, Item, Stopped, download_all, upload_all


class FakeS3:
    """Calls ``act`` for each file, and counts how many are under way at a time."""

    def __init__(self, act: Callable[[Path, Callable[[int], None]], None]) -> None:
        self._act = act
        self._lock = threading.Lock()
        self.now = self.most = 0
        self.done: list[Item] = []

    def upload_file(self, path: Path, uri: S3Uri, on_bytes: Callable[[int], None]) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            self._act(path, on_bytes)
            with self._lock:
                self.done.append((path, uri))
        finally:
            with self._lock:
                self.now -= 1

    def download_file(self, uri: S3Uri, path: Path, on_bytes: Callable[[int], None]) -> None:
        self.upload_file(path, uri, on_bytes)


def as_s3(fake: FakeS3) -> S3:
    return cast(S3, fake)


def items(count: int) -> list[Item]:
    return [(Path(f"/x/{n}"), S3Uri("b", str(n))) for n in range(count)]


class Counter:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bytes = self.files = 0

    def __call__(self, more_bytes: int, more_files: int) -> None:
        with self.lock:
            self.bytes += more_bytes
            self.files += more_files


@pytest.mark.parametrize("run", [upload_all, download_all])
def test_all_are_done_in_parallel(run: Callable[..., None]) -> None:
    """Every file is transferred and reported, several at a time and never more than asked."""
    together = threading.Barrier(3)

    def act(path: Path, on_bytes: Callable[[int], None]) -> None:
        together.wait(timeout=60)
        on_bytes(5)

    fake, counter = FakeS3(act), Counter()
    run(as_s3(fake), items(9), counter, files_at_once=3)
    assert sorted(fake.done) == sorted(items(9))
    assert counter.files == 9
    assert counter.bytes == 45
    assert fake.most == 3


def test_no_items() -> None:
    """Nothing to do is done at once."""
    upload_all(as_s3(FakeS3(lambda path, on_bytes: None)), [])


def test_first_error_stops_the_others() -> None:
    """The first error is raised once the running transfers have been stopped; none starts after."""

    def act(path: Path, on_bytes: Callable[[int], None]) -> None:
        if path.name == "0":
            raise AccessDenied("no entry")
        while True:  # ends when on_bytes raises
            on_bytes(1)

    fake = FakeS3(act)
    with pytest.raises(AccessDenied, match="no entry"):
        upload_all(as_s3(fake), items(50), files_at_once=2)
    assert fake.done == []
    assert fake.now == 0


def test_stop_from_outside() -> None:
    """Setting the stop event ends running transfers with Stopped."""
    stop, started = threading.Event(), threading.Event()

    def act(path: Path, on_bytes: Callable[[int], None]) -> None:
        started.set()
        while True:
            on_bytes(1)

    fake = FakeS3(act)
    watcher = threading.Thread(target=lambda: (started.wait(60), stop.set()))
    watcher.start()
    with pytest.raises(Stopped):
        upload_all(as_s3(fake), items(5), stop=stop)
    watcher.join()
    assert fake.now == 0


def test_an_outage_is_waited_for() -> None:
    """A file that met an outage is sent again, and the count of bytes is right in the end."""
    failures = [1, 1]

    def act(path: Path, on_bytes: Callable[[int], None]) -> None:
        on_bytes(10)
        if failures and path.name == "0":
            failures.pop()
            raise Unreachable("AWS did not answer")

    told: list[Unreachable] = []
    fake, counter = FakeS3(act), Counter()
    upload_all(as_s3(fake), items(3), counter, waiting=told.append)
    assert sorted(path.name for path, _ in fake.done) == ["0", "1", "2"]
    assert (counter.bytes, counter.files) == (30, 3)
    assert len(told) == 1


def test_a_stop_ends_the_waiting() -> None:
    """Who waits for AWS is not waited for."""
    stop = threading.Event()

    def act(path: Path, on_bytes: Callable[[int], None]) -> None:
        raise Unreachable("AWS did not answer")

    with pytest.raises(Stopped):
        upload_all(as_s3(FakeS3(act)), items(2), stop=stop, waiting=lambda exn: stop.set())


def test_without_patience_an_outage_is_an_error() -> None:
    """Who does not want to wait gets the error at once."""

    def act(path: Path, on_bytes: Callable[[int], None]) -> None:
        raise Unreachable("AWS did not answer")

    with pytest.raises(Unreachable):
        download_all(as_s3(FakeS3(act)), items(2))


def test_small_files_go_up_many_at_a_time(tmp_path: Path) -> None:
    """A small file is one request that mostly waits; large ones keep to their own number."""
    together = threading.Barrier(SMALL_AT_ONCE)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(IN_MEMORY_BYTES + 1)
    pairs = [(large, S3Uri("b", f"large{n}")) for n in range(4)]
    small = tmp_path / "small"
    small.write_bytes(b"x" * IN_MEMORY_BYTES)
    pairs += [(small, S3Uri("b", f"small{n}")) for n in range(2 * SMALL_AT_ONCE)]
    large_now, large_most = 0, 0
    lock = threading.Lock()

    def act(path: Path, on_bytes: Callable[[int], None]) -> None:
        nonlocal large_now, large_most
        if path == small:
            together.wait(timeout=60)
            return
        with lock:
            large_now += 1
            large_most = max(large_most, large_now)
        on_bytes(1)
        with lock:
            large_now -= 1

    fake = FakeS3(act)
    upload_all(as_s3(fake), pairs, files_at_once=1)
    assert set(fake.done) == set(pairs)
    assert large_most == 1
