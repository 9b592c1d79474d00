"""`miniwdl-cloud clean`: what it finds, what it never deletes, and how it deletes."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from miniwdl_cloud.cli import clean
from miniwdl_cloud.cli import main as cli
from miniwdl_cloud.errors import UsageError

DAY = 86400.0


class Tree:
    """Runs and caches on a shared filesystem."""

    def __init__(self, root: Path) -> None:
        self.root = root / "miniwdl_run"
        self.root.mkdir()

    def age(self, path: Path, days: float) -> None:
        """Make a directory and all in it so old."""
        then = time.time() - days * DAY
        for item in (*path.rglob("*"), path):
            os.utime(item, (then, then), follow_symlinks=False)

    def run(self, name: str, days: float = 40, state: str = "success", size: int = 10) -> Path:
        """A run directory with a call in it."""
        run = self.root / name
        (run / "call-t/work").mkdir(parents=True)
        (run / "inputs.json").write_text("{}")
        (run / "workflow.log").write_text("log\n")
        (run / "call-t/task.log").write_text("log\n")
        (run / "call-t/inputs.json").write_text("{}")
        (run / "call-t/work/data").write_bytes(os.urandom(size))
        (run / "out/x").mkdir(parents=True)
        (run / "out/x/data").symlink_to("../../call-t/work/data")
        if state == "success":
            (run / "outputs.json").write_text(json.dumps({"w.x": str(run / "out/x/data")}))
        elif state == "failed":
            (run / "error.json").write_text("{}")
        self.age(run, days)
        return run

    def cached(self, run: Path) -> Path:
        """A call cache entry for a run's call."""
        entry = self.root / f"_CACHE/call/t/digest/{run.name}.json"
        entry.parent.mkdir(parents=True, exist_ok=True)
        output = str(run / "call-t/work/data")
        entry.write_text(json.dumps({"dir": str(run / "call-t"), "outputs": {"x": output}}))
        return entry

    def download(self, name: str, days: float = 40) -> Path:
        """An entry of the download cache."""
        path = self.root / f"_CACHE/download/files/s3/bucket/_folder/{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.root / "_CACHE/download/_miniwdl_flock").touch()
        path.write_text("data")
        self.age(path, days)
        return path


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """An empty place for runs."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return Tree(tmp_path)


@pytest.fixture
def command(tree: Tree, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command over the place: exit code, table, messages."""

    def call(*options: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli._dispatch(["clean", *options, str(tree.root)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


Command = Callable[..., tuple[int, str, str]]
DELETE = ("--older-than", "30d", "--delete", "--yes")


def test_runs_are_shown_and_nothing_is_deleted(tree: Tree, command: Command) -> None:
    """Without --delete there is a table of all runs, and that is all."""
    runs = [tree.run("a"), tree.run("b", state="failed"), tree.run("c", state="unfinished")]
    code, out, err = command()
    assert code == 0
    for run, state in zip(runs, ("success", "failed", "unfinished"), strict=True):
        (line,) = (line for line in out.splitlines() if line.endswith(str(run)))
        assert state in line
        assert "40 d" in line
    assert "3 to delete" in err
    assert "add --delete" in err
    assert all(run.is_dir() for run in runs)


def test_old_runs_are_deleted(tree: Tree, command: Command) -> None:
    """What is old enough goes, with the _LAST link that led to it; what is not stays."""
    old, new = tree.run("old"), tree.run("new", days=3)
    (tree.root / "_LAST").symlink_to("old")
    code, _, err = command(*DELETE)
    assert code == 0
    assert "1 deleted" in err
    assert not old.exists()
    assert new.is_dir()
    assert sorted(path.name for path in tree.root.iterdir()) == ["new"]


def test_by_state_and_size(tree: Tree, command: Command) -> None:
    """State and size choose too, all that is asked together."""
    small = tree.run("small", state="failed")
    large = tree.run("large", state="failed", size=3_000_000)
    fine = tree.run("fine", size=3_000_000)
    assert command("--state", "failed", "--larger-than", "2M", "--delete", "--yes")[0] == 0
    assert not large.exists()
    assert small.is_dir()
    assert fine.is_dir()


def test_a_run_that_miniwdl_has_locked(tree: Tree, command: Command) -> None:
    """A run whose log miniwdl has locked is in use, however old it looks."""
    run = tree.run("running", state="unfinished")
    with (run / "workflow.log").open("r+") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        code, out, _ = command(*DELETE)
        assert code == 0
        assert "in use" in out
        assert run.is_dir()
    command(*DELETE)
    assert not run.exists()


def test_a_run_that_changed_lately(tree: Tree, command: Command) -> None:
    """What changed within the hour is in use, whatever its state."""
    runs = [tree.run(s, days=0.01, state=s) for s in ("success", "failed", "unfinished")]
    assert command("--larger-than", "0.001K", "--delete", "--yes")[0] == 0
    assert all(run.is_dir() for run in runs)


def test_a_run_without_outcome_whose_task_still_writes(tree: Tree, command: Command) -> None:
    """A run without outcome is in use as long as anything in it changed within the day, even where
    nobody sees its lock."""
    run, done = tree.run("running", state="unfinished"), tree.run("done")
    for each in (run, done):
        half_a_day_ago = time.time() - DAY / 2
        os.utime(each / "call-t/work/data", (half_a_day_ago, half_a_day_ago))
    _, out, _ = command(*DELETE)
    assert "without outcome, and changed less than a day ago" in out
    assert run.is_dir()
    assert not done.exists()


def test_a_run_whose_jobs_are_accounted_for(tree: Tree, command: Command) -> None:
    """While a ledger names its tasks their jobs may run, though nobody holds a lock."""
    run = tree.run("orphaned", state="unfinished")
    lease = tree.root / "_ACCOUNTS/job-1"
    lease.mkdir(parents=True)
    line = {"name": "n", "queue": "q", "tasks": [[str(run / "call-t"), 1, ""]]}
    (lease / "jobs.jsonl").write_text(json.dumps(line) + '\n{"name": "torn')
    _, out, _ = command(*DELETE)
    assert "its jobs are still accounted for" in out
    assert run.is_dir()


def test_a_run_in_the_call_cache(tree: Tree, command: Command) -> None:
    """What a call cache entry refers to stays, unless told; then the entry goes with it."""
    run, other = tree.run("cached"), tree.run("other")
    entry, kept = tree.cached(run), tree.cached(tree.run("young", days=1))
    _, out, _ = command(*DELETE)
    assert "in the call cache" in out
    assert run.is_dir()
    assert not other.exists()
    assert command(*DELETE, "--referenced")[0] == 0
    assert not run.exists()
    assert not entry.exists()
    assert kept.is_file()


def test_the_call_cache_while_a_run_is_under_way(tree: Tree, command: Command) -> None:
    """A run under way may use the call cache at any moment, so nothing of it goes."""
    run = tree.run("cached")
    tree.cached(run)
    tree.run("now", days=0, state="unfinished")
    _, out, _ = command(*DELETE, "--referenced")
    assert "a run is under way" in out
    assert run.is_dir()


def test_a_run_that_outputs_of_another_lead_to(tree: Tree, command: Command) -> None:
    """A run stays as long as the outputs of one that stays lead to it; both go together."""
    early, late = tree.run("early", days=50), tree.run("late", days=10)
    link = late / "out/x/data"
    link.unlink()
    link.symlink_to(early / "call-t/work/data")
    _, out, _ = command(*DELETE)
    assert "outputs of late lead to it" in out
    assert early.is_dir()
    tree.age(late, 40)
    assert command(*DELETE)[0] == 0
    assert not early.exists()
    assert not late.exists()


def test_links_are_never_followed_out(tree: Tree, command: Command, tmp_path: Path) -> None:
    """Neither the search nor the deletion follows a link out of the directory."""
    outside = Tree(tmp_path / "outside") if (tmp_path / "outside").mkdir() is None else tree
    elsewhere = outside.run("elsewhere")
    (tree.root / "link").symlink_to(outside.root)
    run = tree.run("a")
    (run / "call-t/work/out").symlink_to(outside.root)
    tree.age(run, 40)
    code, out, _ = command(*DELETE)
    assert code == 0
    assert "elsewhere" not in out
    assert not run.exists()
    assert (elsewhere / "call-t/work/data").is_file()


def test_directories_of_people_are_no_runs(tree: Tree, command: Command) -> None:
    """A directory that only looks a little like a run is left alone."""
    mine = tree.root / "mine"
    mine.mkdir()
    (mine / "workflow.log").write_text("my notes")
    (mine / "data").write_text("x")
    tree.age(mine, 100)
    _, _, err = command(*DELETE)
    assert "Nothing was found" in err
    assert mine.is_dir()


def test_the_download_cache(tree: Tree, command: Command) -> None:
    """Entries of the download cache go by their last use, if asked for; never a locked one."""
    old, new, used = tree.download("old"), tree.download("new", 1), tree.download("used")
    run = tree.run("linking", days=1)
    linked = tree.download("linked")
    (run / "out/x/data").unlink()
    (run / "out/x/data").symlink_to(linked)
    command(*DELETE)
    assert old.is_file()
    with used.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert command(*DELETE, "--cache")[0] == 0
    assert not old.exists()
    assert new.is_file()
    assert used.is_file()
    assert linked.is_file()


def test_what_an_interrupted_deletion_left(tree: Tree, command: Command) -> None:
    """The rest of a deletion that was interrupted is found, and deleted, once it is old."""
    rest = tree.root / ".deleting-run-12345678"
    (rest / "call-t").mkdir(parents=True)
    _, out, _ = command()
    assert "leftover" in out
    command("--larger-than", "0.001K", "--delete", "--yes")
    assert rest.is_dir()  # perhaps it is being deleted


def test_a_link_put_in_place_of_a_directory_meanwhile(tree: Tree, tmp_path: Path) -> None:
    """What is deleted is what was found, not what a link leads to since."""
    from miniwdl_cloud.housekeeping.clean import Criteria, Places, delete, make_plan

    group = tree.root / "group"
    group.mkdir()
    tree.run("group/a")
    plan = make_plan(Places((tree.root,)), Criteria(), time.time())
    victim = tmp_path / "victim/a"
    victim.mkdir(parents=True)
    group.rename(tree.root / "moved")
    group.symlink_to(victim.parent)
    with pytest.raises(OSError, match="is a link now"):
        delete(plan.lines[0], plan)
    assert victim.is_dir()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--delete"], "--delete needs to know what"),
        (["--older-than", "30"], "such as 30d; correct it"),
        (["--larger-than", "big"], "such as 10G; correct it"),
        (["--older-than", "1d", "--delete"], "There is nobody to ask; add --yes"),
        (["--nonsense"], "has no option --nonsense"),
    ],
)
def test_wrong_options(
    options: list[str], text: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong is said in one sentence."""
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115
    with pytest.raises(UsageError, match=text):
        command(*options)


def test_no_such_directory(tmp_path: Path) -> None:
    """A directory that is not there is named."""
    with pytest.raises(UsageError, match="is not a directory; correct it"):
        cli._dispatch(["clean", str(tmp_path / "gone")])


def test_a_question_first(tree: Tree, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --yes there is a question; what came into use while it stood is kept."""
    run, other = tree.run("a"), tree.run("b")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter([False])
    monkeypatch.setattr(clean, "_agreed", lambda question: next(answers))
    command("--older-than", "30d", "--delete")
    assert run.is_dir()

    def agree(question: str) -> bool:
        os.utime(other / "workflow.log")
        return True

    monkeypatch.setattr(clean, "_agreed", agree)
    command("--older-than", "30d", "--delete")
    assert not run.exists()
    assert other.is_dir()
