"""What the embedded FSx holds: file systems, associations, tasks."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..batch.models import ACCOUNT_ID

UNFINISHED = ("PENDING", "EXECUTING", "CANCELING")


@dataclass
class FileSystem:
    """A file system; ``directory`` stands for its content, ``exported`` remembers what was."""

    detail: dict[str, Any]
    directory: Path
    version: str
    exported: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """``fs-…``"""
        return str(self.detail["FileSystemId"])

    @property
    def lustre(self) -> dict[str, Any]:
        """Its LustreConfiguration."""
        return dict(self.detail.get("LustreConfiguration") or {})


@dataclass
class Task:
    """A data repository task and the thread that works on it."""

    detail: dict[str, Any]
    cancelled: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    @property
    def is_unfinished(self) -> bool:
        """Whether it is still to end."""
        return self.detail["Lifecycle"] in UNFINISHED


@dataclass(frozen=True)
class Link:
    """A directory of a file system and the S3 location that it is linked to.

    Parameters
    ----------
    path
        Relative to the file system's root; empty for the root itself.
    bucket, prefix
        The location; the prefix is empty or ends in ``/``.
    """

    path: str
    bucket: str
    prefix: str

    def key(self, relative: str) -> str | None:
        """The key of a file of the file system, or ``None`` where this link does not reach."""
        if not self.path:
            return self.prefix + relative
        if relative == self.path or relative.startswith(self.path + "/"):
            return self.prefix + relative[len(self.path) :].lstrip("/")
        return None


def link_to(path: str, location: str) -> Link:
    """A link of a path in the file system (``/ns1/``) and an ``s3://`` location."""
    bucket, _, prefix = location[len("s3://") :].partition("/")
    prefix = prefix.strip("/")
    return Link(path.strip("/"), bucket, f"{prefix}/" if prefix else "")


class Store:
    """Everything, read and changed under ``lock``."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.lock = threading.RLock()
        self.file_systems: dict[str, FileSystem] = {}
        self.associations: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, Task] = {}
        # Client request tokens: the request that each came with, and what was made.
        self.tokens: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def arn(self, kind: str, name: str) -> str:
        """The ARN of an FSx resource."""
        return f"arn:aws:fsx:{self.region}:{ACCOUNT_ID}:{kind}/{name}"

    def links(self, file_system: FileSystem) -> list[Link]:
        """The S3 links of a file system that work."""
        repository = file_system.lustre.get("DataRepositoryConfiguration")
        if repository:
            return [link_to("/", repository["ExportPath"])]
        return [
            link_to(item["FileSystemPath"], item["DataRepositoryPath"])
            for item in self.associations.values()
            if item["FileSystemId"] == file_system.id and item["Lifecycle"] == "AVAILABLE"
        ]


def now() -> float:
    """Seconds since the epoch, as JSON 1.1 has timestamps."""
    return round(time.time(), 3)
