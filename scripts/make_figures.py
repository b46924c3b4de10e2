"""Pictures of the README: one file from coarse to fine, and rate against quality for several codecs.

    python scripts/make_figures.py --measure    measure the four photographs anew (minutes): docs/figures.json
    python scripts/make_figures.py              draw docs/coarse-to-fine.jpg and docs/rate-distortion.png

The photographs come with scikit-image: chelsea, coffee and rocket under CC0, astronaut in the public domain (NASA).
Needs the extras `dev` and `eval`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import vqcodec
from vqcodec.models.registry import FAMILY

DOCS = Path(__file__).parents[1] / "docs"
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
CODECS = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jxl": "JPEG XL"}
STEPS_PHOTOGRAPH = "coffee"
STEPS = (1, 2, 8, 12)
"""Numbers of layers of its panels."""
PANEL_PX = (400, 267)
"""Width and height of a panel of the coarse-to-fine picture."""
LABEL_PX, GAP_PX = 30, 8
COLOURS = {
    "vqcodec": "#0072B2",
    "JPEG": "#D55E00",
    "WebP": "#009E73",
    "AVIF": "#000000",
    "JPEG XL": "#CC79A7",
}
"""Colours of Okabe and Ito, distinguishable with any colour vision."""
BPP_RANGE = (0.045, 1.6)
BPP_TICKS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
PSNR_RANGE_DB = (22, 38)
MS_SSIM_RANGE = (0.78, 0.996)
MS_SSIM_TICKS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995)


def photograph(name: str) -> Image.Image:
    """A photograph of scikit-image by name, RGB."""
    from skimage import data

    return Image.fromarray(getattr(data, name)())


def measure(target: Path) -> None:
    """Run `vqcodec eval` on the photographs and write the mean (bpp, PSNR, MS-SSIM) of each setting to `target`."""
    with tempfile.TemporaryDirectory() as work:
        report = Path(work) / "report.json"
        for name in PHOTOGRAPHS:
            photograph(name).save(Path(work) / f"{name}.png")
        models = [word for model in FAMILY for word in ("-m", model)]
        command = ["eval", work, *models, "--codecs", f"vqcodec,{','.join(CODECS)}", "--no-times", "-o", report]
        subprocess.run([sys.executable, "-m", "vqcodec.cli", *map(str, command)], check=True)
        means = means_of(json.loads(report.read_text(encoding="utf-8")))
    target.write_text(json.dumps(means, indent=1) + "\n", encoding="utf-8")


def means_of(report: dict[str, Any]) -> dict[str, Any]:
    """Means over the images of a report of `vqcodec eval`: codec -> points [bpp, PSNR dB, MS-SSIM].

    A setting of another codec that was not measured for every image is left out.
    """
    images = sorted({row["picture"] for row in report["rows"]})
    groups: dict[str, dict[int, list[list[float]]]] = {}
    for row in report["rows"]:
        if row["codec"] == "vqcodec" or row["kind"] == "curve":
            name = f"vqcodec {row['model']}" if row["codec"] == "vqcodec" else CODECS[row["codec"]]
            values = [row["bpp"], row["psnr"], row["ms_ssim"]]
            groups.setdefault(name, {}).setdefault(row["setting"], []).append(values)
    points = {
        name: sorted(np.round(np.mean(rows, 0), 4).tolist() for rows in settings.values() if len(rows) == len(images))
        for name, settings in groups.items()
    }
    return {"version": report["vqcodec"], "images": [Path(image).stem for image in images], "points": points}


def draw_steps(target: Path) -> None:
    """One file decoded from its first layers to all of them, a panel each, labelled with bytes and bits per pixel."""
    image = photograph(STEPS_PHOTOGRAPH)
    data = vqcodec.encode(image, FAMILY[0])
    steps = [step for step in vqcodec.previews(data) if step.keep in STEPS]
    width, height = PANEL_PX
    sheet = Image.new("RGB", (len(steps) * (width + GAP_PX) - GAP_PX, height + LABEL_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(19)
    for i, step in enumerate(steps):
        x = i * (width + GAP_PX)
        sheet.paste(step.image.convert("RGB").resize(PANEL_PX, Image.Resampling.LANCZOS), (x, LABEL_PX))
        bpp = 8 * step.n_bytes / (image.width * image.height)
        text = f"{step.n_bytes:,} bytes  ({step.n_bytes / len(data):.0%}, {bpp:.3f} bpp)"
        draw.text((x + 2, 3), text, "black", font)
    sheet.save(target, quality=86, optimize=True, progressive=True)


def draw_curves(source: Path, target: Path) -> None:
    """Rate against PSNR and MS-SSIM of the means in `source`, a panel each."""
    from matplotlib.figure import Figure

    means = json.loads(source.read_text(encoding="utf-8"))
    figure = Figure((11, 4.5), 110, layout="constrained")
    for column, panel in enumerate(figure.subplots(1, 2), 1):
        for name, points in means["points"].items():
            own = name.startswith("vqcodec")
            inside = [point for point in points if BPP_RANGE[0] <= point[0] <= BPP_RANGE[1]]
            panel.plot(
                [point[0] for point in inside],
                [point[column] for point in inside],
                color=COLOURS["vqcodec" if own else name],
                linestyle="--" if name == f"vqcodec {FAMILY[-1]}" else "-",
                linewidth=2.6 if own else 1.6,
                marker="o" if own else None,
                markersize=4,
                label=name,
                zorder=3 if own else 2,
            )
        panel.set_xscale("log")
        panel.set_xlim(*BPP_RANGE)
        panel.set_xticks(BPP_TICKS, [f"{tick:g}" for tick in BPP_TICKS])
        panel.set_xticks([], minor=True)
        panel.set_xlabel("rate of whole files (bits per pixel)")
        panel.grid(True, color="0.88", linewidth=0.8)
    left, right = figure.axes
    left.set_ylim(*PSNR_RANGE_DB)
    left.set_ylabel("PSNR (dB)")
    # Spaced as decibels of 1 - MS-SSIM: near 1 differences count for more.
    right.set_yscale("function", functions=(lambda y: -np.log10(1 - np.minimum(y, 0.9999)), lambda y: 1 - 10 ** (-y)))
    right.set_ylim(*MS_SSIM_RANGE)
    right.set_yticks(MS_SSIM_TICKS, [f"{tick:g}" for tick in MS_SSIM_TICKS])
    right.set_ylabel("MS-SSIM (0..1)")
    left.legend(frameon=False, fontsize=9.5)
    n = len(means["images"])
    figure.suptitle(
        f"means over {n} photographs of 0.14 to 0.27 megapixels from scikit-image ({', '.join(means['images'])}), "
        f"vqcodec {means['version']}",
        fontsize=9.5,
        color="0.25",
    )
    figure.savefig(target, metadata={"Software": None})


def main() -> None:
    """Measure if asked to, then draw."""
    parser = argparse.ArgumentParser(description="Draw the pictures of the README.")
    parser.add_argument("--measure", action="store_true", help="run `vqcodec eval` again, for docs/figures.json")
    parser.add_argument("--report", type=Path, help="take the means from this report of `vqcodec eval` (JSON)")
    parser.add_argument("--only", choices=("steps", "curves"), help="draw one of the two")
    args = parser.parse_args()
    if args.measure:
        measure(DOCS / "figures.json")
    if args.report:
        means = means_of(json.loads(args.report.read_text(encoding="utf-8")))
        (DOCS / "figures.json").write_text(json.dumps(means, indent=1) + "\n", encoding="utf-8")
    if args.only != "curves":
        draw_steps(DOCS / "coarse-to-fine.jpg")
    if args.only != "steps":
        draw_curves(DOCS / "figures.json", DOCS / "rate-distortion.png")


if __name__ == "__main__":
    main()
