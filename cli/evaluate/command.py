"""`vqcodec eval`: options and run; `vqcodec.evaluation` measures."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vqcodec.errors import UsageError
from vqcodec.models.registry import DEFAULT_MODEL

from .. import messages, options
from ..batch.capacity import workforce

MANY = 2**20
"""More pictures than there are processes; `run` takes no more than it has pictures."""
DEFAULT_POINTS = 6
"""Quality steps of each model that are measured."""
DEFAULT_SHOWN = 6
"""Pictures in the page."""


class By(StrEnum):
    """Setting that a model's files are made by."""

    quality = "quality"
    keep = "keep"


def evaluate(
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGES", show_default=False, help="Pictures, folders (recursive), .tar shards."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="REPORT",
            show_default="tables only",
            help="A .html (with .json, .csv and .svg beside it), .json or .csv file.",
        ),
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
            show_default=DEFAULT_MODEL,
            help="Model name or folder; may be repeated.",
        ),
    ] = None,
    codecs: Annotated[
        str | None,
        typer.Option(
            "--codecs",
            metavar="LIST",
            show_default="all that are installed",
            help="Codecs to compare, of vqcodec, jpeg, webp, avif and jxl.",
        ),
    ] = None,
    command: Annotated[
        list[str] | None,
        typer.Option(
            "--command",
            metavar="SPEC",
            show_default="none",
            help="A codec as two shell commands: 'NAME=ENCODE {in} {out.jxl} -q {q:10,50,90} => DECODE {in} {out}'; "
            "may be repeated.",
        ),
    ] = None,
    folder: Annotated[
        list[str] | None,
        typer.Option(
            "--folder",
            metavar="NAME=DIR",
            show_default="none",
            help="A codec as a folder of decoded pictures with sizes.csv (picture,bytes[,setting][,decoded]); may be "
            "repeated.",
        ),
    ] = None,
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics",
            metavar="LIST",
            help="psnr (dB), ms-ssim and ssim (0..1), ssimulacra2 (up to 100), lpips, lpips-vgg, dists (0: equal), "
            "patch and step (levels of 16x16 means); over R, G and B together.",
        ),
    ] = "psnr,ms-ssim,patch",
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            show_default="torch's cache",
            help="Weights of VGG16 or AlexNet (lpips, dists) or Inception (rFID) as a .pth file; may be repeated.",
        ),
    ] = None,
    bd_anchor: Annotated[
        str | None,
        typer.Option(
            "--bd-anchor",
            metavar="CODEC",
            show_default="jpeg, else the first",
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
    points: Annotated[
        int,
        typer.Option(
            "--points", metavar="N", min=0, help="Quality steps of each model, evenly over its range; 0: every step."
        ),
    ] = DEFAULT_POINTS,
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
    resize: Annotated[
        int | None,
        typer.Option(
            "--resize", metavar="N", min=1, show_default="no", help="Resize the short side to N pixels, 1 or more."
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option("--crop", metavar="WxH", show_default="no", help="Crop the centre, in pixels, after --resize."),
    ] = None,
    pair: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--pair", metavar="A B", show_default="none", help="Only the metrics of picture B against picture A."
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="NAME",
            show_default="none",
            help="A paper's table for the models of -m, by its protocol: mgvq-1, -2, -3, -6, xqgan-2, fqgan-1, "
            "softvq-1, -2.",
        ),
    ] = None,
    shown: Annotated[
        int, typer.Option("--show", metavar="N", min=0, help="Pictures in an .html report, the first N.")
    ] = DEFAULT_SHOWN,
    jobs: Annotated[
        int,
        typer.Option(
            "-j",
            "--jobs",
            min=0,
            metavar="N",
            show_default="one per core, as memory allows",
            help="Pictures at a time, each in its own process; 1 or more.",
        ),
    ] = 0,
    json: options.Json = False,
    force: options.Force = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    backend: options.Backend = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no warnings; tables are printed.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="A line on stderr for each picture.")] = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Measure models and other codecs: size and quality of every file, curves, and a verdict.

    Each file of a model is compared with the other codec's largest file that is not larger; lines without one are left
    out. Sizes are those of whole files. Pictures under 0.5 megapixels and larger ones have separate tables.
    Transparency is ignored. A picture that cannot be read is skipped and named; a codec that fails on a picture is
    named, and the others go on.

    BD-rates compare whole curves: the mean difference in size at equal quality, in percent relative to --bd-anchor, of
    each model, of several models together (the best for each size), and of the other codecs, which are measured at
    more settings for it. BD-rates, figures, jxl and some metrics need packages of the extra `eval` of vqcodec.

    With -o finished pictures are kept in REPORT.partial: an interrupted run is continued by the same command.

    Seconds are those of encoding and decoding one file in memory, without loading the model, on the
    --threads of one process. The encoder network runs once per picture and counts in full in each of its files.

    A .json report and --json hold `summary` (means per subset, model and quality or keep; the key is `keep` for both),
    `bd_rate`, `failed` and `rows` (one per file); a .csv report the rows.
    """
    from . import paper_table
    from .choices import chosen_anchor, chosen_codecs, chosen_metrics, chosen_preparation
    from .pair import compare_pair
    from .report import Outputs, print_results
    from .run import Pictures, Selection, Work, measure, verdict_of

    files = weights or []
    if pair is not None:
        compare_pair(*pair, chosen_metrics(metrics, files, quiet), files, json)
        return
    if not images:
        raise UsageError("name pictures or folders, or --pair A B")
    processes = workforce(MANY, jobs, threads, device)
    workers, per_worker = processes.processes, processes.threads
    if table is not None:
        paper_table.run(
            paper_table.Request(
                table.strip().lower(),
                images,
                models or [],
                files,
                limit,
                out,
                force,
                device,
                workers,
                per_worker,
                max_pixels,
                json,
                quiet,
            )
        )
        return
    outputs = Outputs(out, plot, force)
    outputs.check()
    chosen = chosen_codecs(codecs, command or [], folder or [])
    anchor, limits = chosen_anchor(bd_anchor, bd_range, chosen.names, quiet)
    selection = Selection(
        codecs=chosen,
        models=models,
        metrics=chosen_metrics(metrics, files, quiet),
        weights=files,
        anchor=anchor,
        bpp_range=limits,
        by=by.value,
        points=points or None,
        effort=effort,
        device=device,
        times=times,
        cache=cache,
    )
    pictures = Pictures(images, limit, max_pixels, chosen_preparation(resize, crop))
    comparison, skipped = measure(selection, pictures, outputs, Work(workers, per_worker, shown, quiet, verbose))
    lines = verdict_of(comparison)
    outputs.write(comparison, lines, skipped, by.value)
    print_results(comparison, lines, skipped, by.value, json)
    if outputs.written and not quiet:
        messages.say(f"written: {', '.join(map(str, outputs.written))}")
