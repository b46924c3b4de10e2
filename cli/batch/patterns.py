"""Patterns of --include and --exclude.

`*` and `?` stand for characters of one name, `**` for any folders, `[a-z]` for one character. A pattern without `/`
matches the name of a file or folder anywhere; one with `/` matches the path below SRC. Case counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vqcodec.errors import UsageError

TOKEN = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
"""Part of a pattern: wildcard, set of characters, or one character."""


class Filter:
    """Selection of files: those below or equal to a match of `include` (all if empty), and not of `exclude`."""

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self._include = [_expression(pattern) for pattern in include]
        self._exclude = [_expression(pattern) for pattern in exclude]

    def excludes(self, name: str) -> bool:
        """True if the file or folder `name`, relative to SRC, matches a pattern of `exclude`."""
        return any(expression.match(name) for expression in self._exclude)

    def includes(self, name: str) -> bool:
        """True if the file `name` or a folder that it lies in matches a pattern of `include`."""
        parts = name.split("/")
        paths = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        return not self._include or any(one.match(path) for one in self._include for path in paths)


ALL = Filter()
"""Selection of every file."""


def _expression(pattern: str) -> re.Pattern[str]:
    """Regular expression of a pattern. Raises UsageError."""
    parts = [part for part in pattern.split("/") if part]
    folders = "" if "/" in pattern.rstrip("/") else "(?:.*/)?"
    for part in parts[:-1]:
        folders += "(?:.*/)?" if part == "**" else _name(part) + "/"
    last = ".+" if parts[-1:] == ["**"] else _name("".join(parts[-1:]))
    try:
        return re.compile(folders + last + r"\Z", re.DOTALL)
    except re.error as error:
        raise UsageError(f"pattern {pattern}: {error}") from error


def _name(part: str) -> str:
    """Regular expression of one name in a pattern."""
    out = ""
    for token in TOKEN.findall(part):
        if token[0] in "*?":
            out += "[^/]" + "*" * (token[0] == "*")
        elif len(token) > 1:
            out += token.replace("\\", r"\\").replace("[!", "[^", 1)
        else:
            out += re.escape(token)
    return out
