"""`vqcodec eval`: options, checks before any measurement, and outputs; `vqcodec.evaluation` measures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vqcodec.errors import UsageError
from vqcodec.models.registry import FAMILY

from .. import files, messages, options
from ..progress import counted

DEFAULT_ANCHOR = "jpeg"
NO_ANCHOR = "none"
OURS = "vqcodec"


class By(StrEnum):
    """Setting that a model's files are made by."""

    quality = "quality"
    keep = "keep"


def evaluate(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGES", show_default=False, help="Pictures, folders (recursive), .tar shards."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="REPORT", show_default="tables only", help="A .json or .csv file."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="FIGURE", show_default="none", help="Rate-quality curves as a .png, .svg or .pdf file."
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            show_default=f"{' and '.join(FAMILY)}, if installed",
            help="Model name or folder; may be repeated.",
        ),
    ] = None,
    codecs: Annotated[
        str,
        typer.Option(
            "--codecs", metavar="LIST", help="vqcodec and the codecs it is compared with: jpeg, webp, avif, jxl."
        ),
    ] = "vqcodec,jpeg,webp,avif",
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="LIST", help="psnr (dB), ms-ssim (0..1); over R, G and B together.")
    ] = "psnr,ms-ssim",
    bd_anchor: Annotated[
        str | None,
        typer.Option(
            "--bd-anchor",
            metavar="CODEC",
            show_default="jpeg if it is in --codecs",
            help="Codec that BD-rates are relative to; none: no BD-rates.",
        ),
    ] = None,
    bd_range: Annotated[
        str | None,
        typer.Option(
            "--bd-range",
            metavar="LOW,HIGH",
            show_default="no limit",
            help="BD-rates over files of LOW to HIGH bits per pixel only.",
        ),
    ] = None,
    by: Annotated[
        By, typer.Option("--by", help="A model's files: one per quality step of -q, or one per number of layers.")
    ] = By.quality,
    effort: options.Effort = options.DEFAULT_EFFORT,
    times: Annotated[
        bool,
        typer.Option("--times/--no-times", help="Seconds in tables and report; they differ from run to run."),
    ] = True,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            show_default="none",
            help="Folder that keeps the measurements of the other codecs (seconds included) for the next run.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, show_default="all", help="The first N pictures of each subset."),
    ] = None,
    force: options.Force = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    backend: options.Backend = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no warnings; tables are printed.")] = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Measure models over their whole range against JPEG, WebP, AVIF and JPEG XL.

    Each file of a model is compared with the other codec's largest file that is not larger; n/a where it has none.
    Sizes are those of whole files. Pictures under 0.5 megapixels and larger ones have separate tables. Transparency
    is ignored. A picture that cannot be read is skipped and named.

    BD-rates compare whole curves: the mean difference in size at equal quality, in percent relative to --bd-anchor, of
    each model, of several models together (the best for each size), and of the other codecs, which are measured at
    more settings for it. BD-rates, --plot and jxl need packages of the extra `eval` of vqcodec.

    Seconds are those of encoding and decoding one file in memory, without loading the model. The encoder network runs
    once per picture and counts in full in each of its files.

    A .json report holds `summary` (means per subset, model and quality or keep; the key is `keep` for both), `bd_rate`
    and `rows` (one per file); a .csv report the rows.
    """
    _check_targets(out, plot, force)
    from vqcodec.evaluation import compare, draw_curves
    from vqcodec.evaluation.comparison import metric_of
    from vqcodec.evaluation.pictures import PictureReader, find

    from . import tables

    names = _reference_codecs(codecs)
    chosen = _listed(metrics, "--metrics")
    with _in_option("--metrics"):
        measures = [metric_of(name) for name in chosen]
    anchor, limits = _anchor(bd_anchor, bd_range, names, quiet)
    with counted("measuring", quiet) as advance:
        reader = PictureReader(
            find(images),
            limit,
            max_pixels,
            on_progress=advance,
            on_skip=None if quiet else lambda reason: messages.say(f"warning: skipped: {reason}"),
        )
        result = compare(
            reader,
            models,
            names,
            metrics=chosen,
            anchor=anchor,
            bpp_range=limits,
            by=by.value,
            effort=effort,
            device=device,
            curves=plot is not None,
            times=times,
            cache=cache,
        )
    tables.show(tables.mean_tables(result.summaries, measures, by.value))
    if result.anchor is not None:
        tables.show(tables.bd_tables(result.bd_rates, measures, result.anchor))
    if out is not None:
        report = result.to_json(reader.skipped) if out.suffix.lower() == ".json" else result.to_csv()
        files.write_new(out, report, force)
    if plot is not None:
        files.write_new(plot, draw_curves(result, plot.suffix), force)


def _check_targets(out: Path | None, plot: Path | None, force: bool) -> None:
    if out is not None:
        if out.suffix.lower() not in (".json", ".csv"):
            raise UsageError(f"-o {out}: a report ends in .json or .csv")
        files.check_target(out, force)
    if plot is not None:
        from vqcodec.evaluation.plot import check_format

        with _in_option(f"--plot {plot}"):
            check_format(plot.suffix)
        files.check_target(plot, force)


def _reference_codecs(text: str) -> list[str]:
    """The codecs of --codecs other than vqcodec, each known and installed."""
    from vqcodec.evaluation.codecs import make_codec

    names = _listed(text, "--codecs")
    if OURS not in names:
        raise UsageError(f"--codecs {text}: {OURS} must be in it, since the other codecs are compared with its files")
    others = [name for name in names if name != OURS]
    with _in_option("--codecs"):
        for name in others:
            make_codec(name)
    return others


def _anchor(
    codec: str | None, bpp_range: str | None, codecs: list[str], quiet: bool
) -> tuple[str | None, tuple[float, float] | None]:
    """The anchor of BD-rates and their range; None where BD-rates are not requested and cannot be computed."""
    from vqcodec.evaluation import extra

    name = (codec or DEFAULT_ANCHOR).strip().lower()
    requested = codec is not None or bpp_range is not None
    if name == NO_ANCHOR or (name not in codecs and not requested):
        if bpp_range is not None:
            raise UsageError(f"--bd-range {bpp_range}: there are no BD-rates with --bd-anchor {NO_ANCHOR}")
        return None, None
    if name not in codecs:
        known = ", ".join([*codecs, NO_ANCHOR])
        raise UsageError(f"--bd-anchor {name}: not one of the other codecs in --codecs; use one of {known}")
    limits = None if bpp_range is None else parse_range(bpp_range)
    try:
        extra.need("bjontegaard", "--bd-anchor")
    except UsageError as error:
        if requested:
            raise
        if not quiet:
            messages.say(f"no BD-rates: {error}")
        return None, None
    return name, limits


def parse_range(text: str) -> tuple[float, float]:
    """(0.05, 0.8) of "0.05,0.8", bits per pixel. Raises UsageError."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = math.nan
    if not 0 <= low < high:
        raise UsageError(f"--bd-range {text}: write LOW,HIGH in bits per pixel, for example 0.05,0.8")
    return low, high


def _listed(text: str, option: str) -> list[str]:
    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError(f"{option}: name at least one")
    return names


@contextmanager
def _in_option(option: str) -> Iterator[None]:
    """Usage errors raised inside begin with the option."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from error
