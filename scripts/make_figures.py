"""Pictures of the README: codecs at equal bytes, one file from coarse to fine, rate against quality.

    python scripts/make_figures.py    writes docs/equal-bytes.jpg, docs/coarse-to-fine.jpg and docs/rate-distortion.png

The photographs are scikit-image's `chelsea` and `coffee`, both CC0. The curves are the tables of docs/figures.md, which
are means over 16 photographs: a point of another codec is its largest file within a limit, where it has one for every
photograph. Needs the extras `dev` and `eval`.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import vqcodec
from vqcodec.evaluation.codecs import make_codec
from vqcodec.evaluation.rate_sweep import RateSweep
from vqcodec.metrics import Pixels, ms_ssim, psnr
from vqcodec.models.registry import DEFAULT_MODEL

DOCS = Path(__file__).parents[1] / "docs"
STEPS = (1, 2, 7)
"""Numbers of layers of the panels of the coarse-to-fine picture."""
MAX_BYTES = 150_000
"""Limit on the file of a picture."""
PANEL_PX = (400, 267)
"""Width and height of such a panel."""
LABEL_PX, GAP_PX = 30, 8
EQUAL_BPP = 0.25
"""Rate of the files of the comparison, in bits per pixel of the whole file."""
EQUAL_CROP = (92, 24, 292, 254)
"""Left, top, right, bottom of the part shown of the picture of the comparison, in pixels."""
EQUAL_LABEL_PX = 40
COLOURS = {"JPEG": "#D55E00", "WebP": "#009E73", "AVIF": "#000000", "JPEG XL": "#CC79A7"}
OUR_COLOUR = "#0072B2"
"""Colours of Okabe and Ito, distinguishable with any colour vision."""
BPP_TICKS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)
MS_SSIM_TICKS = (0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
MS_SSIM_RANGE = (0.8, 0.9935)
TITLE = (
    "means over 16 small photographs, 481x321 (BSDS500), whole files; other codecs: their largest file within a limit"
)

Point = tuple[float, float, float]
"""Rate in bpp, PSNR in dB, MS-SSIM."""


def draw_equal_bytes(target: Path) -> None:
    """One row: the original, then each codec's largest file of at most our size, labelled with bytes and quality.

    The whole picture is coded and measured; a part is shown, pixel by pixel.
    """
    from skimage import data as photographs

    pixels = photographs.chelsea()
    data = vqcodec.encode(pixels, bpp=EQUAL_BPP)
    panels = [("original", f"{pixels.shape[1]}x{pixels.shape[0]} pixels, a part", pixels)]
    panels.append(_measured("vqcodec", pixels, len(data), np.asarray(vqcodec.decode(data))))
    for title, name in (("AVIF", "avif"), ("WebP", "webp"), ("JPEG", "jpeg")):
        codec = make_codec(name)
        sweep = RateSweep(codec, pixels)
        setting = sweep.largest_within(len(data))
        assert setting is not None, f"{name} has no file of {len(data)} bytes or less"
        panels.append(_measured(title, pixels, sweep.size(setting), codec.decode(codec.encode(pixels, setting))))
    left, top, right, bottom = EQUAL_CROP
    width, height = right - left, bottom - top
    sheet = Image.new("RGB", (len(panels) * (width + GAP_PX) - GAP_PX, height + EQUAL_LABEL_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (title, facts, shown) in enumerate(panels):
        x = i * (width + GAP_PX)
        draw.text((x + 2, 0), title, "black", ImageFont.load_default(18))
        draw.text((x + 2, 22), facts, "#333333", ImageFont.load_default(13))
        sheet.paste(Image.fromarray(shown[top:bottom, left:right]), (x, EQUAL_LABEL_PX))
    sheet.save(target, quality=92, subsampling="4:4:4", optimize=True, progressive=True)


def _measured(title: str, original: Pixels, n_bytes: int, decoded: Pixels) -> tuple[str, str, Pixels]:
    facts = f"{n_bytes:,} B, {psnr(original, decoded):.1f} dB, {ms_ssim(original, decoded):.3f}"
    return title, facts, decoded


def draw_steps(target: Path) -> None:
    """One file decoded from its first layers to all of them, a panel each, labelled with bytes and bits per pixel."""
    from skimage import data as photographs

    image = Image.fromarray(photographs.coffee())
    data = vqcodec.encode(image, DEFAULT_MODEL)
    steps = [step for step in vqcodec.previews(data) if step.keep in STEPS]
    width, height = PANEL_PX
    sheet = Image.new("RGB", (len(steps) * (width + GAP_PX) - GAP_PX, height + LABEL_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(19)
    for i, step in enumerate(steps):
        x = i * (width + GAP_PX)
        sheet.paste(step.image.convert("RGB").resize(PANEL_PX, Image.Resampling.LANCZOS), (x, LABEL_PX))
        bpp = 8 * step.n_bytes / (image.width * image.height)
        draw.text((x + 2, 3), f"{step.n_bytes:,} bytes  ({step.n_bytes / len(data):.0%}, {bpp:.3f} bpp)", "black", font)
    sheet.save(target, quality=86, optimize=True, progressive=True)


def read_curves(page: str) -> dict[str, list[Point]]:
    """Points of each codec from the tables of docs/figures.md, by rising rate."""
    curves: dict[str, list[Point]] = {}
    for row in _rows(page, rf"^`{DEFAULT_MODEL}`\n\n"):
        bpp, psnr, ms_ssim = map(float, row[1:])
        curves.setdefault("vqcodec", []).append((bpp, psnr, ms_ssim))
    for row in _rows(page, r"^(?=\| limit, bpp )"):
        for codec, cell in zip(COLOURS, row[1:], strict=True):
            if cell != "n/a":
                psnr, ms_ssim = map(float, cell.split(", "))
                curves.setdefault(codec, []).append((float(row[0]), psnr, ms_ssim))
    return {name: sorted(points) for name, points in curves.items()}


def _rows(page: str, before: str) -> list[list[str]]:
    """Cells of the table that follows the pattern `before`, without its head."""
    table = re.search(before + r"((?:\|.*\n)+)", page, re.MULTILINE)
    assert table is not None, before
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()[2:]]


def draw_curves(curves: dict[str, list[Point]], target: Path) -> None:
    """Rate against PSNR and MS-SSIM, a panel each."""
    from matplotlib.figure import Figure

    figure = Figure((11, 4.4), 110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for column, panel in ((1, left), (2, right)):
        for name, points in curves.items():
            own = name not in COLOURS
            panel.plot(
                [point[0] for point in points],
                [point[column] for point in points],
                color=OUR_COLOUR if own else COLOURS[name],
                linewidth=2.6 if own else 1.6,
                marker="o" if own else None,
                markersize=4,
                label=name,
                zorder=3 if own else 2,
            )
        panel.set_xscale("log")
        panel.set_xticks(BPP_TICKS, [f"{tick:g}" for tick in BPP_TICKS])
        panel.set_xticks([], minor=True)
        panel.set_xlabel("rate (bits per pixel)")
        panel.grid(True, color="0.88", linewidth=0.8)
    left.set_ylabel("PSNR (dB)")
    left.legend(frameon=False, fontsize=9.5)
    # Spaced as decibels of 1 - MS-SSIM: near 1 differences count for more.
    right.set_yscale("function", functions=(lambda y: -np.log10(1 - np.minimum(y, 0.9999)), lambda y: 1 - 10 ** (-y)))
    right.set_ylim(*MS_SSIM_RANGE)
    right.set_yticks(MS_SSIM_TICKS, [f"{tick:g}" for tick in MS_SSIM_TICKS])
    right.set_ylabel("MS-SSIM (0..1)")
    figure.suptitle(TITLE, fontsize=9.5, color="0.25")
    figure.savefig(target, metadata={"Software": None})


def main() -> None:
    """Draw all pictures, or one."""
    parser = argparse.ArgumentParser(description="Draw the pictures of the README.")
    parser.add_argument("--only", choices=("equal", "steps", "curves"), help="draw one of them")
    only = parser.parse_args().only
    if only in (None, "equal"):
        draw_equal_bytes(DOCS / "equal-bytes.jpg")
    if only in (None, "steps"):
        draw_steps(DOCS / "coarse-to-fine.jpg")
    if only in (None, "curves"):
        draw_curves(read_curves((DOCS / "figures.md").read_text(encoding="utf-8")), DOCS / "rate-distortion.png")
    for path in sorted(DOCS.glob("*.[jp][pn]g")):
        assert path.stat().st_size < MAX_BYTES, f"{path}: {path.stat().st_size} bytes"


if __name__ == "__main__":
    main()
