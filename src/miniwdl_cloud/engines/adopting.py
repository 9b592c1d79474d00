"""Taking over a task that another run began: what its job did, and the files that it left.

The job goes on in the run directory that it was submitted for. Once it has ended well, working
directory, standard output and record are moved into the new run's, and links are left in their
places, so that paths which the command wrote into its outputs stay true.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..accounting.adoption import Offer
from ..filesystems.weather import retried
from ..jobs.outcome import TaskResult
from ..miniwdl_compat import CallIdentity
from ..transfer.versions import versioned_key
from . import task_files
from .config import EngineSettings


class IdentifiedTask:
    """A task container that is told which call it runs."""

    call: CallIdentity | None = None


def identify_call(
    cfg: Any, logger: logging.Logger, run_id: Sequence[str], run_dir: str, task: Any, **recv: Any
) -> Generator[dict[str, Any], dict[str, Any], None]:
    """miniwdl's task plugin: tells our containers which call they run, before the first attempt."""
    inputs = recv["inputs"]
    recv = yield recv
    container = recv["container"]
    if isinstance(container, IdentifiedTask):
        call = CallIdentity(cfg, logger, task, inputs)
        call.key = versioned_key(cfg, logger, call.key, inputs)
        container.call = call
    recv = yield recv
    yield recv


def without_vain_adoption(
    found: EngineSettings, cfg: Any, logger: logging.Logger
) -> EngineSettings:
    """The settings, without adoption where there is no call cache to adopt by."""
    if found.adopt and not cfg["call_cache"].get_bool("get"):
        logger.warning("adopting jobs needs the call cache; without it, nothing is adopted")
        return replace(found, adopt=False)
    return found


class FormerTask:
    """The files of a task that another run began.

    Parameters
    ----------
    offer
        Its job. Where it was adopted before, its files may be in any of its directories: only the
        run that had it last knows how far it came in moving them.
    """

    def __init__(self, offer: Offer) -> None:
        *later, oldest = offer.directories
        # Adopted files have the names of a first attempt.
        self._places = [(Path(oldest), offer.task.attempt)]
        self._places += [(Path(directory), 1) for directory in reversed(later)]
        self.directories = offer.directories

    def result(self, wait: bool = False) -> TaskResult | None:
        """What the task script recorded.

        Parameters
        ----------
        wait
            The job has ended, and the record may show late.
        """
        for directory, attempt in self._places[1:]:
            found = task_files.read_result(directory, attempt)
            if found is not None:
                return found
        directory, attempt = self._places[0]
        read = task_files.await_result if wait else task_files.read_result
        return read(directory, attempt)

    def is_current(self, call: CallIdentity) -> bool:
        """Whether the task's files are there, and neither its inputs nor, if its run had read them,
        its outputs were changed since."""
        work = self._find("work")
        if work is None:
            return False
        try:
            if not call.inputs_are_older_than(self._places[0][0] / "command"):
                return False
            read = [d / "outputs.json" for d, _ in self._places if (d / "outputs.json").exists()]
            return not read or _newest(work) <= read[-1].stat().st_mtime_ns
        except OSError:
            return False

    def give_up(self) -> None:
        """Make sure that no job begins this attempt any more."""
        directory, attempt = self._places[0]
        task_files.close_attempt(directory, attempt)

    def move_to(self, directory: Path) -> None:
        """Move the task's files into another run directory.

        Raises
        ------
        OSError
            They cannot be moved, or not all of them.
        """
        work = directory / "work"
        temporary = [path.name for path in work.glob("_miniwdl_tmpdir")]
        shutil.rmtree(work, ignore_errors=True)
        try:
            self._move("work", work)
        except OSError:
            work.mkdir(exist_ok=True)
            raise
        # miniwdl made it for this attempt, and will remove it.
        for name in temporary:
            (work / name).mkdir(exist_ok=True)
        for kind in ("stdout", "stderr", "task_status"):
            self._move(kind, directory / _name(kind, 1))

    def path_in(self, directory: str, path: str, links: Mapping[str, str]) -> str:
        """Where a path that the job may have written is now.

        Parameters
        ----------
        directory
            The run directory that the files were moved to.
        path
            Any path.
        links
            What this run calls its inputs in the container, by their paths.
        """
        for former in self.directories:
            if path.startswith(f"{former}/"):
                here = directory + path.removeprefix(former)
                # Inputs were linked by that run, and perhaps numbered otherwise.
                link = Path(here.rstrip("/"))
                return links.get(str(link.readlink()), here) if link.is_symlink() else here
        return path

    def _move(self, kind: str, target: Path) -> None:
        source = self._find(kind)
        if source is not None:
            # First what runs that came to nothing had ready for it: once the source is moved, these
            # would be taken for it.
            for leftover in self._all(kind)[1:]:
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()
            task_files.put_aside(source, target)
        for directory, attempt in self._places:
            place = directory / _name(kind, attempt)
            if not os.path.lexists(place):
                retried(lambda place=place: _link(place, target), place)  # type: ignore[misc]

    def _find(self, kind: str) -> Path | None:
        """Where a file of the task really is."""
        found = self._all(kind)
        return found[0] if found else None

    def _all(self, kind: str) -> list[Path]:
        """All files of a kind that are no links. The first is the job's: a run makes an empty
        working directory before it adopts what will be in its place."""
        paths = [directory / _name(kind, attempt) for directory, attempt in self._places]
        return [path for path in paths if path.exists() and not path.is_symlink()]


def _link(place: Path, target: Path) -> None:
    try:
        place.symlink_to(target)
    except FileExistsError:
        pass


def _name(kind: str, attempt: int) -> str:
    # The working directory is always `work`; see `SharedTask.host_work_dir`.
    return kind if kind == "work" else f"{kind}{task_files.attempt_suffix(attempt)}.txt"


def _newest(directory: Path) -> int:
    """When the latest change below a directory was, in nanoseconds."""
    return max(
        (
            os.lstat(Path(parent) / name).st_mtime_ns
            for parent, directories, files in os.walk(directory)
            for name in (*directories, *files)
        ),
        default=0,
    )
