"""`vqcodec preview`: the page, the animation, the contact sheet, the terminal and the table."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import vqcodec
from vqcodec.cli.preview import command as module
from vqcodec.cli.preview import terminal
from vqcodec.cli.preview.page import page
from vqcodec.cli.preview.pictures import CHECKER, contact_sheet, opaque, sheet_shape
from vqcodec.cli.preview.steps import Shown, Sides, Step, default_steps, plain_steps
from vqcodec.errors import UsageError
from vqcodec.metrics import ms_ssim, psnr
from vqcodec.models.file_info import read_info

VOID = {"meta", "img", "input", "link", "br"}


class Page(HTMLParser):
    """Elements of a page in order, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def file(tmp_path: Path, tiny_vqc: bytes) -> Path:
    path = tmp_path / "cat.vqc"
    path.write_bytes(tiny_vqc)
    return path


def fake_steps(size: tuple[int, int], n: int = 4, mode: str = "RGB") -> list[Step]:
    return [Step(k, n, 1000 * k, 100 * k / n, 0.05 * k, Image.new(mode, size, 40 * k)) for k in range(1, n + 1)]


def test_the_page_stands_alone(file: Path, invoke, tiny_vqc: bytes) -> None:
    out = file.with_suffix(".html")
    status, stdout, stderr = invoke("preview", file, "-o", out)
    assert (status, stdout) == (0, "")
    assert "4 steps" in stderr
    text = out.read_text("utf-8")
    parsed = Page(text)
    assert not parsed.open
    pictures = parsed.all("img")
    assert len(pictures) == 4
    assert {picture["class"] for picture in pictures} == {"step opaque"}
    assert [("hidden" in picture) for picture in pictures] == [True, True, True, False]
    for picture, layer in zip(pictures, vqcodec.inspect(tiny_vqc).layers, strict=True):
        assert picture["data-bytes"] == f"{layer.end:,}"
        assert f"{layer.end:,} bytes" in str(picture["alt"])
        data = base64.b64decode(str(picture["src"]).removeprefix("data:image/webp;base64,"), validate=True)
        assert Image.open(io.BytesIO(data)).size == (200, 150)
    assert pictures[-1]["data-percent"] == "100.0"
    assert all(slider["type"] == "range" and slider["aria-label"] for slider in parsed.all("input"))
    code = re.sub(r"data:image/webp;base64,[\w+/=]+", "", text)
    assert len(code) < 20_000
    assert not re.search(r"//|@import|url\(|<link|<script[^>]+src", code)
    assert "default-src 'none'" in text


def test_the_page_escapes_names(tiny_vqc: bytes) -> None:
    name = "<img src=x onerror=alert(1)> {{pictures}} & \"'\udcff.vqc"
    text = page([Shown(name, read_info(tiny_vqc), len(tiny_vqc), fake_steps((200, 150)))])
    parsed = Page(text)
    assert len(parsed.all("img")) == 4
    assert parsed.text["h1"] == name.replace("\udcff", "?")
    assert parsed.all("section")[0]["data-name"] == name.replace("\udcff", "?")
    text.encode("utf-8")


def test_the_page_says_what_is_scaled_down_or_missing(tiny_vqc: bytes) -> None:
    info = read_info(tiny_vqc)
    (section,) = Page(page([Shown("x", info, len(tiny_vqc) - 9, fake_steps((100, 75)))])).all("section")
    assert "shown at 100 × 75" in section["data-facts"]
    assert f"cut off at {len(tiny_vqc) - 9:,} bytes" in section["data-facts"]


def test_the_animation_has_a_frame_for_each_step(file: Path, invoke) -> None:
    out = file.with_suffix(".webp")
    assert invoke("preview", file, "-o", out, "--steps", 3, "-q") == (0, "", "")
    with Image.open(out) as image:
        assert (image.format, image.n_frames, image.info["loop"]) == ("WEBP", 3, 0)
        assert image.width >= 200
        assert image.height > 150
        times = []
        for frame in range(3):
            image.seek(frame)
            image.load()
            times.append(image.info["duration"])
    assert times == [700, 700, 2400]


def test_the_contact_sheet_has_a_cell_for_each_step(file: Path, invoke) -> None:
    out = file.with_suffix(".png")
    assert invoke("preview", file, "-o", out)[0] == 0
    with Image.open(out) as image:
        assert image.size == (2 * (280 + 16) + 16, 2 * (150 + 32 + 16) + 16)
    steps = fake_steps((480, 320))
    with Image.open(io.BytesIO(contact_sheet(shown(steps)))) as sheet:
        for i, (x, y) in enumerate([(16, 16), (512, 16), (16, 384), (512, 384)]):
            assert sheet.getpixel((x + 240, y + 160)) == steps[i].image.getpixel((0, 0))
            caption = sheet.crop((x, y + 320, x + 480, y + 352)).convert("L")
            assert caption.getextrema()[1] > 180


def test_sheets_are_about_as_wide_as_a_screen() -> None:
    assert sheet_shape(1, 480, 320) == (1, 1)
    assert sheet_shape(8, 480, 320) in [(3, 3), (4, 2)]
    for n in range(1, 17):
        columns, rows = sheet_shape(n, 480, 350)
        assert columns * rows >= n > columns * (rows - 1)


def test_large_pictures_are_scaled_down(monkeypatch: pytest.MonkeyPatch, file: Path, invoke) -> None:
    monkeypatch.setitem(module.SIDES, ".html", Sides(100, 150))
    out = file.with_suffix(".html")
    assert invoke("preview", file, "-o", out)[0] == 0
    pictures = Page(out.read_text("utf-8")).all("img")
    sizes = [(picture["width"], picture["height"]) for picture in pictures]
    assert sizes == [("100", "75")] * 3 + [("150", "113")]


def test_a_cut_file_goes_as_far_as_it_does(file: Path, invoke, tiny_vqc: bytes) -> None:
    ends = [layer.end for layer in vqcodec.inspect(tiny_vqc).layers]
    file.write_bytes(tiny_vqc[: ends[1] + 2])
    out = file.with_suffix(".html")
    code, _, stderr = invoke("preview", file, "-o", out)
    assert code == 0
    assert "cut off" in stderr
    pictures = Page(out.read_text("utf-8")).all("img")
    assert [picture["data-bytes"] for picture in pictures] == [f"{end:,}" for end in (*ends[:2], ends[1] + 2)]


def test_without_a_terminal_there_is_a_table(file: Path, invoke, shell, tiny_vqc: bytes) -> None:
    code, stdout, stderr = invoke("preview", file)
    assert (code, stderr) == (0, "")
    assert "\x1b" not in stdout
    assert "▀" not in stdout
    rows = [line.split() for line in stdout.splitlines()]
    assert rows[0] == ["layers", "bytes", "%", "of", "file", "bpp"]
    assert [row[:2] for row in rows[1:]] == [
        [str(k), str(layer.end)] for k, layer in enumerate(vqcodec.inspect(tiny_vqc).layers, 1)
    ]
    piped = shell("preview", "-", "--steps", 2, input=tiny_vqc)
    assert piped.returncode == 0
    assert len(piped.stdout.splitlines()) == 3


def test_in_a_terminal_there_are_few_large_pictures(file: Path, invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "can_show", lambda: True)
    monkeypatch.setattr("vqcodec.cli.preview.graphics.protocol", lambda: "")
    for name, value in {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "COLUMNS": "80", "LINES": "34"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    code, stdout, _ = invoke("preview", file)
    assert code == 0
    assert "\x1b[38;2;" in stdout
    lines = re.sub(r"\x1b\[[0-9;]*m", "", stdout).splitlines()
    assert max(map(len, lines)) <= 80
    captions = [line.split("layer")[0].strip() for line in lines if "layer" in line]
    assert captions == ["1", "2", "4"]
    assert sum(line.count("▀") for line in lines) == 3 * 80 * 30  # 4:3, one in a row, as high as the terminal
    monkeypatch.setenv("COLUMNS", "160")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", invoke("preview", file)[1]).splitlines()
    assert [line.count("layer") for line in lines if "layer" in line] == [2, 1]


@pytest.mark.parametrize("setting", ["NO_COLOR", "dumb", "pipe"])
def test_terminals_without_colours_get_the_table(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(
        terminal, "Console", lambda: Console(
            file=io.TextIOWrapper(io.BytesIO(), "utf-8"), force_terminal=setting != "pipe",
            _environ={"TERM": "dumb"} if setting == "dumb" else {"TERM": "xterm-256color", "NO_COLOR": "1"},
        )
    )  # fmt: skip
    assert not terminal.can_show()


def test_half_blocks_show_two_pixels_each() -> None:
    image = Image.new("RGB", (2, 2), "red")
    image.paste("blue", (0, 1, 2, 2))
    (line,) = terminal.half_blocks(image, 2, 1)
    assert line.plain == "▀▀"
    style = line.spans[0].style
    assert (style.color.triplet, style.bgcolor.triplet) == ((255, 0, 0), (0, 0, 255))
    tall = terminal.half_blocks(Image.new("RGBA", (10, 400)), 39, 20)
    assert len(tall) == 20
    assert all(line.cell_len == 1 for line in tall)


def test_transparency_shows_a_chequerboard() -> None:
    assert opaque(Image.new("L", (3, 3), 7)).getpixel((0, 0)) == (7, 7, 7)
    clear = opaque(Image.new("RGBA", (20, 20), (255, 0, 0, 0)))
    assert {colour for _, colour in clear.getcolors()} == set(CHECKER)
    clear_steps = shown(fake_steps((20, 20), mode="LA"))
    contact_sheet(clear_steps)
    assert 'class="step alpha"' in page([clear_steps])


def shown(steps: list[Step]) -> Shown:
    return Shown("x", read_info_of(20), 100, steps)


def read_info_of(side: int):
    from vqcodec.models.file_info import Info, Layer

    return Info(side, side, 100, None, "00", "00", 1, 512, 1, (Layer(1, 100),), 10, 8, 0, 0, False, False)


@pytest.mark.parametrize("name", ["x.gif", "x", "-"])
def test_outputs_of_other_kinds_are_refused(file: Path, invoke, name: str) -> None:
    code, _, stderr = invoke("preview", file, "-o", name)
    assert code == UsageError.exit_code
    assert ".html, .webp or .png" in stderr


def test_errors_end_with_their_codes(file: Path, invoke, tmp_path: Path) -> None:
    out = tmp_path / "there.png"
    out.write_bytes(b"mine")
    assert invoke("preview", file, "-o", out)[0] == 7
    assert out.read_bytes() == b"mine"
    assert invoke("preview", file, "-o", out, "-f")[0] == 0
    assert invoke("preview", tmp_path / "none.vqc")[0] == 3
    assert invoke("preview", file, "--max-pixels", 100)[0] == 6
    file.write_bytes(b"no such thing")
    assert invoke("preview", file)[0] == 3


def test_steps_without_new_bytes_are_left_out(tiny_vqc: bytes) -> None:
    info = read_info(tiny_vqc)
    assert [step.layers for step in plain_steps(info, len(tiny_vqc), 2)] == [1, 4]
    assert [step.layers for step in plain_steps(info, info.layers[0].end, None)] == [1]


def test_large_pictures_have_fewer_steps(file: Path, invoke, tiny_vqc: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    info = read_info(tiny_vqc)
    layers = (*info.layers, *info.layers, *info.layers)
    sizes = {1000: 12, 1414: 12, 1800: 7, 6000: 6}
    found = {side: default_steps(replace(info, width=side, height=side, layers=layers)) for side in sizes}
    assert found == sizes
    monkeypatch.setattr("vqcodec.cli.preview.steps.DECODED_PIXELS", 200 * 150 * 3)
    monkeypatch.setattr("vqcodec.cli.preview.steps.FEWEST_STEPS", 2)
    out = file.with_suffix(".html")
    assert "3 steps (--steps 4: one for each layer)" in invoke("preview", file, "-o", out)[2]
    assert [picture["data-layers"] for picture in Page(out.read_text("utf-8")).all("img")] == [
        "1 of 4",
        "2 of 4",
        "4 of 4",
    ]
    assert "4 steps, " in invoke("preview", file, "-o", out, "-f", "--steps", 4)[2]
    for suffix in (".webp", ".png"):
        assert "3 steps (--steps 4: one for each layer)" in invoke("preview", file, "-o", file.with_suffix(suffix))[2]


def test_empty_layers_are_no_further_steps(tmp_path: Path, invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.cli.preview.steps.DECODED_PIXELS", 64 * 64 * 3)
    monkeypatch.setattr("vqcodec.cli.preview.steps.FEWEST_STEPS", 2)
    flat = tmp_path / "flat.vqc"
    flat.write_bytes(vqcodec.encode(Image.new("RGB", (64, 64), (90, 120, 60)), "photo", effort=1))
    assert "flat.html: 1 step, " in invoke("preview", flat, "-o", flat.with_suffix(".html"))[2]


def test_a_cut_file_has_no_hint_at_its_layers(
    file: Path, invoke, tiny_vqc: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(tiny_vqc[: read_info(tiny_vqc).layers[2].end])
    monkeypatch.setattr("vqcodec.cli.preview.steps.DECODED_PIXELS", 0)
    monkeypatch.setattr("vqcodec.cli.preview.steps.FEWEST_STEPS", 2)
    err = invoke("preview", file, "-o", file.with_suffix(".html"))[2]
    assert "2 steps, " in err
    assert "--steps" not in err


def test_the_original_adds_its_picture_and_measured_quality(file: Path, invoke, photo: Image.Image) -> None:
    photo.save(file.with_name("original.png"))
    original = ("--against", file.with_name("original.png"))
    for suffix in ("html", "png", "webp"):
        assert invoke("preview", file, file.with_suffix(f".{suffix}"), "-f", "--steps", 2, *original)[0] == 0
    steps = Page(file.with_suffix(".html").read_text("utf-8")).all("img")
    assert [step["class"] for step in steps] == ["step opaque", "step opaque", "original opaque"]
    decoded = vqcodec.decode(file.read_bytes(), keep=1)
    assert float(str(steps[0]["data-psnr"])) == pytest.approx(psnr(np.asarray(photo), np.asarray(decoded)), abs=0.01)
    assert float(str(steps[0]["data-ms-ssim"])) == pytest.approx(
        ms_ssim(np.asarray(photo), np.asarray(decoded)), abs=1e-4
    )
    with Image.open(file.with_suffix(".webp")) as animated:
        assert animated.n_frames == 3
    rows = [line.split() for line in invoke("preview", file, *original)[1].splitlines()]
    assert rows[0][-3:] == ["PSNR", "dB", "MS-SSIM"]
    assert rows[1][-2:] == [steps[0]["data-psnr"], steps[0]["data-ms-ssim"]]


def test_originals_that_are_others_are_refused(file: Path, invoke, photo: Image.Image) -> None:
    photo.resize((20, 10)).save(file.with_name("small.png"))
    code, _, err = invoke("preview", file, "--against", file.with_name("small.png"))
    assert code == 2
    assert "has 20x10 pixels, the file 200x150" in err
    assert invoke("preview", file, "--against", file.with_name("none.png"))[0] == 3


def test_several_files_make_a_gallery(file: Path, invoke, photo: Image.Image) -> None:
    folder = file.parent / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.vqc").write_bytes(file.read_bytes())
    (folder / "sub" / "a.vqc").write_bytes(file.read_bytes())
    (folder / "bad.vqc").write_bytes(b"text")
    out = file.with_name("all.html")
    code, _, err = invoke("preview", folder, out)
    assert code == 3  # of the bad one; the page shows the others
    assert "bad.vqc: not a .vqc file" in err
    page = Page(out.read_text("utf-8"))
    assert [section["data-name"] for section in page.all("section")] == ["b.vqc", "sub/a.vqc"]
    assert ["hidden" in section for section in page.all("section")] == [True, True]
    assert len(page.all("img")) == 2 + 2 * 4
    assert invoke("preview", folder, "-o", file.with_name("x.png"))[0] == 2
    photo.save(file.with_name("one.png"))
    assert "folder of originals" in invoke("preview", folder, "--against", file.with_name("one.png"))[2]
    assert "no picture named b" in invoke("preview", folder, "--against", file.parent / "files")[2]


def test_a_large_gallery_has_scaled_pictures(file: Path, invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    second = file.with_name("b.vqc")
    second.write_bytes(file.read_bytes())
    monkeypatch.setattr(module, "SMALL_GALLERY_SIDES", Sides(50, 100))
    for most, widths in ((60000, ["200"] * 2), (59999, ["50", "100"])):
        monkeypatch.setattr(module, "GALLERY_PIXELS", most)
        out = file.with_name("all.html")
        assert invoke("preview", file, second, "-o", out, "-f", "--steps", 2)[0] == 0
        pictures = [image for image in Page(out.read_text("utf-8")).all("img") if image.get("class") == "step opaque"]
        assert [image["width"] for image in pictures] == widths * 2
