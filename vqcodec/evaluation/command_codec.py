"""A codec given as a pair of shell commands, one that encodes a PNG file and one that decodes the result to a picture.

    NAME=ENCODE => DECODE
    cjxl=cjxl {in} {out.jxl} -q {q:10,30,50,70,90} => djxl {in} {out}

`{in}` and `{out}` are paths; `{out.jxl}` has that suffix. `{q:...}` lists the settings, one file each; without it the
codec has one file for each picture. In the decoding command `{in}` is the encoded file, and `{out}` ends in .png.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError, UsageError
from ..image.files import read_pixels
from ..metrics import Pixels

TIMEOUT_S = 900
"""Seconds after which a command is ended."""
EXAMPLE = "cjxl=cjxl {in} {out.jxl} -q {q:10,50,90} => djxl {in} {out}"
PLACEHOLDER = re.compile(r"\{(in|out)(\.[A-Za-z0-9]+)?\}")
SETTINGS = re.compile(r"\{q:([^{}]*)\}")


@dataclass(frozen=True)
class CommandCodec:
    """A codec that is run by the shell; every setting is tried, since file sizes need not rise with it."""

    name: str
    encode_command: str
    """With {in}, {out} and {q}."""
    decode_command: str
    """With {in} and {out}."""
    settings: tuple[float, ...]
    """Values of {q}; (0,) without it."""
    max_side_px: int = 2**31
    monotone: bool = False
    timed: bool = True
    mime: str = ""

    @classmethod
    def parse(cls, text: str) -> CommandCodec:
        """The codec of `NAME=ENCODE => DECODE`. Raises UsageError."""
        name, equals, commands = text.partition("=")
        encode, arrow, decode = commands.partition("=>")
        name = name.strip()
        if not (equals and arrow and re.fullmatch(r"[\w.+-]+", name)):
            raise UsageError(f"{text}: write NAME=ENCODE => DECODE, for example '{EXAMPLE}'")
        for title, command in (("encode", encode), ("decode", decode)):
            if {match[1] for match in PLACEHOLDER.finditer(command)} != {"in", "out"}:
                raise UsageError(f"{name}: the command to {title} needs {{in}} and {{out}}: {command.strip()}")
        lists = SETTINGS.findall(encode)
        if len(lists) > 1 or SETTINGS.search(decode):
            raise UsageError(f"{name}: {{q:...}} belongs into the command to encode, once")
        try:
            values = [float(value) for value in lists[0].split(",")] if lists else [0.0]
        except ValueError:
            raise UsageError(f"{name}: {{q:{lists[0]}}} is not a list of numbers such as {{q:10,50,90}}") from None
        settings = tuple(dict.fromkeys(int(value) if value.is_integer() else value for value in values))
        return cls(name, SETTINGS.sub("{q}", encode.strip()), decode.strip(), settings)

    def for_picture(self, name: str) -> CommandCodec:
        """Itself: the commands are the same for every picture."""
        return self

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """uint8 [H, W, 3] -> one complete file. Raises InputError if the command fails."""
        with tempfile.TemporaryDirectory(prefix="vqcodec-eval-") as folder:
            source = Path(folder, "in.png")
            Image.fromarray(pixels).save(source, compress_level=1)
            return self._run("encode", self.encode_command.replace("{q}", f"{setting:g}"), source, "").read_bytes()

    def decode(self, data: bytes) -> Pixels:
        """One complete file -> uint8 [H, W, 3]. Raises InputError if the command fails."""
        suffix = next((m[2] or "" for m in PLACEHOLDER.finditer(self.encode_command) if m[1] == "out"), "")
        with tempfile.TemporaryDirectory(prefix="vqcodec-eval-") as folder:
            source = Path(folder, "in" + suffix)
            source.write_bytes(data)
            return np.array(read_pixels(self._run("decode", self.decode_command, source, ".png"), None))

    def _run(self, title: str, command: str, source: Path, suffix: str) -> Path:
        """Run `command` on `source`; returns its output, which exists. Raises InputError."""
        match = next(m for m in PLACEHOLDER.finditer(command) if m[1] == "out")
        target = source.parent / ("out" + (match[2] or suffix))
        paths = {"in": source, "out": target}
        line = PLACEHOLDER.sub(lambda m: shlex.quote(str(paths[m[1]])), command)
        try:
            run = subprocess.run(line, shell=True, capture_output=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise InputError(f"{self.name}: the command to {title} took more than {TIMEOUT_S} s") from None
        if run.returncode or not target.is_file():
            said = (run.stderr or run.stdout).decode(errors="replace").strip().splitlines()
            reason = f"exit code {run.returncode}" if run.returncode else "wrote no file"
            raise InputError(f"{self.name}: the command to {title}: {reason}" + (f": {said[-1][:160]}" if said else ""))
        return target

    def n_bytes(self, data: bytes) -> int:
        """Bytes of the file."""
        return len(data)

    def describe(self) -> str:
        """Both commands and the settings."""
        values = ",".join(f"{value:g}" for value in self.settings)
        return f"{self.encode_command} => {self.decode_command}; q {values}"
