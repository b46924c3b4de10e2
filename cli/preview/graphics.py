"""Graphics of terminals: detection of the protocols of kitty and Sixel, and pictures in them.

A terminal is asked instead of guessed from its name: the query of the kitty protocol, then that of the device
attributes, which every terminal answers. An answer to the first names kitty, attribute 4 in the second Sixel. A
multiplexer such as tmux answers for itself, so what it does not pass on is not used.
"""

from __future__ import annotations

import base64
import io
import os
import re
import select
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

QUERY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
"""A picture of one pixel to check and not to show, and the primary device attributes."""
ANSWER_S = 0.5
"""Seconds to wait for the answer; a remote terminal takes as long as its connection."""
CHUNK = 4096
"""Most bytes of base64 in one command of the kitty protocol."""
CELL_PX = (10, 20)
"""Width and height of a character cell in pixels, where the terminal does not say."""
COLOURS = 256
"""Colours of a Sixel picture."""


def protocol() -> str:
    """`kitty`, `sixel` or an empty string: the graphics that the controlling terminal answers to."""
    if os.environ.get("TERM", "") in ("", "dumb", "linux"):
        return ""
    return parse(_ask(QUERY))


def parse(answer: bytes) -> str:
    """Protocol by the terminal's answer to QUERY."""
    if re.search(rb"\x1b_Gi=31;OK\x1b\\", answer):
        return "kitty"
    attributes = re.search(rb"\x1b\[\?([\d;]+)c", answer)
    return "sixel" if attributes and b"4" in attributes[1].split(b";")[1:] else ""


def _ask(query: bytes) -> bytes:
    """Answer of the controlling terminal to `query`, up to its device attributes; empty where there is none."""
    try:
        import termios
        import tty

        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except (ImportError, OSError):
        return b""
    try:
        before = termios.tcgetattr(terminal)
        try:
            tty.setcbreak(terminal, termios.TCSANOW)
            os.write(terminal, query)
            return _read(terminal)
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
    except (OSError, termios.error):  # a background process may not write to it
        return b""
    finally:
        os.close(terminal)


def _read(terminal: int) -> bytes:
    answer, end = b"", time.monotonic() + ANSWER_S
    while (left := end - time.monotonic()) > 0 and not re.search(rb"\x1b\[\?[\d;]*c", answer):
        if select.select([terminal], [], [], left)[0]:
            answer += os.read(terminal, 1024)
    return answer


def size() -> tuple[int, int, tuple[int, int]]:
    """Columns and rows of the terminal of stdout, and width and height of a cell in pixels."""
    columns, rows = os.get_terminal_size() if os.isatty(1) else (80, 24)
    try:
        import fcntl
        import struct
        import termios

        found = struct.unpack("HHHH", fcntl.ioctl(1, termios.TIOCGWINSZ, bytes(8)))
    except (ImportError, OSError):
        return columns, rows, CELL_PX
    if not all(found):
        return columns, rows, CELL_PX
    return columns, rows, (found[2] // found[1], found[3] // found[0])


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture scaled down to at most width x height pixels; small ones up to twice their size."""
    from PIL import Image

    scale = min(width / image.width, height / image.height, 2.0)
    size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def kitty(image: Image.Image) -> str:
    """Commands of the kitty protocol that show the picture at the cursor."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    parts = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    commands = []
    for number, part in enumerate(parts):
        first = "a=T,f=100,q=2," if number == 0 else ""
        commands.append(f"\x1b_G{first}m={int(number < len(parts) - 1)};{part}\x1b\\")
    return "".join(commands)


def sixel(image: Image.Image) -> str:
    """The picture in Sixel: bands of six lines, in each band one run of characters for each of its colours."""
    import numpy as np
    from PIL import Image

    coloured = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG)
    pixels = np.asarray(coloured)
    palette = np.asarray(coloured.getpalette() or [0, 0, 0]).reshape(-1, 3)
    out = [f'\x1bPq"1;1;{image.width};{image.height}']
    out += [f"#{i};2;" + ";".join(str(round(c / 2.55)) for c in palette[i]) for i in np.unique(pixels)]
    for top in range(0, image.height, 6):
        band = pixels[top : top + 6]
        bits = 1 << np.arange(len(band))
        runs = [f"#{i}" + _runs((band == i).T @ bits + 63) for i in np.unique(band)]
        out.append("$".join(runs) + "-")
    return "".join(out) + "\x1b\\"


def _runs(codes: Iterable[int]) -> str:
    """Characters of `codes`; more than three equal ones as !COUNT and one character."""
    text = bytes(map(int, codes)).decode("ascii")
    return re.sub(r"(.)\1{3,}", lambda found: f"!{len(found[0])}{found[1]}", text, flags=re.DOTALL)
