"""The files of one attempt at a task: written before its job, taken back when that is over.

A task's container may write where the engine and miniwdl read afterwards, which run outside it and
could be led elsewhere by a link: to their own process's environment, say.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import WDL

from ..errors import MiniwdlCloudError
from ..filesystems.base import DivisibleFilesystem, SharedFilesystem
from ..miniwdl_compat import log_message as _
from . import task_files, task_inputs
from .isolation import IsolatedTask
from .task_trees import link_out_of


class Tampered(MiniwdlCloudError):
    """A task has replaced what its engine was to read."""


def check_directory_output(container_path: str, path: str) -> None:
    """Refuse an isolated task's Directory output with a link that leads out of it. miniwdl does so
    for links to files; one to a directory leads as far.

    Parameters
    ----------
    container_path, path
        Its path as the task says it, and where it is.
    """
    link = link_out_of(path)
    if link is not None:
        raise WDL.runtime.OutputError(
            f"the Directory output {container_path} has a link, {link}, that leads out of it; copy"
            " there what it leads to"
        )


class AttemptFiles:
    """A context in which the job of an attempt runs.

    Parameters
    ----------
    task_dir
        The task's run directory.
    attempt
        Counts from 1.
    streams
        Files there for the command's standard output and standard error.
    filesystem
        The shared filesystem.
    isolated
        Whether the task is to see no more of it than its own.
    logger
        The task's.
    """

    def __init__(
        self,
        task_dir: Path,
        attempt: int,
        streams: tuple[Path, Path],
        filesystem: DivisibleFilesystem,
        isolated: bool,
        logger: logging.Logger,
    ) -> None:
        self._task_dir = task_dir
        self._streams = streams
        self._whole = filesystem
        self._logger = logger
        self.isolated = IsolatedTask(task_dir, attempt, filesystem) if isolated else None

    @property
    def directory(self) -> Path:
        """Where the files of `task_files` are."""
        return self.isolated.job_dir if self.isolated else self._task_dir

    @property
    def filesystem(self) -> SharedFilesystem:
        """What the container sees of the shared filesystem."""
        return self.isolated.filesystem if self.isolated else self._whole

    @property
    def owner(self) -> str | None:
        """``uid:gid`` that the job has to run as, if it has to."""
        return self.isolated.filesystem.owner if self.isolated else None

    def write(
        self, command: str, environment: Mapping[str, str], inputs: Mapping[str, str] | None
    ) -> None:
        """Write what the task script reads, and provide the inputs.

        Parameters
        ----------
        inputs
            From host path to path in the container; ``None`` if they have been copied.
        """
        # The workflow's outputs may name them, and miniwdl reads them, even if no job ever starts.
        task_files.restore(self._task_dir, self._streams)
        if self.isolated:
            self.isolated.make(self._streams)
        task_files.write_command(self.directory, command)
        task_files.write_environment(self.directory, environment)
        if inputs is None:
            return
        if self.isolated:
            self.isolated.provide(inputs, self._logger)
        else:
            task_inputs.provide(inputs, str(self._task_dir / "work"), self._logger)

    def __enter__(self) -> AttemptFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exn: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Make the run directory fit to be read.

        Raises
        ------
        Tampered
            The task has put something else in the place of what will be read.
        """
        if self.isolated:
            self.isolated.collect(self._streams)
            self.isolated.remove_inputs()
        replaced = task_files.restore(self._task_dir, self._streams)
        if not replaced:
            return
        self._logger.error(_("the task has replaced what its engine reads", names=replaced))
        if exn is None:
            raise Tampered(
                f"The task has put something else in the place of its {' and '.join(replaced)};"
                " change its command to leave them as they are."
            )
