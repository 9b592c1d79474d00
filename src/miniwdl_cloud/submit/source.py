"""The WDL source code and the inputs of a run, as they leave this machine."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .filesystem import is_under
from .run_args import RunArguments
from .staging import LocalInputs

INPUT_OPTIONS = ("-i", "--input")
CHECKED_JSON_MAX = 262144
"""Characters of inputs JSON up to which it is checked against the WDL before submission. miniwdl
reads it with a YAML parser in Python, which takes its time; the workflow job checks it anyway."""
DEFAULT_INPUTS_NAME = "default_input.json"
# Zip files know no time before this; a fixed one makes equal archives of equal contents.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)

Change = Callable[[str, str, bool], str]
"""(input name, path, whether a directory) -> new path"""


@dataclass(frozen=True)
class Run:
    """What to run: `miniwdl run` arguments, and what they need.

    Parameters
    ----------
    arguments
        As given, apart from changed paths.
    wdl_path
        Local WDL file or archive to ship, or ``None`` where the workflow job finds it itself.
    document
        The loaded WDL document, if it is at hand.
    inputs
        Content of the inputs file or of the archive's default inputs, if it is at hand.
    inputs_given
        Whether ``inputs`` are given by option; if not they are the archive's own.
    """

    arguments: RunArguments
    wdl_path: Path | None
    document: Any | None
    inputs: Mapping[str, Any] | None
    inputs_given: bool

    @property
    def task(self) -> str | None:
        """The task that is to run instead of the workflow."""
        return self.arguments.value("--task")


def read(arguments: RunArguments, mount: str) -> Run:
    """Find out what the arguments say to run; loads and checks local WDL.

    Parameters
    ----------
    arguments
        Of `miniwdl run`.
    mount
        Mount point of the shared filesystem.

    Raises
    ------
    UsageError
        There is no WDL, a file does not exist or is out of the workflow job's sight, or a task's
        settings are wrong.
    RejectedWdl
        miniwdl does not accept the WDL or the inputs.
    """
    wdl = arguments.wdl
    if wdl is None:
        raise UsageError("No WDL file is named; name one, or use --self-test.")
    arguments = _inline_runtime_defaults(arguments, mount)
    inputs, passes_on = _read_inputs(arguments.value(*INPUT_OPTIONS), mount)
    given = inputs is not None
    path = _local(wdl, mount)
    if path is None:
        on_mount = "://" not in wdl
        arguments = arguments.with_wdl(os.path.abspath(wdl)) if on_mount else arguments  # noqa: PTH100
        return Run(arguments, None, None, inputs, given)
    if path.is_dir():
        raise UsageError(f"{wdl} is a directory; name a WDL file, or one that `miniwdl zip` made.")
    if not path.is_file():
        raise UsageError(
            f"The WDL file {wdl} does not exist on this machine and is not under {mount}; correct"
            " the path."
        )
    if path.suffix == ".zip":
        document, own_inputs = _load_archive(path, arguments)
        if not given and not passes_on:
            inputs = own_inputs
    else:
        document = _load(str(path), arguments)
    run = Run(arguments, path, document, inputs, given)
    _check_task_settings(run)
    if not passes_on:
        _check(run)
    return run


def change_paths(run: Run, change: Change) -> Run:
    """The same run with the paths of its File and Directory inputs changed.

    Where the WDL is not at hand and no types are known, a text counts as a path if it has a ``/``
    or a ``.`` and names something that exists.
    """
    if run.document is None:
        return _replace(run, _change_untyped_pair, _change_untyped, change)
    from .. import miniwdl_compat as compat

    types = compat.input_types(run.document, run.task)
    namespace = compat.target_name(run.document, run.task) + "."

    def change_pair(name: str, text: str) -> str:
        ty = types.get(name)
        if compat.is_compound(ty):
            try:
                value = json.loads(text)
            except ValueError:
                return text
            changed = compat.change_paths(ty, value, lambda p, d: change(name, p, d))
            return text if changed == value else json.dumps(changed)
        item = compat.array_item(ty)
        return str(compat.change_paths(item, text, lambda p, d: change(name, _home(p), d)))

    def change_value(name: str, value: Any) -> Any:
        ty = types.get(name.removeprefix(namespace)) or types.get(name)
        return compat.change_paths(ty, value, lambda p, d: change(name, p, d))

    return _replace(
        run, lambda n, t, _: change_pair(n, t), lambda n, v, _: change_value(n, v), change
    )


def stage_inputs(run: Run, local: LocalInputs, uris: Mapping[str, str]) -> Run:
    """The same run with URIs in place of local paths (and absolute paths on the mount)."""

    def change(name: str, text: str, directory: bool) -> str:
        if "://" in text or not text:
            return text
        path = local.absolute(text)
        return os.path.abspath(text) if path is None else uris.get(path, text)  # noqa: PTH100

    return change_paths(run, change)


def note_inputs(run: Run, local: LocalInputs) -> None:
    """Note the local files and directories among a run's inputs."""

    def note(name: str, text: str, directory: bool) -> str:
        local.note(name, text, directory)
        return text

    change_paths(run, note)


def archive(run: Run, original: Run) -> bytes:
    """The archive to ship: WDL with all it imports, and the inputs file if there is one.

    Parameters
    ----------
    run
        With a ``wdl_path``.
    original
        The same before `stage_inputs`.
    """
    from .. import miniwdl_compat as compat

    path = run.wdl_path
    assert path is not None
    if path.suffix == ".zip":
        if not run.inputs_given and run.inputs == original.inputs:
            return path.read_bytes()
        return _with_default_inputs(path, run.inputs or {})
    with tempfile.TemporaryDirectory(prefix="miniwdl_cloud_") as directory:
        made = Path(directory) / "source.zip"
        compat.build_archive(run.document, made, run.inputs)
        return made.read_bytes()


def _load(path: str, arguments: RunArguments) -> Any:
    from .. import miniwdl_compat as compat

    return compat.load_document(
        path,
        arguments.values("-p", "--path"),
        check_quant=not arguments.has("--no-quant-check"),
        outside_imports=not arguments.has("--no-outside-imports"),
    )


def _load_archive(path: Path, arguments: RunArguments) -> tuple[Any, Mapping[str, Any] | None]:
    from .. import miniwdl_compat as compat

    with compat.opened_archive(path) as (main_wdl, input_file):
        inputs = None
        if input_file:
            inputs = _mapping(Path(input_file).read_text(encoding="utf-8"), f"{path}'s inputs")
        return _load(main_wdl, arguments), inputs


def _check(run: Run) -> None:
    from .. import miniwdl_compat as compat

    if run.inputs is None or len(json.dumps(run.inputs)) <= CHECKED_JSON_MAX:
        compat.check_inputs(
            run.document,
            run.task,
            run.arguments.pairs,
            run.inputs,
            run.arguments.values("--empty"),
            run.arguments.values("--none"),
        )


def _check_task_settings(run: Run) -> None:
    from ..engines.task_source import Policy, check_source
    from ..engines.wdl_source import target_tasks

    for task in target_tasks(run.document, run.task):
        check_source(task, Policy())


def _read_inputs(value: str | None, mount: str) -> tuple[Mapping[str, Any] | None, bool]:
    # the inputs, and whether their file is the workflow job's to read
    if value is None or not value.strip():
        return None, False
    value = value.strip()
    if value.startswith("{"):
        return _mapping(value, "the inputs"), False
    if value == "-":
        return _mapping(sys.stdin.read(), "the inputs"), False
    path = _local(value, mount)
    if path is None:
        return None, True
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exn:
        raise UsageError(
            f"The inputs file {value} cannot be read ({getattr(exn, 'strerror', 'not UTF-8')}) and"
            f" is not under {mount}; correct the path."
        ) from exn
    return _mapping(text, value), False


def _mapping(text: str, called: str) -> Mapping[str, Any]:
    from .. import miniwdl_compat as compat

    value = compat.read_input_json(text)
    if not isinstance(value, dict):
        raise UsageError(f"{called} should be a JSON object of input names and values; correct it.")
    # YAML also has what JSON has not (dates, sets); miniwdl takes texts for those.
    return dict(json.loads(json.dumps(value, default=str)))


def _inline_runtime_defaults(arguments: RunArguments, mount: str) -> RunArguments:
    # The workflow job sees no file of this machine, but miniwdl takes the JSON itself as well.
    value = arguments.value("--runtime-defaults")
    cfg = arguments.value("--cfg")
    if cfg and (path := _local(cfg, mount)) is not None and path.is_file():
        raise UsageError(
            f"--cfg names {cfg} on this machine, where the workflow job cannot see it; put it under"
            f" {mount}, or set what it says by MINIWDL__* environment variables."
        )
    if not value or value.lstrip().startswith("{"):
        return arguments
    path = _local(value, mount)
    if path is None or not path.is_file():
        return arguments
    try:
        text = json.dumps(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as exn:
        raise UsageError(f"--runtime-defaults {value} is not JSON ({exn}); correct it.") from exn
    return arguments.with_option(["--runtime-defaults"], text)


def _local(text: str, mount: str) -> Path | None:
    if "://" in text:
        return None
    path = os.path.abspath(text)  # noqa: PTH100 (Path.absolute keeps "..")
    return None if is_under(path, mount) else Path(path)


def _home(text: str) -> str:
    return os.path.expanduser(text) if text.startswith("~") else text  # noqa: PTH111


def _replace(
    run: Run,
    change_pair: Callable[[str, str, Change], str],
    change_value: Callable[[str, Any, Change], Any],
    change: Change,
) -> Run:
    pairs = []
    for pair in run.arguments.pairs:
        name, equals, text = pair.partition("=")
        pairs.append(f"{name}={change_pair(name, text, change)}" if equals else pair)
    inputs = run.inputs
    if inputs is not None:
        inputs = {name: change_value(name, value, change) for name, value in inputs.items()}
    arguments = run.arguments.with_pairs(pairs) if pairs != run.arguments.pairs else run.arguments
    return Run(arguments, run.wdl_path, run.document, inputs, run.inputs_given)


def _change_untyped_pair(name: str, text: str, change: Change) -> str:
    return str(_change_untyped(name, text, change))


def _change_untyped(name: str, value: Any, change: Change) -> Any:
    if isinstance(value, str):
        looks_like_one = ("/" in value or "." in value) and "\0" not in value
        if looks_like_one and "://" not in value:
            with contextlib.suppress(OSError):  # a text too long for a file name
                if Path(value).is_file() or Path(value).is_dir():
                    return change(name, value, Path(value).is_dir())
        return value
    if isinstance(value, list):
        return [_change_untyped(name, item, change) for item in value]
    if isinstance(value, dict):
        return {key: _change_untyped(name, item, change) for key, item in value.items()}
    return value


def _with_default_inputs(path: Path, inputs: Mapping[str, Any]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w") as new:
        manifest = json.loads(old.read("MANIFEST.json"))
        manifest["inputFileURLs"] = [DEFAULT_INPUTS_NAME]
        for name in sorted(old.namelist()):
            if name not in ("MANIFEST.json", DEFAULT_INPUTS_NAME) and not name.endswith("/"):
                new.writestr(zipfile.ZipInfo(name, _ZIP_EPOCH), old.read(name))
        for name, content in (("MANIFEST.json", manifest), (DEFAULT_INPUTS_NAME, inputs)):
            new.writestr(zipfile.ZipInfo(name, _ZIP_EPOCH), json.dumps(content))
    return made.getvalue()
