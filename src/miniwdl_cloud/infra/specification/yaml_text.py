"""CloudFormation templates as people write them: YAML with short functions, comments, and what
belongs together on one line.

Only what templates hold is written: mappings with text keys, lists, text, numbers, truth values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

WIDTH = 100
COMMENT = "#"
"""Key of a mapping whose text is written as a comment above it."""

_PLAIN = re.compile(r"[A-Za-z0-9/_.(][A-Za-z0-9_./:*();=+% -]*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n", "~"})
_NUMBER = re.compile(r"[-+]?[0-9][0-9_.:eE+-]*")


def mapping(value: Mapping[str, Any], indent: int = 0) -> list[str]:
    """The lines of a mapping.

    Parameters
    ----------
    value
        The mapping; not empty.
    indent
        Spaces before each line.
    """
    lines: list[str] = []
    for key, item in value.items():
        if key == COMMENT:
            continue
        if isinstance(item, Mapping) and COMMENT in item:
            lines += comment(item[COMMENT], indent)
        lines += _entry(f"{' ' * indent}{_text(key)}:", item, indent)
    return lines


def comment(text: str, indent: int) -> list[str]:
    """The lines of a comment.

    Parameters
    ----------
    text
        Its lines, without the number signs; they are not broken anew.
    indent
        Spaces before each line.
    """
    return [f"{' ' * indent}# {line}".rstrip() for line in text.strip().splitlines()]


def without_comments(value: Any) -> Any:
    """A part of a template without its comments."""
    if isinstance(value, Mapping):
        return {k: without_comments(v) for k, v in value.items() if k != COMMENT}
    if isinstance(value, list):
        return [without_comments(item) for item in value]
    return value


def _entry(head: str, item: Any, indent: int) -> list[str]:
    """What stands after a key or a dash."""
    short = None if head.lstrip() == "Properties:" else _inline(item)
    if short is not None and (len(head) + 1 + len(short) <= WIDTH or _is_word(item)):
        return [f"{head} {short}"]
    if isinstance(item, str):
        return _block(head, item, indent)
    tag, inner = _function(item)
    # Of a short function in a short function not every reader makes sense: the outer one is long.
    if tag and not isinstance(inner, Mapping):
        head = f"{head} {tag}"
        if isinstance(inner, str):
            return _block(head, inner, indent)
        item = inner
    if isinstance(item, list):
        return [head, *_items(item, indent + 2)]
    return [head, *mapping(item, indent + 2)]


def _is_word(value: Any) -> bool:
    """Whether a value is one text that cannot be broken."""
    tag, argument = _function(value)
    text = argument if tag else value
    return isinstance(text, str) and "\n" not in text and (bool(tag) or " " not in text)


def _items(items: list[Any], indent: int) -> list[str]:
    lines: list[str] = []
    dash = f"{' ' * indent}-"
    for item in items:
        if isinstance(item, Mapping) and COMMENT in item:
            lines += comment(item[COMMENT], indent)
        tag, _ = _function(item)
        short = _inline(item)
        if isinstance(item, Mapping) and not tag and (short is None or len(short) > WIDTH - 20):
            inner = mapping(item, indent + 2)
            lines += [f"{dash} {inner[0].lstrip()}", *inner[1:]]
        else:
            lines += _entry(dash, item, indent)
    return lines


def _block(head: str, text: str, indent: int) -> list[str]:
    """Text of several lines as it is; a long line broken between its words."""
    if "\n" in text:
        body = [f"{' ' * (indent + 2)}{line}".rstrip() for line in text.rstrip("\n").split("\n")]
        return [f"{head} |", *body]
    lines, line = [f"{head} >-"], " " * (indent + 1)
    for word in text.split(" "):
        if len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = " " * (indent + 1)
        line += f" {word}"
    return [*lines, line]


def _function(value: Any) -> tuple[str, Any]:
    """The short form of a function, and its argument; an empty form for anything else."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return "", None
    ((name, argument),) = value.items()
    if name == "Ref":
        return "!Ref", argument
    if not name.startswith("Fn::"):
        return "", None
    if name == "Fn::GetAtt":
        return "!GetAtt", ".".join(argument)
    return f"!{name[4:]}", argument


def _inline(value: Any, depth: int = 0) -> str | None:
    """A value in one line, if it reads well so."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return None if "\n" in value else _text(value)
    tag, argument = _function(value)
    if tag in ("!Join", "!Split") and depth == 0:
        return None
    if tag:
        inner = _inline(argument, depth + 1)
        return None if inner is None else f"{tag} {inner}"
    if isinstance(value, list):
        parts = [_inline(item, depth + 1) for item in value]
        if any(part is None or (part.startswith("{") and depth) for part in parts):
            return None
        if any(isinstance(item, Mapping) and not _function(item)[0] for item in value):
            return None
        text = f"[{', '.join(part for part in parts if part is not None)}]"
        return text if len(text) <= WIDTH - 20 else None
    if COMMENT in value or len(value) > 2 or depth > 3:
        return None
    parts = [_inline(item, depth + 1) for item in value.values()]
    if any(part is None or part.startswith("[") for part in parts):
        return None
    pairs = [f"{_text(key)}: {part}" for key, part in zip(value, parts, strict=True)]
    return f"{{ {', '.join(pairs)} }}"


def _text(text: str) -> str:
    """A text as a YAML scalar, good within brackets too."""
    plain = (
        _PLAIN.fullmatch(text)
        and not _NUMBER.fullmatch(text)
        and text.lower() not in _WORDS
        and ": " not in text
        and not text.endswith((":", " "))
    )
    return text if plain else json.dumps(text, ensure_ascii=False)
