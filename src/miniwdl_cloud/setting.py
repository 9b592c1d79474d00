"""What one setting is, how its text becomes a value, and how sources rank."""

from __future__ import annotations

import configparser
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .errors import UsageError

Source = Callable[[str, str], "str | None"]
"""Looks up (section, key); ``None`` where this source does not say."""

Ranked = TypeVar("Ranked", bound="RankedSources")


@dataclass(frozen=True)
class Setting:
    """One setting.

    Parameters
    ----------
    section, key
        Its place in miniwdl's .cfg file; the environment form follows from them.
    help
        What it means, with units.
    kind
        ``str``, ``int``, ``float``, ``bool`` or ``json`` (a JSON object).
    default
        Built-in default, in its final type.
    tag
        Tag on the workflow job queue that provides it, if one does.
    aliases
        Older spellings of the key.
    """

    section: str
    key: str
    help: str
    kind: str = "str"
    default: Any = None
    tag: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def env(self) -> str:
        """The name of its environment variable."""
        return env_name(self.section, self.key)


def env_name(section: str, key: str) -> str:
    """The environment variable that miniwdl reads for ``[section] key``."""
    return f"MINIWDL__{section}__{key}".upper()


def parse(setting: Setting, text: str) -> Any:
    """Parse the text of a setting.

    Raises
    ------
    UsageError
        The text does not have the setting's type.
    """
    text = text.strip()
    try:
        if setting.kind == "int":
            return int(text)
        if setting.kind == "float":
            return float(text)
        if setting.kind == "bool":
            return _parse_bool(text)
        if setting.kind == "json":
            value = json.loads(text)
            if not isinstance(value, dict):
                raise ValueError("not a JSON object")
            return value
    except ValueError:
        raise UsageError(
            f"Setting [{setting.section}] {setting.key} ({setting.env}) should be"
            f" {_KIND_NAMES[setting.kind]}; correct it."
        ) from None
    return text


_KIND_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "json": "a JSON object",
}


def _parse_bool(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "t", "yes", "y", "1"):
        return True
    if is_false(lowered):
        return False
    raise ValueError(text)


def names(text: str | None) -> tuple[str, ...]:
    """The names in a text, with blanks or commas between them, each once."""
    return tuple(dict.fromkeys((text or "").replace(",", " ").split()))


def is_false(text: str) -> bool:
    """Whether a text is one of the spellings of false."""
    return text.strip().lower() in ("false", "f", "no", "n", "0")


class RankedSources:
    """Looks settings up in ranked sources.

    Parameters
    ----------
    sources
        Highest rank first. An empty string counts as "does not say".
    """

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    def get(self, setting: Setting) -> Any:
        """The value of a setting in its type, or its default.

        Raises
        ------
        UsageError
            The value does not have the setting's type.
        """
        for source in self._sources:
            for key in (setting.key, *setting.aliases):
                text = source(setting.section, key)
                if text is not None and text.strip() != "":
                    return parse(setting, text)
        return setting.default

    def with_source(self: Ranked, source: Source) -> Ranked:
        """The same, with one more source below all others."""
        return type(self)(*self._sources, source)


def read_environment_file(path: Path) -> dict[str, str]:
    """The variables of a systemd environment file; none if it is not there, or may not be read."""
    values: dict[str, str] = {}
    try:
        lines = path.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            values[name.strip()] = value.strip().strip("\"'")
    return values


def read_cfg(files: list[Path]) -> Source:
    """Settings from the first of these .cfg files that exists, read without importing miniwdl.

    Raises
    ------
    UsageError
        The file is not a valid .cfg file.
    """
    parser = configparser.ConfigParser(interpolation=None)
    for path in files:
        if path.is_file():
            try:
                parser.read(path)
            except configparser.Error as exn:
                raise UsageError(f"{path} is not a valid configuration file: {exn}") from None
            break
    return lambda section, key: parser.get(section, key, fallback=None)


def mapping_source(values: Mapping[tuple[str, str], str | None]) -> Source:
    """Settings from a mapping of (section, key), as made from command line options."""
    return lambda section, key: values.get((section, key))
