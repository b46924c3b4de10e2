"""Messages: text for people on stderr, requested text and JSON on stdout."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqcodec.errors import LossError, VqcError
from vqcodec.remote import url_of

from . import streams

STDIO = Path("-")
"""The path that means stdin or stdout."""


def name_of(source: Path) -> str:
    """The name of an input in messages."""
    return "<stdin>" if source == STDIO else path_text(source)


def path_text(path: Path) -> str:
    """A path as it was given: that of a URL with both slashes."""
    return url_of(path) or str(path)


@contextmanager
def naming(source: Path) -> Iterator[None]:
    """Errors raised inside begin with the name of `source`, once; class and exit code stay."""
    name = name_of(source)
    try:
        yield
    except VqcError as error:
        if str(error).startswith(f"{name}:"):
            raise
        raise type(error)(f"{name}: {error}") from error


def clean(text: str) -> str:
    """`text` with control, format and line separating characters escaped: no file name controls the terminal."""
    return "".join(c.encode("unicode_escape").decode() if is_control(c) else c for c in text)


def is_control(character: str) -> bool:
    """True for control and format characters, lone surrogates, unassigned ones, and separators of lines."""
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")


def say(message: str) -> None:
    """Print one line for people on stderr."""
    streams.to_stderr(clean(message))


def warn(source: Path, warnings: Sequence[str]) -> None:
    """Print one line on stderr for each of the `warnings` about `source`."""
    for text in warnings:
        say(f"warning: {name_of(source)}: {text}")


def refuse_losses(warnings: Sequence[str], strict: bool) -> None:
    """Raise LossError for any of `warnings` if `strict`; the file that would lose something is not written."""
    if strict and warnings:
        raise LossError(f"{'; '.join(warnings)} (an error by --strict)")


def print_line(text: str) -> None:
    """Print one line of requested text on stdout."""
    streams.to_stdout(clean(text))


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on one line of stdout."""
    streams.to_stdout(json.dumps(record))
