"""`vqcodec batch`: options.

A batch continues after a file that fails, skips what an earlier run has done, and may use several processes.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vqcodec.models.registry import DEFAULT_MODEL

from .. import options
from .checks import check, check_folders
from .manifest import MANIFEST
from .remote_tree import place
from .run import run_batch
from .settings import Choices, Settings
from .verify import verify_batch


class To(StrEnum):
    """Format that a batch writes."""

    vqc = "vqc"
    png = "png"
    jpg = "jpg"
    webp = "webp"
    avif = "avif"
    tiff = "tiff"
    npz = "npz"
    tokens = "tokens"


def batch(
    src: Annotated[
        str,
        typer.Argument(
            metavar="SRC", show_default=False, help="Folder to read, recursively; a path or a URL such as s3://a/b."
        ),
    ],
    dst: Annotated[
        str,
        typer.Argument(
            metavar="DST", show_default=False, help="Folder to write, with the folders of SRC; a path or a URL."
        ),
    ],
    to: Annotated[
        To,
        typer.Option(
            "--to",
            help="vqc encodes pictures; png, jpg, webp, avif and tiff decode .vqc files; npz unpacks their indices; "
            "tokens packs each .tar shard of .vqc files to one .vqtok file for training.",
        ),
    ] = To.vqc,
    model: options.ModelName = DEFAULT_MODEL,
    quality: options.Quality = None,
    bpp: options.Bpp = None,
    target_size: options.TargetSize = None,
    min_quality: options.MinQuality = None,
    keep: options.KeepOfModel = None,
    effort: options.Effort = options.DEFAULT_EFFORT,
    strip: options.Strip = False,
    keep_times: options.KeepTimes = False,
    strict: options.Strict = False,
    jobs: Annotated[
        int,
        typer.Option(
            "-j",
            "--jobs",
            min=0,
            metavar="N",
            show_default="automatic",
            help="Files at a time, each in its own process; 1 or more. Automatic: one process for each core, as far "
            "as memory allows, if there is work for more than a few seconds.",
        ),
    ] = 0,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            show_default="this machine",
            help="Convert on a Ray cluster (extra `ray`): host:port, auto, or local to start one here. SRC and DST "
            "must be the same on all its machines; -j limits the tasks at a time.",
        ),
    ] = None,
    shards: Annotated[
        bool,
        typer.Option(
            "--shards",
            help="Also convert the pictures in .tar shards (WebDataset): a shard becomes a shard of the same name; "
            "other members are copied; samples with a picture that fails are left out.",
        ),
    ] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            metavar="PATTERN",
            show_default="all",
            help="Only files that match or lie in a folder that matches; may be repeated. `*.jpg` matches names, "
            "`a/*.jpg` paths below SRC, `**` any folders.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="PATTERN",
            show_default="none",
            help="No files and folders that match; may be repeated.",
        ),
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first file that fails.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted batch: skip what the manifest lists, even if its source has changed.",
        ),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Convert nothing: check that DST holds what the manifest lists, that its .vqc files decode, and that "
            "no source is missing.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; write nothing.")] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            metavar="FILE",
            show_default=f"DST/{MANIFEST}",
            help="JSON Lines file with a record of each file.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "-f",
            "--force",
            "--overwrite",
            help="Also overwrite files that no batch has made, and outputs that were changed.",
        ),
    ] = False,
    json: options.Json = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    backend: options.Backend = "",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Convert a tree of pictures to .vqc files, or back.

    DST gets the folders of SRC. A second run converts what is new or has changed: finished files are skipped, outputs
    of an earlier batch are replaced, and files that no batch has made are never overwritten without -f.

    Hidden files, linked folders and files of other kinds are ignored. a.jpg becomes a.vqc; if there is an a.png too,
    they become a.jpg.vqc and a.png.vqc, but a source that an earlier batch has named keeps its name.

    A file that fails does not end the batch; it is named at the end, and the exit code is 10. Ctrl-C ends the batch
    after the files in work, with exit code 130.

    JSON keys: done, skipped, ignored, failed, left (files), bytes_in, bytes_out, seconds, with_warnings (files),
    ignored_kinds, failures (each: source, error, exit_code), manifest. With --verify: good, left (files), missing
    (sources), failures (each: target, error, exit_code).
    """
    rate = options.parse_rate(quality, bpp, target_size, min_quality, keep)
    settings = Settings(
        place(src),
        place(dst),
        to.value,
        model,
        rate,
        strip,
        device,
        max_pixels,
        debug,
        effort,
        keep_times,
        strict,
        shards or to is To.tokens,
    )
    choices = Choices(
        jobs,
        threads,
        ray,
        resume=resume,
        force=force,
        dry_run=dry_run,
        fail_fast=fail_fast,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        manifest=manifest,
        json=json,
        quiet=quiet,
        verbose=verbose,
    )
    if verify:
        check_folders(settings)
        verify_batch(settings, choices)
    else:
        run_batch(replace(settings, identity=check(settings)), choices)
