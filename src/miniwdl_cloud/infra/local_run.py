"""One workflow on an embedded AWS, from start to stop."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import local_cloud
from .local_cloud import LocalOptions, RunningLocalCloud
from .submitting import submit

if TYPE_CHECKING:
    from ..aws.s3 import S3Uri

OUTPUT_ROOT = "miniwdl_local_run"
"""Directory, below the current one, that runs are fetched into."""


def run(
    state: Path | None,
    options_for: Callable[[Path], LocalOptions],
    arguments: Sequence[str],
    faults: Mapping[str, Any] | None = None,
) -> int:
    """Run a workflow; logs and outputs end in ``./miniwdl_local_run/<run>/``.

    Parameters
    ----------
    state
        State directory; `None` for a temporary one, gone afterwards.
    options_for
        The options of the embedded AWS, given its state directory.
    arguments
        The WDL and further arguments of `miniwdl-aws-submit`.
    faults
        What is to go wrong; see docs/testing-failures.md.

    Returns
    -------
    int
        Exit code of `miniwdl run`.
    """
    with _state(state) as directory:
        was_running = local_cloud.find(directory) is not None
        try:
            running = local_cloud.up(directory, options_for(directory))
            if faults is not None:
                running.go_wrong(faults)
            return _submit_and_fetch(running, arguments)
        finally:
            if not was_running:
                local_cloud.down(directory)


@contextmanager
def _state(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    # Jobs that were killed may still be writing for a moment.
    with tempfile.TemporaryDirectory(prefix="miniwdl-local-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


def _submit_and_fetch(running: RunningLocalCloud, arguments: Sequence[str]) -> int:
    from ..aws.s3 import PROBE_NAME, S3, parse_s3_uri

    name = time.strftime("%Y%m%d_%H%M%S_") + secrets.token_hex(3)
    folder = parse_s3_uri(f"s3://{running.outputs['BucketName']}/runs/{name}/")
    command = [*arguments, "--follow", "--s3upload", str(folder)]
    code = submit(command, running.process_environment())
    target = Path(OUTPUT_ROOT, name).absolute()
    s3 = S3(running.session())
    places: dict[str, Path] = {}
    for item in s3.list_objects(folder):
        if item.uri.name == PROBE_NAME:
            continue
        path = target / item.uri.key[len(folder.key) :]
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(item.uri, path)
        places[str(item.uri)] = path
    if places:
        _show(target, folder, places)
    return code


def _show(target: Path, folder: S3Uri, places: dict[str, Path]) -> None:
    """Say where things are; outputs.local.json is outputs.json with local paths."""
    uploaded = target / "outputs.json"
    if uploaded.is_file():
        from rich.console import Console
        from rich.table import Table

        outputs = _localized(json.loads(uploaded.read_text()), places, str(folder), target)
        (target / "outputs.local.json").write_text(json.dumps(outputs, indent=2) + "\n")
        table = Table("output", "value", box=None)
        for key, value in outputs.items():
            table.add_row(key, value if isinstance(value, str) else json.dumps(value))
        # Wide enough that no path is broken: people copy them.
        Console(width=10_000).print(table, highlight=False)
    print(f"Logs and outputs are in {target}", file=sys.stderr, flush=True)


def _localized(value: Any, places: dict[str, Path], folder: str, target: Path) -> Any:
    if isinstance(value, dict):
        return {k: _localized(v, places, folder, target) for k, v in value.items()}
    if isinstance(value, list):
        return [_localized(v, places, folder, target) for v in value]
    if isinstance(value, str):
        if value in places:
            return str(places[value])
        inside = target / value[len(folder) :] if value.startswith(folder) else None
        if inside is not None and inside.is_dir():
            return str(inside)
    return value
