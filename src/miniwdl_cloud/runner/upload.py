"""What a finished run leaves in S3: its log, what went wrong, its outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..aws.s3 import S3, S3Uri, parse_s3_uri
from ..errors import ConfigurationError
from ..transfer.pool import Stopped, upload_all
from ..transfer.progress import shown
from . import outputs
from .report import NAME as REPORT
from .signals import SignalRelay

LOGS = ("workflow.log", "task.log", REPORT)


def upload_folder(asked: str, run_dir: Path) -> S3Uri:
    """Where a run is uploaded to: into a location that ends in ``/``, else into a folder of the
    run's own name below it."""
    location = parse_s3_uri(asked)
    return location if asked.endswith("/") else (location / run_dir.name).folder()


def upload_account(s3: S3, run_dir: Path, folder: S3Uri) -> None:
    """Upload log and report and, of a failed run, ``error.json`` and what its command printed."""
    for name in LOGS:
        if (run_dir / name).is_file() and not (run_dir / name).is_symlink():
            s3.upload_file(run_dir / name, folder / name)
    try:
        account = json.loads((run_dir / "error.json").read_text())
    except FileNotFoundError:
        return
    except (ValueError, OSError) as exn:
        raise ConfigurationError(f"{run_dir}/error.json cannot be read: {exn}") from exn
    cause = account.get("cause") if isinstance(account, dict) else None
    if isinstance(cause, dict):
        for stream in ("stderr", "stdout"):
            path = _inside(run_dir, cause.get(f"{stream}_file"))
            if path:
                # The names of key and object are those that existing scripts look for.
                uri = folder / f"CommandFailed_{stream}.txt"
                s3.upload_file(path, uri)
                cause[f"{stream}_s3file"] = str(uri)
    s3.put_bytes(folder / "error.json", _json_bytes(account), "application/json")


def upload_outputs(
    s3: S3,
    run_dir: Path,
    root: Path,
    values: dict[str, Any],
    folder: S3Uri,
    relay: SignalRelay,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Upload the output files, and then ``outputs.json``, which says that all are there.

    Parameters
    ----------
    root
        miniwdl's ``[file_io] root``.
    values
        miniwdl's outputs, with local paths.
    relay
        A signal ends the upload early.
    say
        Writes a line into the log.

    Returns
    -------
    dict[str, Any]
        The outputs with ``s3://`` locations for local paths; also written to ``outputs.s3.json``.

    Raises
    ------
    MiniwdlCloudError
        Something could not be uploaded; there is no ``outputs.json`` then.
    Stopped
        A signal came.
    """
    try:
        tree = outputs.read_tree(run_dir, root)
        items = list(outputs.file_items(tree, folder))
        size = sum(path.stat().st_size for path, _ in items)
    except OSError as exn:
        raise ConfigurationError(f"The outputs of the run cannot be read: {exn}") from exn
    for message in tree.skipped:
        say(f"warning: {message}")
    say(f"uploading {len(items)} output files ({size / 1e6:.1f} MB)")
    with shown("uploading outputs", len(items), size) as progress:
        upload_all(s3, items, progress, relay.stop, waiting=relay.say_waiting)
    rewritten = outputs.rewrite(values, tree, folder)
    content = _json_bytes(rewritten)
    kept = run_dir / "outputs.s3.json"
    temporary = kept.with_name(kept.name + ".tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(kept)
    except OSError as exn:
        raise ConfigurationError(f"{kept} cannot be written: {exn.strerror}") from exn
    if relay.stop.is_set():
        raise Stopped
    relay.patiently(lambda: s3.put_bytes(folder / "outputs.json", content, "application/json"))
    say(f"uploaded {folder / 'outputs.json'}")
    return rewritten


def _inside(run_dir: Path, name: object) -> Path | None:
    """A file of the run, or ``None``: who changed error.json shall not choose what is uploaded."""
    if not isinstance(name, str):
        return None
    path = Path(name)
    if path.is_file() and path.resolve().is_relative_to(run_dir.resolve()):
        return path
    return None


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
