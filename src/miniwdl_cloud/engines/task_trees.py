"""Directory inputs, rebuilt as trees of their own."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UsageError
from ..filesystems.weather import retried

LINKS_MOST = 1000
"""Files of a Directory up to which it is rebuilt from hard links, at one call of the filesystem
each; a larger one is mounted itself where that is possible."""


@dataclass
class Tree:
    """What a directory holds; all paths relative to it.

    Parameters
    ----------
    top
        Its real path.
    directories
        Those below it, outer ones first.
    files
        Regular files.
    links
        Symbolic links, with the relative paths that lead to the same places inside. What is neither
        of these (named pipes, devices) is left out.
    """

    top: Path
    directories: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    links: dict[Path, str] = field(default_factory=dict)

    def rebuild(self, place: Path, provide: Callable[[str, str], object]) -> None:
        """Make the tree anew somewhere.

        Parameters
        ----------
        place
            Where; may be there already.
        provide
            Makes a file (second path) of the original (first path).

        Raises
        ------
        OSError
            As `provide` does.
        """
        for path in (Path(), *self.directories):
            make = functools.partial((place / path).mkdir, parents=True, exist_ok=True)
            retried(make, place)
        for path in self.files:
            source, target = str(self.top / path), str(place / path)
            retried(functools.partial(anew, provide, source, target), place)
        for path, text in self.links.items():
            retried(functools.partial(anew, os.symlink, text, str(place / path)), place)


def anew(make: Callable[[str, str], object], source: str, target: str) -> None:
    """Make a file of another, in place of one that may be there."""
    try:
        make(source, target)
    except FileExistsError:
        # An earlier try that failed for nothing but its answer, or a Directory within another.
        Path(target).unlink()
        make(source, target)


def read_tree(directory: str) -> Tree:
    """Read what a directory holds.

    Raises
    ------
    UsageError
        A link in it leads out of it: a task could have made it, to lead the next one astray.
    """
    tree = Tree(Path(os.path.realpath(directory)))
    _read(tree, tree.top)
    return tree


def link_out_of(directory: str) -> str | None:
    """A link in a directory that leads out of it, by its relative path, if there is one."""
    top = os.path.realpath(directory)
    for parent, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = Path(parent) / name
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(top):
                return str(path.relative_to(top))
    return None


def _read(tree: Tree, directory: Path) -> None:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        path = Path(entry.path)
        name = path.relative_to(tree.top)
        if entry.is_symlink():
            real = Path(os.path.realpath(path))
            if not real.is_relative_to(tree.top):
                raise UsageError(
                    f"The Directory input {tree.top} has a link, {name}, that leads out of it,"
                    " which an isolated task does not follow; put there what it leads to."
                )
            tree.links[name] = os.path.relpath(real, directory)
        elif entry.is_dir():
            tree.directories.append(name)
            _read(tree, path)
        elif entry.is_file():
            tree.files.append(name)
