"""The output files of a finished run: which are to be uploaded, and where each ends up.

miniwdl leaves, below the run's ``out/``, a directory for each output, with a link to each output
File or Directory. A link there is miniwdl's own. What is inside a Directory was made by a task,
which can link to anything that this process can read, its credentials included; so links in there
are followed only as long as they stay inside.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..aws.s3 import S3Uri
from ..errors import ConfigurationError

RESERVED = frozenset({"outputs.json", "error.json", "workflow.log", "task.log"})
"""Names in the upload folder that are not output files."""


@dataclass
class OutputTree:
    """What ``out/`` holds.

    Parameters
    ----------
    out
        The directory.
    files
        Paths of files below it, relative to it.
    links
        Paths of the links that stand for an output each, relative, with what they really name.
    directories
        Those of them that stand for a Directory.
    skipped
        Messages about what is not an output though it is there.
    """

    out: Path
    files: list[str] = field(default_factory=list)
    links: dict[str, Path] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    skipped: list[str] = field(default_factory=list)


def read_tree(run_dir: Path, root: Path) -> OutputTree:
    """Find the output files of a run.

    Parameters
    ----------
    run_dir
        Its directory.
    root
        miniwdl's ``[file_io] root``: a link to something outside is no output.

    Raises
    ------
    ConfigurationError
        An output file has vanished, or has a name that cannot be uploaded.
    """
    tree = OutputTree(run_dir / "out")
    if tree.out.is_dir() and not tree.out.is_symlink():
        _read_made_by_miniwdl(tree, tree.out, root.resolve())
    for name in tree.files:
        if name in RESERVED:
            raise ConfigurationError(
                f"The output file '{name}' has the name of one of the run's own files in the upload"
                " folder; rename it, or leave [file_io] use_relative_output_paths off."
            )
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ConfigurationError(
                f"The output file {name!r} has a name that is not UTF-8, as S3 wants it; rename it."
            ) from None
    tree.files.sort()
    return tree


def _read_made_by_miniwdl(tree: OutputTree, directory: Path, root: Path) -> None:
    for path in sorted(directory.iterdir()):
        name = str(path.relative_to(tree.out))
        if not path.is_symlink():
            # [file_io] output_hardlinks makes real directories and files. miniwdl marks where a
            # Directory output is.
            if path.is_dir() and (directory / ".WDL_Directory").exists():
                real = tree.links[name] = path.resolve()
                tree.directories.add(name)
                _read_made_by_task(tree, path, real, (real,))
            elif path.is_dir():
                _read_made_by_miniwdl(tree, path, root)
            elif _is_regular(tree, path):
                tree.files.append(name)
                tree.links[name] = path.resolve()
            continue
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):
            raise ConfigurationError(
                f"The output '{name}' is missing: {path} leads nowhere; were files of the run"
                " removed?"
            ) from None
        if not real.is_relative_to(root):
            tree.skipped.append(f"'{name}' leads out of {root} and is not uploaded")
        elif real.is_dir():
            tree.links[name] = real
            tree.directories.add(name)
            _read_made_by_task(tree, path, real, (real,))
        elif _is_regular(tree, path):
            tree.links[name] = real
            tree.files.append(name)


def _read_made_by_task(
    tree: OutputTree, directory: Path, top: Path, inside: tuple[Path, ...]
) -> None:
    """Read a directory in a Directory output.

    Parameters
    ----------
    directory
        Its path below ``out/``.
    top
        The Directory output's real path.
    inside
        Real paths of this directory and those above it, up to the top.
    """
    for path in sorted(directory.iterdir()):
        name = path.relative_to(tree.out)
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):
            tree.skipped.append(f"'{name}' leads nowhere and is not uploaded")
            continue
        if not real.is_relative_to(top):
            tree.skipped.append(f"'{name}' leads out of its Directory and is not uploaded")
        elif real.is_dir():
            if real in inside:
                tree.skipped.append(f"'{name}' leads back to where it is and is not uploaded")
            else:
                _read_made_by_task(tree, path, top, (*inside, real))
        elif _is_regular(tree, path):
            tree.files.append(str(name))


def _is_regular(tree: OutputTree, path: Path) -> bool:
    if stat.S_ISREG(path.stat().st_mode):
        return True
    # Opening a named pipe would wait for ever.
    tree.skipped.append(f"'{path.relative_to(tree.out)}' is no regular file and is not uploaded")
    return False


def rewrite(outputs: dict[str, Any], tree: OutputTree, folder: S3Uri) -> dict[str, Any]:
    """miniwdl's outputs with each File and Directory replaced by where it has been uploaded.

    Parameters
    ----------
    outputs
        JSON values by ``workflow.output`` name.
    tree
        The run's output files.
    folder
        Where ``out/`` was uploaded to.
    """
    places: dict[str, list[str]] = {}
    for name, real in tree.links.items():
        places.setdefault(str(real), []).append(name)
    uploaded = tree.directories.union(tree.files)

    def place(path: str, output: str) -> str | None:
        """The relative path in ``out/`` of a File or Directory."""
        if path.startswith(f"{tree.out}/"):
            name = path[len(str(tree.out)) + 1 :]
            return name if name in uploaded else None
        # From the call cache: the path is in another run's directory, and a link in ours leads to
        # the same place. The output's own link is preferred; all have the same content.
        # Mostly its path is its real one already, and of thousands each look would count.
        found = places.get(path) or places.get(str(Path(path).resolve())) or []
        names = [name for name in found if name in uploaded]
        own = [name for name in names if name.split("/")[0] == output]
        return next(iter(own + names), None)

    def change(value: Any, output: str) -> Any:
        if isinstance(value, str) and value.startswith("/"):
            name = place(value.rstrip("/"), output)
            return str(folder / name) if name else value
        if isinstance(value, list):
            return [change(item, output) for item in value]
        if isinstance(value, dict):
            # A key of a Map can be a File.
            return {change(key, output): change(item, output) for key, item in value.items()}
        return value

    return {name: change(value, name.rpartition(".")[2]) for name, value in outputs.items()}


def file_items(tree: OutputTree, folder: S3Uri) -> Iterator[tuple[Path, S3Uri]]:
    """Pairs of each output file and where it goes."""
    for name in tree.files:
        yield tree.out / name, folder / name
