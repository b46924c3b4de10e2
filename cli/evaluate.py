"""`vqcodec eval`: our files beside those of other codecs, as tables on stdout, a report and a figure.

Differs from ruler.py, which measures: here are the options, and what they ask for is checked before any work.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqcodec.errors import InputError, UsageError
from vqcodec.models.registry import FAMILY

from . import options, output

if TYPE_CHECKING:
    from vqcodec.evaluation.bd_rate import Anchor
    from vqcodec.evaluation.codecs import Rival
    from vqcodec.metrics import Metric

DEFAULT_ANCHOR = "jpeg"
NO_ANCHOR = "none"
MADE_BY = {"quality": "VqcByQuality", "keep": "Vqc"}
"""What makes our files, in ruler.py."""


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
            "--plot", metavar="FIGURE", show_default="none", help="Rate against quality: a .png, .svg or .pdf file."
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            show_default=f"{' and '.join(FAMILY)}, if at hand",
            help="Model name or folder; may be given several times.",
        ),
    ] = None,
    codecs: Annotated[
        str, typer.Option("--codecs", metavar="LIST", help="vqcodec and its rivals: jpeg, webp, avif, jxl.")
    ] = "vqcodec,jpeg,webp,avif",
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="LIST", help="psnr (dB), ms-ssim (0..1); over all of R, G and B.")
    ] = "psnr,ms-ssim",
    bd_anchor: Annotated[
        str | None,
        typer.Option(
            "--bd-anchor",
            metavar="CODEC",
            show_default="jpeg if it is in --codecs",
            help="BD-rates against this rival; none: no BD-rates.",
        ),
    ] = None,
    bd_range: Annotated[
        str | None,
        typer.Option(
            "--bd-range", metavar="LOW,HIGH", show_default="no limit", help="BD-rates of files of so many bpp only."
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option("--by", metavar="quality|keep", help="Our files: the steps of -q, or every number of layers."),
    ] = "quality",
    effort: options.Effort = options.DEFAULT_EFFORT,
    times: Annotated[
        bool, typer.Option("--times/--no-times", help="Seconds in tables and report, which differ from run to run.")
    ] = True,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            show_default="none",
            help="A folder that remembers what rivals' files measured (their seconds too) for the next run.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, show_default="all", help="The first N pictures of each subset."),
    ] = None,
    force: options.Force = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no warnings; the tables stay.")] = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Measure models over their whole range beside JPEG, WebP, AVIF and JPEG XL.

    For each of our files the rival is its own largest file that is not larger than ours; where it has none, n/a.
    Sizes are of whole files. Pictures under 0.5 megapixels and larger ones have tables of their own. Transparency is
    left out. A picture that cannot be read is skipped and named.

    BD-rates compare whole curves: the mean size at equal quality, in percent against --bd-anchor, of each model, of
    several models together (for each size the best), and of the other rivals. Rivals get some more files for that.
    BD-rates, --plot and jxl need packages that only the extra `eval` of vqcodec installs.

    Seconds: of making and of reading one file in memory, without loading the model. The encoder network runs once a
    picture and counts in full in each of its files.

    A .json report holds `summary` (means per subset, model and quality or keep; the key is `keep` for both), `bd_rate`
    and `rows` (one per file); a .csv report the rows.
    """
    _check_targets(out, plot, force)
    from vqcodec.evaluation import bd_rate
    from vqcodec.evaluation import means as eval_means
    from vqcodec.evaluation import measure as ruler
    from vqcodec.evaluation import pictures as eval_pictures
    from vqcodec.evaluation.cache import RivalCache
    from vqcodec.models import registry

    from . import evaluate_report

    against, measures = _rivals(codecs), _metrics(metrics)
    names = [rival.name for rival in against]
    anchor = _anchor(bd_anchor, bd_range, names, quiet)
    for model in models or ():
        registry.find(model)
    if by not in MADE_BY:
        raise UsageError(f"--by {by}: there are {' and '.join(MADE_BY)}")
    make = getattr(ruler, MADE_BY[by])
    ours = [make(model, device, effort) for model in dict.fromkeys(models or registry.candidates())]
    reader = eval_pictures.Reader(eval_pictures.find(images), limit, max_pixels, quiet)
    known = None if cache is None else RivalCache(cache)
    for codec in ours:
        codec.prepare()
    curves = anchor is not None or plot is not None
    rows = ruler.measure(reader, ours, against, measures, curves=curves, times=times, cache=known)
    if not rows:
        raise InputError(f"{images[0]}: none of {len(reader.sources)} pictures could be read")
    summaries = eval_means.summarise(rows, names)
    rates = [] if anchor is None else bd_rate.bd_rates(rows, names, measures, anchor)
    evaluate_report.show(evaluate_report.mean_tables(summaries, measures, by))
    if anchor is not None:
        evaluate_report.show(evaluate_report.bd_tables(rates, measures, anchor))
    if out is not None:
        about = {rival.name: rival.describe() for rival in against}
        encode = evaluate_report.to_json if out.suffix.lower() == ".json" else evaluate_report.to_csv
        findings = evaluate_report.Findings(rows, summaries, about, reader.skipped, anchor, rates)
        output.write_new(out, encode(findings), force)
    if plot is not None:
        from vqcodec.evaluation import plot as eval_plot

        output.write_new(plot, eval_plot.draw(rows, summaries, measures, plot.suffix), force)


def _check_targets(out: Path | None, plot: Path | None, force: bool) -> None:
    if out is not None:
        if out.suffix.lower() not in (".json", ".csv"):
            raise UsageError(f"-o {out}: a report ends in .json or .csv")
        output.check_target(out, force)
    if plot is not None:
        from vqcodec.evaluation import plot as eval_plot

        eval_plot.check(plot)
        output.check_target(plot, force)


def _rivals(text: str) -> list[Rival]:
    from vqcodec.evaluation import codecs as rivals
    from vqcodec.evaluation import measure as ruler

    names = _listed(text, "--codecs")
    if ruler.OURS not in names:
        raise UsageError(f"--codecs {text}: {ruler.OURS} must be in it, since rivals are matched to its files")
    return [rivals.make_rival(name) for name in names if name != ruler.OURS]


def _metrics(text: str) -> list[Metric]:
    from vqcodec.metrics import METRICS

    found = []
    for name in _listed(text, "--metrics"):
        if name not in METRICS:
            raise UsageError(f"--metrics: no metric {name!r}; there are {', '.join(METRICS)}")
        found.append(METRICS[name])
    return found


def _anchor(codec: str | None, bpp_range: str | None, rivals: list[str], quiet: bool) -> Anchor | None:
    """What BD-rates are against. Unless they were asked for, they are left out where they cannot be had."""
    from vqcodec.evaluation import extra
    from vqcodec.evaluation.bd_rate import Anchor

    name = (codec or DEFAULT_ANCHOR).strip().lower()
    asked = codec is not None or bpp_range is not None
    if name == NO_ANCHOR or (name not in rivals and not asked):
        if bpp_range is not None:
            raise UsageError(f"--bd-range {bpp_range}: there are no BD-rates with --bd-anchor {NO_ANCHOR}")
        return None
    if name not in rivals:
        among = ", ".join([*rivals, NO_ANCHOR])
        raise UsageError(f"--bd-anchor {name}: not one of the rivals in --codecs; choose one of {among}")
    limits = None if bpp_range is None else parse_range(bpp_range)
    try:
        extra.need("bjontegaard", "--bd-anchor")
    except UsageError as error:
        if asked:
            raise
        if not quiet:
            output.say(f"no BD-rates: {error}")
        return None
    return Anchor(name, limits)


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
