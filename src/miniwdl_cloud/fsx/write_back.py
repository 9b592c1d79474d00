"""Files from FSx for Lustre back to S3: what is there already, the rest, and proof that it is."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .. import settings as s
from ..aws.fsx import Fsx
from ..aws.s3 import S3, ObjectInfo
from ..errors import ConfigurationError, UsageError
from ..settings import Settings
from .export_task import ExportTasks
from .files import Collected, SharedFile, shown
from .hsm import Hsm
from .method import Item, Method, Patience, Say, Unavailable
from .objects import existing, is_same, too_long
from .place import Place
from .upload import Upload

if TYPE_CHECKING:
    from ..aws.s3 import S3Uri

METHODS = ("auto", "hsm", "task", "upload")
ATTEMPTS = 3
"""How often a file is sent before it is reported as failed."""
PAUSES_S = (1.0, 5.0)
"""Seconds before the second and the third time."""
WARNINGS_MOST = 20


@dataclass
class Report:
    """What became of files.

    Parameters
    ----------
    done
        Files that are in S3 as they are, and where.
    failed
        Files that are not, and why.
    sent
        How many of those done were not there before.
    """

    done: dict[SharedFile, S3Uri] = field(default_factory=dict)
    failed: dict[SharedFile, str] = field(default_factory=dict)
    sent: int = 0


def write_back(
    collected: Collected,
    place: Place,
    methods: Sequence[Method],
    s3: S3,
    patience: Patience,
    say: Say,
    growing: frozenset[Path] = frozenset(),
) -> Report:
    """Send files to where they belong in S3, and verify that they are there.

    What is there already, as it is, is not sent again: a repetition does the rest only.

    Parameters
    ----------
    collected
        The files.
    place
        Where they belong.
    methods
        Ways there; the first one to be had is taken.
    s3
        Where they are verified.
    patience
        For the pauses between attempts.
    say
        Tells how it goes, and what is overwritten.
    growing
        Files that are still written to: any object of their name will do.

    Raises
    ------
    ConfigurationError
        There is no way.
    """
    report = Report()
    for sentence in collected.skipped:
        say(f"warning: {sentence}; it is left out")
    items = _belong(collected.files, place, report)
    problems = []
    for method in methods:
        attempt = Report(failed=dict(report.failed))
        try:
            _Sending(s3, method, patience, say, growing).run(items, attempt)
            return attempt
        except Unavailable as exn:
            problems.append(f"{method.name}: {exn}")
            if len(methods) > len(problems):
                say(f"{method.name} cannot be used here ({exn}); trying another way")
    raise ConfigurationError(
        f"Files of {place.mount} cannot be sent to S3 ({'; '.join(problems)}); choose another way"
        f" with --method or {s.FSX_METHOD.env}."
    )


def choose_methods(
    settings: Settings, place: Place, fsx: Callable[[], Fsx], s3: S3, patience: Patience, say: Say
) -> list[Method]:
    """The ways that the setting ``[fsx_to_s3] method`` allows, in the order of preference.

    Raises
    ------
    UsageError
        The setting has no such value.
    ConfigurationError
        The way needs to know the file system.
    """
    asked = str(settings.get(s.FSX_METHOD)).lower()
    if asked not in METHODS:
        raise UsageError(
            f"[fsx_to_s3] method ({s.FSX_METHOD.env}, --method) should be one of"
            f" {', '.join(METHODS)}; correct it."
        )
    try:
        command = shlex.split(str(settings.get(s.FSX_LFS))) or ["lfs"]
    except ValueError:
        raise UsageError(
            f"[fsx_to_s3] lfs ({s.FSX_LFS.env}) has a quote without an end; correct it."
        ) from None
    if asked == "task" and not place.file_system:
        raise ConfigurationError(
            f"Export tasks need the id of the FSx for Lustre file system at {place.mount}; set"
            f" {s.FSX_FILE_SYSTEM.env}, or choose another way with --method."
        )
    methods: list[Method] = []
    if asked == "hsm" or (asked == "auto" and place.is_lustre and _is_there(command)):
        methods.append(Hsm(command, patience, say))
    if asked == "task" or (asked == "auto" and place.file_system):
        methods.append(ExportTasks(fsx(), s3, place, patience, say))
    if asked in ("upload", "auto"):
        methods.append(Upload(s3, patience, say))
    return methods


def _is_there(command: Sequence[str]) -> bool:
    return shutil.which(command[0]) is not None


def _belong(files: Iterable[SharedFile], place: Place, report: Report) -> list[Item]:
    items = []
    for file in files:
        uri = place.uri(file.relative)
        if uri is None:
            report.failed[file] = "no S3 location is linked to its directory"
        elif file.relative != file.relative.encode("utf-8", "replace").decode():
            report.failed[file] = "its name is not UTF-8, as S3 wants it; rename it"
        elif too_long([uri]):
            report.failed[file] = "its object's key would be longer than 1,024 bytes; rename it"
        else:
            items.append(Item(file, uri))
    return items


@dataclass
class _Sending:
    s3: S3
    method: Method
    patience: Patience
    say: Say
    growing: frozenset[Path]

    def run(self, items: list[Item], report: Report) -> None:
        refused = {item: why for item in items if (why := self.method.refusal(item))}
        report.failed.update((item.file, why) for item, why in refused.items())
        items = [item for item in items if item not in refused]
        known = self.method.archived(items)
        there = existing(self.s3, [item.uri for item in items])
        left: list[Item] = []
        for item in items:
            if self._is_done(item, there.get(item.uri), known):
                report.done[item.file] = item.uri
            else:
                left.append(item)
        self._warn(left, there)
        failures: dict[Item, str] = {}
        for attempt in range(ATTEMPTS):
            if not left:
                break
            if attempt:
                self.patience.sleep(PAUSES_S[attempt - 1])
            failures = self.method.send(left)
            failures = self._verify(left, failures, report)
            left = [item for item in left if item in failures]
        report.failed.update((item.file, why) for item, why in failures.items())

    def _is_done(self, item: Item, info: ObjectInfo | None, known: set[Item] | None) -> bool:
        if item.file.path in self.growing:
            return False
        if known is None:
            return is_same(item.file, info)
        return item in known and info is not None and info.size == item.file.size

    def _warn(self, left: list[Item], there: dict[S3Uri, ObjectInfo]) -> None:
        differing = [
            item
            for item in left
            if (info := there.get(item.uri)) is not None and not is_same(item.file, info)
        ]
        for item in differing[:WARNINGS_MOST]:
            self.say(
                f"warning: {shown(str(item.uri))} holds something else"
                f" ({there[item.uri].size:,} bytes) and is overwritten by {shown(item.file.path)}"
            )
        if len(differing) > WARNINGS_MOST:
            self.say(f"warning: {len(differing) - WARNINGS_MOST} more objects are overwritten")

    def _verify(
        self, sent: list[Item], failures: dict[Item, str], report: Report
    ) -> dict[Item, str]:
        """Those of what was sent that are not there after all, and why."""
        there = existing(self.s3, [item.uri for item in sent])
        problems: dict[Item, str] = {}
        for item in sent:
            info = there.get(item.uri)
            why = failures.get(item)
            if why is None:
                why = self._lack(item, info)
            elif is_same(item.file, info):
                why = None  # that it failed was not the last word
            elif info is not None and item.file.path in self.growing:
                why = None  # it went on changing meanwhile
            if why is None:
                report.done[item.file] = item.uri
                report.sent += 1
            else:
                problems[item] = why
        return problems

    def _lack(self, item: Item, info: ObjectInfo | None) -> str | None:
        if info is None:
            return f"{item.uri} is not there, or may not be looked at, though it was sent"
        if info.size != item.file.size and item.file.path not in self.growing:
            return f"{item.uri} has {info.size:,} bytes, the file has {item.file.size:,}"
        return None
