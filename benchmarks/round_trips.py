"""Round trips of images of every kind through `encode` and `decode`: a table, and exit code 1 if a value is not kept.

    python -m benchmarks.round_trips

Each case writes a file, encodes and decodes it by the command, and checks the pixels given to the networks, alpha,
size, mode, metadata and file time, and that the command and Python give the same warnings. The cases are in
`round_trip_cases.py`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import typer
from PIL import Image, ImageOps
from PIL.ExifTags import IFD, Base

import vqcodec
from vqcodec.cli.main import app
from vqcodec.errors import LossError, LossWarning, VqcError

from .round_trip_cases import Case, cases

TIME_NS = 1_100_000_000_000_000_000
"""Time of modification of the source files."""
KEYWORDS = {"--keep": "keep", "-q": "quality"}
"""Option of `encode` -> keyword of `vqcodec.encode`."""


@dataclass
class Result:
    """Result of one case."""

    n_bytes: int = 0
    mode: str = ""
    """Pillow mode of the decoded image."""
    psnr: float | None = None
    """dB over visible pixels; None where only a part or another format is decoded."""
    kept: str = ""
    warnings: tuple[str, ...] = ()
    faults: list[str] = field(default_factory=list)

    def check(self, good: object, what: str) -> None:
        """Note a fault unless `good`."""
        if not good:
            self.faults.append(what)


def command(*words: object) -> tuple[int, dict[str, Any]]:
    """(exit code, JSON record) of a command, run in this process."""
    out = io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(io.StringIO()):
            _command_line()([*map(str, words), "--json"], standalone_mode=False)
    except VqcError as error:
        return error.exit_code, {}
    return 0, json.loads(out.getvalue())


@cache
def _command_line() -> Any:
    """The command; the construction of its options takes longer than a small image."""
    return typer.main.get_command(app)


def expected_image(case: Case, data: bytes) -> Image.Image:
    """The upright image of mode L, LA, RGB or RGBA that a reader should see."""
    mode = ("L" if case.source.grey else "RGB") + "A" * case.source.alpha
    if case.source.channels is None:
        with Image.open(io.BytesIO(data)) as image:
            return ImageOps.exif_transpose(image).convert(mode)
    array = case.source.channels(*case.size)
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    image.getexif()[Base.Orientation] = case.metadata.orientation
    return ImageOps.exif_transpose(image)


def run_case(case: Case, folder: Path, model: str | None, effort: int) -> Result:
    """Encode, decode and check one case with files in `folder`."""
    result = Result()
    source, coded = folder / f"case.{case.source.suffix}", folder / "case.vqc"
    data = case.source.write(*case.size, dict(case.metadata.save))
    source.write_bytes(data)
    os.utime(source, ns=(TIME_NS, TIME_NS))
    common = ["-f", "--effort", effort, *(["-m", model] if model else [])]
    code, record = command("encode", source, "-o", coded, *common, *case.encode)
    wanted = [text for text in (case.source.warning, case.metadata.warning) if text]
    if "--strict" in case.encode and wanted:
        result.check(code == LossError.exit_code, f"exit code {code} with --strict")
        return result
    if code:
        result.faults.append(f"encode ends with {code}")
        return result
    result.n_bytes, result.warnings = record["bytes"], tuple(record["warnings"])
    named = len(result.warnings) == len(wanted) and all(map(str.__contains__, result.warnings, wanted))
    result.check(named, f"warnings {result.warnings} instead of {wanted}")
    image = expected_image(case, data)
    _check_encoding(case, source, coded, image, model, effort, result)
    _check_decoding(case, coded, folder / f"back.{case.to}", image, result)
    _check_metadata(case, coded, result)
    return result


def _check_encoding(
    case: Case, source: Path, coded: Path, image: Image.Image, model: str | None, effort: int, result: Result
) -> None:
    """Warnings in Python are those of the command; indices are those of the expected pixels; the time is kept."""
    options: dict[str, Any] = {
        KEYWORDS[a]: int(b) for a, b in zip(case.encode, case.encode[1:], strict=False) if a in KEYWORDS
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reread = vqcodec.encode(source, model, effort=effort, strip="--strip" in case.encode, **options)
    texts = tuple(str(warning.message) for warning in caught if warning.category is LossWarning)
    result.check(texts == result.warnings, f"Python warns {texts}")
    if "--target-size" not in case.encode:
        result.check(reread == coded.read_bytes(), "Python makes another file")
        same = vqcodec.decode_tokens(vqcodec.encode(np.asarray(image), model, effort=effort, **options))
        pairs = zip(vqcodec.decode_tokens(reread).planes, same.planes, strict=True)
        result.check(all(np.array_equal(a, b) for a, b in pairs), "other pixels were encoded")
    if "--preserve" in case.encode:
        result.check(coded.stat().st_mtime_ns == TIME_NS, "time not preserved")


def _check_decoding(case: Case, coded: Path, back: Path, image: Image.Image, result: Result) -> None:
    """Size, mode and alpha of the decoded file, and the warnings of its format."""
    code, record = command("decode", coded, "-o", back, "-f", *case.decode)
    if code:
        result.faults.append(f"decode ends with {code}")
        return
    lost = {"jpg": case.source.alpha, "avif": case.source.alpha, "ppm": case.source.alpha + 1}.get(case.to, 0)
    result.check(len(record["warnings"]) == lost, f"decode warns {record['warnings']}")
    region = None
    if case.decode:
        x, y, width, height = map(int, case.decode[1].split(","))
        region = (x, y, x + width, y + height)
        image = image.crop(region)
    with Image.open(back) as decoded:
        decoded.load()
    result.mode = decoded.mode
    result.check(decoded.size == image.size, f"size {decoded.size} instead of {image.size}")
    if case.to in ("png", "tiff"):
        result.check(decoded.mode == image.mode, f"mode {decoded.mode} instead of {image.mode}")
        if decoded.mode.endswith("A"):
            result.check(decoded.getchannel("A").tobytes() == image.getchannel("A").tobytes(), "alpha differs")
        if region is None:
            result.psnr = _psnr(image, decoded)


def _check_metadata(case: Case, coded: Path, result: Result) -> None:
    """ICC, Exif, XMP and density of the file, as Python gives them."""
    info = vqcodec.decode(coded.read_bytes()).info
    kept = () if "--strip" in case.encode else case.metadata.kept
    result.kept = ", ".join(key for key in ("icc_profile", "exif", "xmp", "dpi") if key in info)
    for key in kept:
        result.check(key in info, f"{key} lost")
    if "--strip" in case.encode:
        result.check(not result.kept, f"--strip left {result.kept}")
    if "icc_profile" in kept:
        result.check(info.get("icc_profile") == case.metadata.save["icc_profile"], "another ICC profile")
    if "dpi" in kept:
        result.check(tuple(map(round, info.get("dpi", ()))) == (300, 300), "another density")
    if "exif" in info:
        found = Image.Exif()
        found.load(info["exif"])
        result.check("exif" not in kept or found.get(Base.Make) == "Camera", "Exif lost its camera")
        result.check(found.get(Base.Orientation, 1) == 1, "orientation left in Exif")
        result.check(0x0201 not in found.get_ifd(IFD.IFD1), "thumbnail left in Exif")


def _psnr(image: Image.Image, decoded: Image.Image) -> float:
    a, b = (np.asarray(each.convert("RGBA"), np.float64) for each in (image, decoded))
    visible = a[..., 3] > 1
    error = np.square(a[visible] - b[visible])[..., :3].mean() if visible.any() else 0.0
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def main() -> None:
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="name or folder (default: as the command selects)")
    parser.add_argument("--effort", type=int, default=1, help="effort of encode, 1..9 (default: 1)")
    given = parser.parse_args()
    table = Table(title="round trips", show_lines=False)
    for name in ("source", "size", "metadata", "options", "bytes", "mode", "PSNR, dB", "kept", "warning", "result"):
        table.add_column(name, justify="right" if name in ("bytes", "PSNR, dB") else "left")
    n_cases, bad = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            result = run_case(case, Path(folder), given.model, given.effort)
            n_cases, bad = n_cases + 1, bad + bool(result.faults)
            options = " ".join([*case.encode, *([f"to {case.to}"] if case.to != "png" else []), *case.decode])
            psnr = "" if result.psnr is None else f"{min(result.psnr, 99):.1f}"
            table.add_row(
                case.source.name, "x".join(map(str, case.size)), case.metadata.name, options, str(result.n_bytes or ""),
                result.mode, psnr, result.kept, "; ".join(result.warnings), "; ".join(result.faults) or "ok",
            )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    print(f"{n_cases} round trips, {bad} with faults")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
