"""The ledger: whatever moment a process dies at, it names every job that was submitted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
from accounting_fakes import Service, request

from miniwdl_cloud.accounting.ledger import (
    AccountedQueue,
    Ledger,
    Submission,
    Task,
    read_ledger,
)
from miniwdl_cloud.errors import ConfigurationError, ServiceError, Throttled, Unreachable

SUBMISSIONS = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.sampled_from([None, Throttled("slow"), Unreachable("reset"), ServiceError("no")]),
    ),
    min_size=1,
    max_size=6,
)


@hypothesis.settings(max_examples=40, deadline=None, database=None, derandomize=True)
@hypothesis.given(submissions=SUBMISSIONS, data=st.data())
def test_every_prefix_accounts_for_what_was_submitted(
    submissions: list[tuple[int, Exception | None]], data: st.DataObject
) -> None:
    """Torn at any byte, the ledger has every name that a request was sent under by then, but for
    those that were refused."""
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "jobs.jsonl"
        service = Service()
        queue = AccountedQueue(service, Ledger(path))
        sent: list[tuple[int, str, int, bool]] = []

        class Sending(Service):
            def submit(self, requests, definition_handle):  # type: ignore[no-untyped-def]
                sent.append((path.stat().st_size, requests[0].name, len(requests), False))
                return super().submit(requests, definition_handle)

        queue = AccountedQueue(Sending(), Ledger(path))
        for number, (size, error) in enumerate(submissions):
            requests = [request(f"job-{number}", f"/run/{number}/{i}") for i in range(size)]
            queue._service.fail = [error] if error else []  # type: ignore[attr-defined]
            try:
                queue.submit(requests, "definition")
            except (Unreachable, ServiceError):
                sent[-1] = (*sent[-1][:3], isinstance(error, ServiceError))
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        found = {submission.name: submission for submission in read_ledger(path)}
        for written, name, size, refused in sent:
            # Its line was on disk before the request went out.
            if written <= cut and not refused:
                assert len(found[name].tasks) == size
        assert all(s.job_id in (None, f"id-{s.name}") for s in found.values())


def test_an_array_is_one_line_and_its_id_another(tmp_path: Path) -> None:
    """However many tasks it has."""
    path = tmp_path / "jobs.jsonl"
    queue = AccountedQueue(Service(), Ledger(path))
    queue.submit([request("a", f"/run/{i}", f"key-{i}") for i in range(500)], "definition")
    assert len(path.read_text().splitlines()) == 2
    (submission,) = read_ledger(path)
    assert submission.job_id == "id-a"
    assert submission.tasks[7] == Task("/run/7", 1, "key-7")


def test_a_repeated_submission_is_written_once(tmp_path: Path) -> None:
    """Throttling repeats requests by the dozen; what is found by name gets its id too."""
    service = Service()
    queue = AccountedQueue(service, Ledger(tmp_path / "jobs.jsonl"))
    service.fail = [Throttled("slow"), Unreachable("reset")]
    for error in (Throttled, Unreachable):
        with pytest.raises(error):
            queue.submit([request("a")], "definition")
    assert [s.job_id for s in read_ledger(tmp_path / "jobs.jsonl")] == [None]
    service.names["a"] = "id-a"
    assert queue.find(request("a")) == "id-a"
    assert [s.job_id for s in read_ledger(tmp_path / "jobs.jsonl")] == ["id-a"]
    assert len((tmp_path / "jobs.jsonl").read_text().splitlines()) == 2


def test_nothing_is_submitted_that_cannot_be_written_down(tmp_path: Path) -> None:
    """A full filesystem refuses the job, in words."""
    service = Service()
    queue = AccountedQueue(service, Ledger(tmp_path / "missing" / "jobs.jsonl"))
    with pytest.raises(ConfigurationError, match="see to the shared filesystem"):
        queue.submit([request("a")], "definition")
    assert service.jobs == {}


def test_what_follows_a_torn_line_is_read(tmp_path: Path) -> None:
    """A write that failed half way spoils itself alone."""
    path = tmp_path / "jobs.jsonl"
    ledger = Ledger(path)
    path.write_bytes(b'{"name": "torn", "que')
    ledger._torn = True
    ledger.submitting("b", "queue", [Task("/run", 2)])
    assert read_ledger(path) == [Submission("b", "queue", (Task("/run", 2),))]
