"""By FSx's export tasks: FSx itself copies, and nothing has to be mounted here as Lustre."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

from ..aws.fsx import TASK_PATHS_MAX, ExportTask, Fsx, export_failures
from ..aws.s3 import S3
from ..errors import AccessDenied, MiniwdlCloudError, ServiceError, Unreachable
from .method import Item, Patience, Say, Unavailable
from .place import Link, Place

REPORTS = ".fsx_to_s3"
"""Folder of the linked location where FSx lists what a task could not export."""
LOOK_EVERY_S = (2.0, 15.0)
"""Seconds between looks at a task: at first, and at the most. A task takes minutes."""

# API reference, CreateDataRepositoryTask, `Paths`.
_NOT_IN_A_PATH = re.compile("[\x00\x85\u2028\u2029\r\n]")


class ExportTasks:
    """Export by FSx, a hundred files a task, one task at a time.

    Parameters
    ----------
    fsx, s3
        The services.
    place
        The file system, whose id is known.
    patience
        How long to wait while no task ends.
    say
        Tells how it goes.
    """

    name = "task"

    def __init__(self, fsx: Fsx, s3: S3, place: Place, patience: Patience, say: Say) -> None:
        self._fsx = fsx
        self._s3 = s3
        self._place = place
        self._patience = patience
        self._say = say
        self._works = False

    def refusal(self, item: Item) -> str | None:
        """A task cannot be given a name with a line break."""
        if _NOT_IN_A_PATH.search(item.file.relative):
            return "an export task takes no name with a line break; rename it"
        return None

    def archived(self, items: Sequence[Item]) -> None:
        """FSx does not tell."""
        return

    def send(self, items: Sequence[Item]) -> dict[Item, str]:
        """Have files exported, and wait for it."""
        failures: dict[Item, str] = {}
        done = 0
        for link, group in self._groups(items):
            try:
                failures.update(self._export(link, group))
                self._works = True
            except (AccessDenied, ServiceError, Unreachable) as exn:
                # FSx refuses tasks to who may not make them, and beside automatic export.
                if not self._works and not isinstance(exn, Unreachable):
                    raise Unavailable(exn.message) from exn
                failures.update(dict.fromkeys(group, exn.message))
            done += len(group)
            self._say(f"exported {done} of {len(items)} files")
        return failures

    def _groups(self, items: Sequence[Item]) -> Iterator[tuple[Link, list[Item]]]:
        by_link: dict[Link, list[Item]] = {}
        for item in items:
            link = self._place.link(item.file.relative)
            if link is not None:
                by_link.setdefault(link, []).append(item)
        for link, group in by_link.items():
            for start in range(0, len(group), TASK_PATHS_MAX):
                yield link, group[start : start + TASK_PATHS_MAX]

    def _export(self, link: Link, group: list[Item]) -> dict[Item, str]:
        # One path that is not there fails the whole task.
        gone = {item: "it is gone" for item in group if not item.file.path.is_file()}
        group = [item for item in group if item not in gone]
        if not group:
            return gone
        paths = {self._place.inside(item.file.relative): item for item in group}
        return {**gone, **self._export_paths(paths, link)}

    def _export_paths(self, paths: dict[str, Item], link: Link) -> dict[Item, str]:
        task = self._start(list(paths), link)
        ended = False
        try:
            task = self._await(task)
            ended = task.has_ended
        finally:
            if not ended:
                # Left by a signal, or given up.
                with contextlib.suppress(MiniwdlCloudError):
                    self._fsx.cancel_export(task.id)
        if not ended:
            text = f"the export task {task.id} did not end in {self._patience.limit_s:.0f} s"
            return dict.fromkeys(paths.values(), text)
        if task.lifecycle == "SUCCEEDED":
            return {}
        codes = export_failures(self._s3, link.location / f"{REPORTS}/", task.id)
        listed = {item: f"FSx: {codes[path]}" for path, item in paths.items() if path in codes}
        if listed:
            return listed
        why = task.message or f"the export task {task.id} is {task.lifecycle}"
        return dict.fromkeys(paths.values(), f"FSx: {why}")

    def _start(self, paths: list[str], link: Link) -> ExportTask:
        began = self._patience.clock()
        told = False
        file_system = self._place.file_system or ""
        while True:
            task = self._fsx.start_export(file_system, paths, link.location / f"{REPORTS}/")
            if task is not None:
                return task
            if self._patience.clock() - began >= self._patience.limit_s:
                raise ServiceError(
                    f"Another data repository task of {file_system} did not end within"
                    f" {self._patience.limit_s:.0f} s; wait for it, and try again."
                )
            if not told:
                told = True
                self._say(f"waiting for another data repository task of {file_system}")
            self._patience.sleep(LOOK_EVERY_S[1])

    def _await(self, task: ExportTask) -> ExportTask:
        began = self._patience.clock()
        pause, most = LOOK_EVERY_S
        while not task.has_ended and self._patience.clock() - began < self._patience.limit_s:
            self._patience.sleep(pause)
            pause = min(most, pause * 1.5)
            with contextlib.suppress(Unreachable):  # the bound above holds
                task = self._fsx.export_task(task.id)
        return task
