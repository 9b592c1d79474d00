"""An isolated task: what of the shared filesystem its container sees, and where that lies.

The container sees the same paths as any other task's, but there is nothing else beside them::

    in the container                   on the filesystem, in the task's run directory
    RUN/                               job/     command, environment, streams, claim, record
    RUN/work/                          work/
    RUN/inputs/                        inputs/, read-only: what links in RUN/work/ lead to
    Directory inputs, at their paths   directories/, or the Directory itself; read-only

What miniwdl and the engine keep in the run directory (logs, inputs.json, out/, downloads, files of
write_lines) is not in the container, so a task cannot lay traps there for the engine, which may
read and write more than the task. Each attempt has a job directory of its own.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, UsageError
from ..filesystems.base import DivisibleFilesystem
from ..filesystems.isolation import PLAIN_PATH, VOLUMES_MOST, IsolatedFilesystem, View
from ..filesystems.weather import retried
from ..miniwdl_compat import log_message as _
from . import task_files
from .task_inputs import CANNOT_LINK, link_or_copy
from .task_trees import LINKS_MOST, Tree, anew, read_tree

SHARED, STRICT = "shared", "strict"
INPUTS = "_miniwdl_inputs"


def isolation_of(runtime: Mapping[str, Any], setting: str) -> str:
    """How a task is isolated: as ``[aws] isolation`` says, or more strictly.

    Parameters
    ----------
    runtime
        The task's runtime section as JSON; of it, ``isolation``, and ``isolation`` in the object
        ``aws``. A task can ask for more isolation than the deployment has, never for less.

    Raises
    ------
    UsageError
        There is no such isolation.
    """
    hints = runtime.get("aws", {})
    if not isinstance(hints, Mapping):
        raise UsageError("runtime.aws can be an object only.")
    wanted = [v for v in (runtime.get("isolation"), hints.get("isolation")) if v is not None]
    if any(value not in (SHARED, STRICT) for value in wanted):
        raise UsageError('runtime.isolation can be "shared" or "strict" only.')
    return STRICT if STRICT in (*wanted, setting) else SHARED


def check_privileges(runtime: Mapping[str, Any], container_properties: Mapping[str, Any]) -> None:
    """Refuse what would let a container undo its mounts.

    Raises
    ------
    ConfigurationError
        The task, or ``[aws] container_properties``, asks for such privileges.
    """
    if runtime.get("privileged"):
        raise ConfigurationError(
            "A privileged task could undo its isolation; take `privileged` out of its runtime"
            " section, or isolation = strict out of the configuration."
        )
    linux = container_properties.get("linuxParameters") or {}
    if container_properties.get("privileged") or linux.get("devices"):
        raise ConfigurationError(
            "[aws] container_properties gives tasks devices, by which they could undo their"
            " isolation; take these out of it, or isolation = strict out of the configuration."
        )


class IsolatedTask:
    """One attempt of an isolated task.

    Parameters
    ----------
    task_dir
        The task's run directory.
    attempt
        Counts from 1.
    filesystem
        The shared filesystem.
    """

    def __init__(self, task_dir: Path, attempt: int, filesystem: DivisibleFilesystem) -> None:
        self.job_dir = task_dir / f"job{task_files.attempt_suffix(attempt)}"
        self.filesystem = IsolatedFilesystem(filesystem, ())
        self._task_dir = task_dir
        self._inputs = task_dir / "inputs"
        self._directories = task_dir / "directories"
        self._views: list[View] = []
        self._made: set[str] = set()

    def make(self, streams: Iterable[Path]) -> None:
        """Make the directories of the attempt.

        Parameters
        ----------
        streams
            Files in the run directory that will hold the command's standard output and error. They
            are the same files in the job directory, where the filesystem has hard links; else
            `collect` moves them.

        Raises
        ------
        ConfigurationError
            The path of the run directory cannot be a mount point.
        """
        if not PLAIN_PATH.fullmatch(str(self._task_dir)):
            raise ConfigurationError(
                f"An isolated task cannot run in {self._task_dir}: choose a run directory (--dir)"
                " whose path has only letters, digits and ._=@+- in it."
            )
        retried(functools.partial(self.job_dir.mkdir, exist_ok=True), self.job_dir)
        for stream in streams:
            retried(functools.partial(self._link, stream), stream)
        work = self._task_dir / "work"
        self._views, self._made = [], set()
        self._see_made(self.job_dir, str(self._task_dir), read_only=False)
        self._see_made(work, str(work), read_only=False)
        self._finish()

    def _see_made(self, directory: Path, target: str, read_only: bool = True) -> None:
        """Add a view of a directory that was made for this task."""
        retried(functools.partial(directory.mkdir, parents=True, exist_ok=True), directory)
        self._made.add(str(directory))
        self._views.append(View(str(directory), target, read_only))

    def _link(self, stream: Path) -> None:
        inside = self.job_dir / stream.name
        inside.unlink(missing_ok=True)
        try:
            os.link(stream, inside)
        except OSError as exn:
            if exn.errno not in CANNOT_LINK:
                raise

    def provide(self, input_path_map: Mapping[str, str], logger: logging.Logger) -> None:
        """Make every input appear where the command expects it, and nothing else.

        Parameters
        ----------
        input_path_map
            From host path to path in the container; directories end in a slash.

        Raises
        ------
        UsageError, ConfigurationError
            An input cannot be provided so.
        """
        self.remove_inputs()
        work = f"{self._task_dir}/work/"
        pairs = list(input_path_map.items())
        groups = self._groups([path for _host, path in pairs if not path.startswith(work)])
        if any(not host.endswith("/") for host, _path in pairs):
            self._see_made(self._inputs, str(self._inputs))
        trees: list[tuple[str, Tree]] = []
        for host, path in pairs:
            if host.endswith("/"):
                trees.append((path.rstrip("/"), read_tree(host)))
            else:
                self._provide_file(host, path, input_path_map, logger)
        # Large ones first: what is in a Directory that is mounted as a whole is there already.
        for path, tree in sorted(trees, key=lambda t: (-len(t[1].files), t[0])):
            if self._is_mounted(path):
                continue
            top = next((top for top in groups if f"{path}/".startswith(f"{top}/")), None)
            if top is not None:
                self._provide_directory(
                    path, tree, groups[top] / os.path.relpath(path, top), logger
                )
            else:
                self._provide_renamed(path, tree, logger)
        for top, group in groups.items():
            if group.exists() and all(view.target != top for view in self._views):
                self._see_made(group, top)
        self._finish()

    def _provide_file(
        self, host: str, path: str, inputs: Mapping[str, str], logger: logging.Logger
    ) -> None:
        """Link it from the working directory, as for any task, so that what a command writes beside
        it lands there; what the link leads to is read-only."""
        source = os.path.realpath(host)
        place = self._inputs / os.path.relpath(path, self._task_dir / "work" / INPUTS)
        self._link_input(path, str(place))
        retried(functools.partial(place.parent.mkdir, parents=True, exist_ok=True), place)
        try:
            retried(functools.partial(anew, os.link, source, str(place)), place)
            return
        except OSError as exn:
            if exn.errno not in CANNOT_LINK:
                raise
            why = exn.strerror
        parent = Path(source).parent
        mine = {os.path.realpath(path) for path in inputs}
        alone = all(str(beside) in mine for beside in parent.iterdir())
        if alone and self._mount(View(str(parent), str(parent))):
            self._link_input(path, source)
            logger.info(_("input by a read-only volume", input=host, reason=why))
            return
        size = Path(source).stat().st_size
        logger.warning(_("input has to be copied", input=host, reason=why, bytes=size))
        retried(functools.partial(shutil.copy2, source, place), place)

    def _link_input(self, path: str, text: str) -> None:
        parent = Path(path).parent
        retried(functools.partial(parent.mkdir, parents=True, exist_ok=True), parent)
        retried(functools.partial(anew, os.symlink, text, path), parent)

    def _provide_directory(
        self, path: str, tree: Tree, place: Path, logger: logging.Logger
    ) -> None:
        """A Directory at its own path, as part of a tree that is mounted above it, or itself."""
        real = str(tree.top)
        if self._rebuild(tree, place):
            logger.info(_("input by hard links", input=real, files=len(tree.files)))
        elif self._mount(View(real, path)):
            logger.info(_("input by a read-only volume", input=real, files=len(tree.files)))
        else:
            logger.warning(_("input has to be linked or copied", input=real))
            tree.rebuild(place, link_or_copy)

    def _provide_renamed(self, path: str, tree: Tree, logger: logging.Logger) -> None:
        """A Directory that has another name than its own, in the working directory."""
        real = str(tree.top)
        place = self._directories / "renamed" / os.path.relpath(path, self._task_dir / "work")
        if self._rebuild(tree, place) and self._mount(View(str(place), path)):
            logger.info(_("input by hard links", input=real, files=len(tree.files)))
        elif self._mount(View(real, path)):
            logger.info(_("input by a read-only volume", input=real, files=len(tree.files)))
        else:
            logger.warning(_("input has to be copied", input=real, files=len(tree.files)))
            tree.rebuild(Path(path), shutil.copy2)

    def _rebuild(self, tree: Tree, place: Path) -> bool:
        """Make a tree of hard links, if it is not too large and the filesystem can."""
        if len(tree.files) > LINKS_MOST:
            return False
        try:
            tree.rebuild(place, os.link)
        except OSError as exn:
            if exn.errno not in CANNOT_LINK:
                raise
            shutil.rmtree(place, ignore_errors=True)
            return False
        return True

    def _is_mounted(self, path: str) -> bool:
        """Whether a path is in a directory that is mounted as it is."""
        return any(
            f"{path}/".startswith(f"{view.target}/")
            for view in self._views
            if view.source not in self._made
        )

    def _mount(self, view: View) -> bool:
        """Add a view if it can be one, and the volumes stay few enough."""
        if any(known.target == view.target for known in self._views):
            return any(known == view for known in self._views)
        below = f"{view.source}/".startswith(f"{self.filesystem.mount}/")
        plain = PLAIN_PATH.fullmatch(view.source) and PLAIN_PATH.fullmatch(view.target)
        if not (below and plain and view.source != self.filesystem.mount):
            return False
        if IsolatedFilesystem(self.filesystem.whole, (*self._views, view)).size > VOLUMES_MOST:
            return False
        self._views.append(view)
        return True

    def _groups(self, paths: list[str]) -> dict[str, Path]:
        """For Directory inputs that keep their own paths: mount points above them, at most one
        within the run directory (downloads) and one outside, and where their trees are made."""
        run_dir = f"{self._task_dir}/"
        ours = [path for path in paths if path.startswith(run_dir)]
        others = [path for path in paths if not path.startswith(run_dir)]
        groups: dict[str, Path] = {}
        for name, group in (("run", ours), ("other", others)):
            if group:
                groups[self._common_directory(group)] = self._directories / name
        return groups

    def _common_directory(self, paths: list[str]) -> str:
        """What contains these Directory inputs, and can be a mount point."""
        top = Path(os.path.commonpath(paths))
        while not PLAIN_PATH.fullmatch(str(top)) and top != top.parent:
            top = top.parent
        if not top.is_relative_to(self.filesystem.mount):
            raise UsageError(
                f"The input {paths[0]} is not on the shared filesystem at"
                f" {self.filesystem.mount}; put it there."
            )
        return str(top)

    def _finish(self) -> None:
        """Make directories to mount views on, in those views that were made for this task."""
        for inner in self._views:
            around = [v for v in self._views if inner.target.startswith(f"{v.target}/")]
            outer = max(around, key=lambda view: len(view.target), default=None)
            if outer is not None and outer.source in self._made:
                place = Path(outer.source) / os.path.relpath(inner.target, outer.target)
                retried(functools.partial(place.mkdir, parents=True, exist_ok=True), place)
        self.filesystem = IsolatedFilesystem(self.filesystem.whole, tuple(self._views))

    def collect(self, streams: Iterable[Path]) -> None:
        """Move streams into the run directory that are not the same files there, so that they have
        one name each; to be called when the container is gone."""
        for stream in streams:
            inside = self.job_dir / stream.name
            try:
                same = os.path.samestat(os.lstat(inside), os.lstat(stream))
            except FileNotFoundError:
                continue
            if same:
                retried(functools.partial(inside.unlink, missing_ok=True), inside)
            else:
                retried(functools.partial(os.replace, inside, stream), stream)

    def remove_inputs(self) -> None:
        """Remove what was made of the inputs: EFS allows 177 links to a file, and miniwdl will
        change permissions in the run directory."""
        for made in (self._inputs, self._directories):
            if made.exists():
                retried(functools.partial(shutil.rmtree, made), made)
