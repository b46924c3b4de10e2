"""Options shared by several commands, and the parsers of their values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vqcodec.config.effort import EFFORT
from vqcodec.errors import UsageError
from vqcodec.runtime.backend import set_backend
from vqcodec.runtime.threads import set_thread_count
from vqcodec.runtime.torch_state import check_device

from .state import state


def _set_debug(value: bool) -> bool:
    state.debug = value
    return value


def _set_threads(value: int) -> int:
    if value:
        set_thread_count(value)
    return value


def _set_backend(value: str) -> str:
    if value:
        set_backend(value)
    return value


def _check_device(value: str) -> str:
    """Refuse a device that is not available, before any work; the default is not checked, which would load torch."""
    check_device(value, "--device")
    return value


def model_names(incomplete: str) -> list[str]:
    """Names of installed models that begin with `incomplete`, for shell completion."""
    from vqcodec.models.registry import entries

    return [entry.config.name for entry in entries() if entry.config.name.startswith(incomplete)]


Force = Annotated[bool, typer.Option("-f", "--force", "--overwrite", help="Overwrite existing outputs.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout, one object a line.")]
Device = Annotated[
    str, typer.Option("--device", callback=_check_device, help="Device of the networks: cpu, cuda, cuda:1, mps ...")
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        min=0,
        callback=_set_threads,
        show_default="all cores",
        help="CPU threads of the networks, 1 or more.",
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        callback=_set_backend,
        show_default="auto",
        help="Library that runs the networks: auto, openvino or torch. Files are the same whichever decodes.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
QuietShort = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print more on stderr.")]
Profile = Annotated[
    bool, typer.Option("--profile", help="Print a table on stderr: seconds of start-up, networks, entropy coding ...")
]
Debug = Annotated[bool, typer.Option("--debug", callback=_set_debug, help="Print a traceback on errors.")]
MaxPixels = Annotated[
    int,
    typer.Option(
        "--max-pixels",
        min=1,
        show_default="2^28",
        help="Refuse pictures of more pixels than this, before memory is allocated.",
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        autocompletion=model_names,
        help="Model name (see `vqcodec models list`) or model folder.",
    ),
]

ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", autocompletion=model_names, show_default=False, help="Model name or model folder."),
]

Sources = Annotated[
    list[Path], typer.Argument(metavar="IN...", show_default=False, help="Files of type .vqc; - is stdin.")
]
SourcesOrFolders = Annotated[
    list[Path],
    typer.Argument(metavar="IN...", show_default=False, help="Files of type .vqc, or folders of them; - is stdin."),
]
Source = Annotated[Path, typer.Argument(metavar="IN", show_default=False, help="A .vqc file; - is stdin.")]
Keep = Annotated[
    int | None,
    typer.Option("--keep", metavar="K", show_default="all", help="Only the first K layers, 1..16."),
]
KeepOfModel = Annotated[
    int | None,
    typer.Option(
        "--keep",
        metavar="K",
        show_default="all",
        help="Only the first K layers of the model, 1..16.",
    ),
]
TargetSize = Annotated[
    str | None,
    typer.Option(
        "--target-size",
        metavar="BYTES",
        help="Size of the whole file at most: 40000, 40k (1000 bytes), 40KiB (1024 bytes), 1.5MB.",
    ),
]
Bpp = Annotated[
    float | None, typer.Option("--bpp", metavar="X", help="Bits per pixel of the whole file at most; more than 0.")
]
Quality = Annotated[
    int | None,
    typer.Option(
        "-q",
        "--quality",
        metavar="Q",
        help="Quality 1 (smallest file) .. 100 (best).",
    ),
]
PictureQuality = Annotated[
    int | None,
    typer.Option(
        "-q",
        "--quality",
        metavar="Q",
        show_default="95",
        help="Quality of JPEG, WebP or AVIF output, 1..100.",
    ),
]
CompressLevel = Annotated[
    int | None,
    typer.Option(
        "--compress-level",
        metavar="N",
        min=0,
        max=9,
        show_default="1",
        help="Compression level of PNG output, 0 (fast) to 9 (small).",
    ),
]
MinQuality = Annotated[
    str | None,
    typer.Option(
        "--min-quality", metavar="METRIC=X", help="The smallest file of at least psnr=X (dB) or ms-ssim=X (0..1)."
    ),
]
Effort = Annotated[
    int,
    typer.Option(
        "--effort",
        min=1,
        max=9,
        help="Time spent on selecting indices, 1..9: low efforts make the same file in one pass, high ones refine too.",
    ),
]
KeepTimes = Annotated[
    bool, typer.Option("--keep-times", "--preserve", help="Copy the times of the inputs to the outputs.")
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Write no file that would need a warning: exit code 9 names what would be lost."),
]
Strip = Annotated[bool, typer.Option("--strip", help="Convert to sRGB; drop ICC profile, Exif and XMP.")]

DEFAULT_MAX_PIXELS = 2**28
DEFAULT_EFFORT = EFFORT

RATE = {"-q": "quality", "--bpp": "bpp", "--target-size": "max_bytes", "--min-quality": "min_quality", "--keep": "keep"}
"""Option for the size of a file -> keyword of `vqcodec.encode`."""

UNITS = {"": 1, "k": 10**3, "ki": 2**10, "m": 10**6, "mi": 2**20, "g": 10**9, "gi": 2**30}
METRICS = {"psnr": (0.0, 100.0), "ms-ssim": (0.0, 1.0)}
"""Metric of --min-quality -> range of its values, the lower end excluded: dB, and 0..1."""
FORMATS = {name: name for name in ("png", "jpg", "webp", "avif", "tiff", "ppm")} | {"jpeg": "jpg", "tif": "tiff"}
"""Name or suffix -> format of a written picture."""


LOSSY = ("jpg", "webp", "avif")
"""Formats of a written picture that have a quality."""


def parse_rate(
    quality: int | None, bpp: float | None, target_size: str | None, min_quality: str | None, keep: int | None
) -> dict[str, Any]:
    """The size keywords of `vqcodec.encode` from the options for it, of which at most one may be given.

    Raises UsageError for two of them and for values out of range, except for `keep`, which depends on the model.
    """
    check_exclusive(dict(zip(RATE, (quality, bpp, target_size, min_quality, keep), strict=True)))
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"-q {quality}: give 1..100")
    return {
        "quality": quality,
        "bpp": bpp,
        "max_bytes": None if target_size is None else parse_size(target_size),
        "min_quality": None if min_quality is None else parse_min_quality(min_quality),
        "keep": keep,
    }


def parse_size(text: str, option: str = "--target-size") -> int:
    """Bytes in a text such as 40000, 40k or 40kB (40,000), 40KiB (40,960), 1.5MB. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmg]?i?)b?", text.strip().lower(), re.ASCII)
    if found is None or found[2] not in UNITS:
        raise UsageError(f"{option} {text}: write bytes, for example 40000, 40kB, 40KiB or 1.5MB")
    number = float(found[1]) * UNITS[found[2]]
    if number == math.inf:
        raise UsageError(f"{option}: a number of {len(found[1])} digits is larger than any file")
    size = int(number)
    if size < 1:
        raise UsageError(f"{option} {text}: at least 1 byte")
    return size


def parse_min_quality(text: str) -> tuple[str, float]:
    """("psnr", 32.0) for "psnr=32"; ("ms-ssim", 0.97) for "ms-ssim=0.97". Raises UsageError."""
    name, sign, number = text.partition("=")
    name = name.strip().lower()
    try:
        value = float(number)
    except ValueError:
        sign = ""
    if not sign or name not in METRICS:
        raise UsageError(f"--min-quality {text}: write psnr=DB or ms-ssim=0..1, for example psnr=32")
    low, high = METRICS[name]
    if not low < value <= high:
        raise UsageError(f"--min-quality {text}: {name} is more than {low:g} and at most {high:g}")
    return name, value


def parse_region(text: str) -> tuple[int, int, int, int]:
    """(x, y, width, height) in pixels from "X,Y,W,H". Raises UsageError."""
    parts = text.split(",")
    if len(parts) != 4 or not all(re.fullmatch(r"\s*\d{1,9}\s*", part, re.ASCII) for part in parts):
        raise UsageError(f"--region {text}: write X,Y,W,H in pixels, for example 0,0,256,256")
    x, y, width, height = map(int, parts)
    if width < 1 or height < 1:
        raise UsageError(f"--region {text}: width and height are at least 1 pixel")
    return x, y, width, height


def parse_format(format: str | None, target: str | None) -> str:
    """Format to write: `format`, else the suffix of `target`, else png. Raises UsageError; `-` needs a format."""
    known = "png, jpg, webp, avif, tiff or ppm"
    if format is not None:
        if format.lower() not in FORMATS:
            raise UsageError(f"--format {format}: use {known}")
        return FORMATS[format.lower()]
    if target == "-":
        raise UsageError(f"output to stdout has no suffix: add --format {known}")
    suffix = "" if target is None else Path(target).suffix
    if suffix.lower()[1:] not in FORMATS and suffix:
        raise UsageError(f"{target}: cannot be written as '{suffix[1:]}'; use the suffix {known}, or --format")
    return FORMATS[suffix.lower()[1:] or "png"]


def check_picture_quality(quality: int | None, format: str) -> None:
    """Raise UsageError for a quality outside 1..100, and for one of a lossless `format`."""
    if quality is None:
        return
    if not 1 <= quality <= 100:
        raise UsageError(f"-q {quality}: give 1..100")
    if format not in LOSSY:
        raise UsageError(f"-q {quality}: {format} has no quality; write {', '.join(LOSSY)}, or leave -q out")


def check_exclusive(options: Mapping[str, object], needed: bool = False) -> None:
    """Raise UsageError if more than one of `options` has a value, none although `needed`, or --bpp is not positive."""
    names = [name for name, value in options.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} exclude each other: give one of {', '.join(options)}")
    if needed and not names:
        raise UsageError(f"give one of {', '.join(options)}")
    bpp = options.get("--bpp")
    if isinstance(bpp, float) and not (0 < bpp < math.inf):
        raise UsageError(f"--bpp {bpp:g}: bits per pixel must be more than 0")
