"""Graphics of terminals: detection by the terminal's answer, and pictures by the protocols of kitty and Sixel."""

from __future__ import annotations

import base64
import io
import os
import re
import select
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec.cli.preview import graphics, terminal

from ..commands import Invoke, fails

ATTRIBUTES = {"xterm": b"\x1b[?64;1;2;6;9c", "foot": b"\x1b[?62;4;22c", "vt100": b"\x1b[?1;2c"}
KITTY = b"\x1b_Gi=31;OK\x1b\\"


@pytest.mark.parametrize(
    ("answer", "protocol"),
    [
        (KITTY + ATTRIBUTES["xterm"], "kitty"),
        (KITTY + ATTRIBUTES["foot"], "kitty"),
        (ATTRIBUTES["foot"], "sixel"),
        (b"\x1b_Gi=31;ENOENT\x1b\\" + ATTRIBUTES["xterm"], ""),
        (ATTRIBUTES["xterm"], ""),
        (b"\x1b[?4c", ""),  # a VT132, which has no Sixel
        (b"\x1b[?64;14;24c", ""),
        (b"", ""),
    ],
)
def test_the_answer_names_the_protocol(answer: bytes, protocol: str) -> None:
    assert graphics.parse(answer) == protocol


@pytest.mark.skipif(not hasattr(os, "fork"), reason="pseudo-terminals are of POSIX")
@pytest.mark.parametrize(("answer", "found"), [(KITTY + ATTRIBUTES["xterm"], "kitty"), (ATTRIBUTES["foot"], "sixel")])
def test_a_terminal_is_asked(answer: bytes, found: str) -> None:
    import pty

    code = "from vqcodec.cli.preview import graphics; graphics.ANSWER_S = 20; print('<', graphics.protocol(), '>')"
    child, terminal_end = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-c", code])
    shown, asked = b"", False
    while b">" not in shown and select.select([terminal_end], [], [], 60)[0]:
        try:
            shown += os.read(terminal_end, 4096)
        except OSError:  # the child has ended
            break
        if not asked and b"\x1b[c" in shown:
            asked, shown = True, b""
            os.write(terminal_end, answer)
    os.waitpid(child, 0)
    os.close(terminal_end)
    assert asked
    assert f"< {found} >".encode() in shown
    assert b"OK" not in shown  # the answer is not echoed


@pytest.mark.parametrize("term", ["", "dumb", "linux"])
def test_terminals_without_graphics_are_not_asked(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(graphics, "_ask", None)
    assert graphics.protocol() == ""


def test_kitty_sends_a_png_in_parts(photo: Image.Image) -> None:
    commands = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", graphics.kitty(photo))
    assert commands[0][0] == "a=T,f=100,q=2,m=1"
    assert {keys for keys, _ in commands[1:-1]} == {"m=1"}
    assert commands[-1][0] == "m=0"
    assert all(len(part) <= 4096 for _, part in commands)
    with Image.open(io.BytesIO(base64.b64decode("".join(part for _, part in commands)))) as sent:
        assert np.array_equal(np.asarray(sent), np.asarray(photo))


def decoded_sixel(text: str) -> np.ndarray:
    """Pixels of a Sixel picture, uint8 [H, W, 3]; an independent reader of the format."""
    head = re.match(r'\x1bPq"1;1;(\d+);(\d+)', text)
    assert head is not None
    assert text.endswith("\x1b\\")
    width, height = int(head[1]), int(head[2])
    pixels = np.zeros((height + 6, width, 3), np.uint8)
    palette: dict[int, list[int]] = {}
    x = y = colour = 0
    for token in re.finditer(
        r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|(\$)|(-)", text[head.end() : -2]
    ):
        if token[1]:
            palette[int(token[1])] = [round(2.55 * int(token[i])) for i in (2, 3, 4)]
        elif token[5]:
            colour = int(token[5])
        elif token[9]:
            x = 0
        elif token[10]:
            x, y = 0, y + 6
        else:
            count, bits = int(token[6] or 1), ord(token[7] or token[8]) - 63
            for line in range(6):
                if bits >> line & 1:
                    pixels[y + line, x : x + count] = palette[colour]
            x += count
    assert not pixels[height:].any()
    return pixels[:height]


@pytest.mark.parametrize("size", [(200, 150), (61, 7), (1, 1)])
def test_sixel_shows_the_picture(photo: Image.Image, size: tuple[int, int]) -> None:
    image = photo.resize(size)
    shown = decoded_sixel(graphics.sixel(image))
    assert shown.shape == (size[1], size[0], 3)
    assert np.abs(shown.astype(int) - np.asarray(image)).mean() < 6


def test_sixel_of_one_colour_is_exact() -> None:
    shown = decoded_sixel(graphics.sixel(Image.new("RGB", (40, 13), (255, 0, 51))))
    assert (shown == (255, 0, 51)).all()


def test_pictures_fill_the_terminal() -> None:
    image = Image.new("RGB", (400, 300))
    assert graphics.fitted(image, 200, 1000).size == (200, 150)
    assert graphics.fitted(image, 8000, 450).size == (600, 450)
    assert graphics.fitted(image, 8000, 8000).size == (800, 600)  # no more than twice its size


@pytest.mark.parametrize(
    ("kind", "start"), [("kitty", "\x1b_G"), ("sixel", "\x1bPq"), ("blocks", "▀"), ("none", "layers")]
)
def test_the_option_selects_the_protocol(work: Path, invoke: Invoke, kind: str, start: str) -> None:
    code, out, _ = invoke("preview", "kitty.vqc", "--graphics", kind, "--steps", 2)
    assert code == 0
    assert start in out
    if kind in ("kitty", "sixel"):
        assert out.count(" bpp\n") == 2


def test_unknown_graphics(work: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(invoke("preview", "kitty.vqc", "--graphics", "ascii"), 2, "auto, kitty, sixel, blocks or none")
    monkeypatch.setattr(terminal, "can_show", lambda: True)
    for answer in ("kitty", "sixel", ""):
        monkeypatch.setattr(graphics, "protocol", lambda answer=answer: answer)
        assert terminal.pictures("auto") == (answer or "blocks")
