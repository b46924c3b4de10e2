"""Commands between pictures and .vqc files: encode, decode.

Torch is imported only after the options are checked.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from vqcodec.errors import UsageError
from vqcodec.models.registry import DEFAULT_MODEL
from vqcodec.remote import url_of
from vqcodec.runtime.progress import Part, expect, working

from . import files, inputs, messages, options
from .profile import profiled
from .progress import file_bar
from .results import layers_text, name_of_target, note_small, report_encoded
from .several import Failures


@profiled
def encode(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="IN...", show_default=False, help="Pictures of any common format; - is stdin."),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="OUT", show_default="IN.vqc", help="A .vqc file, a directory (made), or -."
        ),
    ] = None,
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
    force: options.Force = False,
    json: options.Json = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    backend: options.Backend = "",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    profile: options.Profile = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Compress pictures to .vqc files; `encode IN OUT.vqc` works as `encode IN -o OUT.vqc`.

    A picture that fails does not end the command; the exit code is that of the first one.

    At most one of -q, --bpp, --target-size, --min-quality and --keep sets the size of the file; the default is -q 50.

    On a terminal, or with -v, one line for each file: bytes, bpp, ratio of the input's bytes to them, PSNR or MS-SSIM
    where a search has measured it, layers, model, seconds.

    JSON keys: input, output, width, height (pixels), bytes, bpp (of the output), layers, model, seconds, ratio, psnr
    (dB), ms_ssim (null where not known), warnings.
    """
    rate = options.parse_rate(quality, bpp, target_size, min_quality, keep)
    sources, out = inputs.split_output(sources, out, {".vqc"})
    failures = Failures(len(sources), json)
    if out is not None and not out.endswith(os.sep) and Path(out).suffix.lower()[1:] in options.FORMATS:
        raise UsageError(f"-o {out}: encode writes .vqc files; name it .vqc, or use `vqcodec decode`")
    pairs = files.plan(sources, out, ".vqc", force, failures, files.refuse_vqc)
    with working(Part.START_UP):
        from vqcodec import api
        from vqcodec.encoder.size_options import check_size_options
        from vqcodec.image.files import read_picture
        from vqcodec.image.picture import strip as strip_picture
        from vqcodec.models import registry

    check_size_options(model, registry.find(model).config, **rate)
    with file_bar("encoding", [source for source, _ in pairs], quiet, json) as progress:
        for source, target in pairs:
            start = time.perf_counter()
            with failures.of(source), progress.file(messages.name_of(source)):
                with messages.naming(source):
                    picture = read_picture(_stream(source), max_pixels)
                    progress.pixels = picture.width * picture.height
                    picture = strip_picture(picture) if strip else picture
                    messages.refuse_losses(picture.warnings, strict)
                    if not quiet:
                        messages.warn(source, picture.warnings)
                    made = api.encode_measured(picture, model, effort=effort, device=device, **rate)
                with working(Part.CONTAINER):
                    files.write_new(target, made.data, force, files.times_of(source) if keep_times else None)
                if not quiet:
                    note_small(source, made.data, **rate)
                report_encoded(source, target, made, start, json, quiet, verbose, picture.warnings)
    failures.finish(quiet)


@profiled
def decode(
    sources: options.Sources,
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="OUT", show_default="IN.png", help="A picture, a directory (made), or -."
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            show_default="by OUT, else png",
            help="Format of the picture: png, jpg, webp, avif, tiff or ppm.",
        ),
    ] = None,
    quality: options.PictureQuality = None,
    compress_level: options.CompressLevel = None,
    keep: options.Keep = None,
    only_group: Annotated[
        int | None,
        typer.Option(
            "--only-group",
            metavar="N",
            min=1,
            show_default="all",
            help="Decode group, branch or part N of 1..G only; the others are zero or the model's fill.",
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            metavar="X,Y,W,H",
            show_default="all",
            help="Decode this rectangle only; left, top, width, height in pixels.",
        ),
    ] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Decode what is left of a cut or damaged file.")
    ] = False,
    keep_times: options.KeepTimes = False,
    strict: options.Strict = False,
    force: options.Force = False,
    json: options.Json = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    backend: options.Backend = "",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    profile: options.Profile = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Decode .vqc files to pictures; `decode IN OUT.png` works as `decode IN -o OUT.png`.

    A file that fails does not end the command; the exit code is that of the first one.

    JSON keys: input, output, format, width, height (pixels of the output), bytes (of the output), layers, model,
    complete, seconds, warnings.
    """
    area = None if region is None else options.parse_region(region)
    sources, out = inputs.split_output(sources, out, {f".{suffix}" for suffix in options.FORMATS})
    failures = Failures(len(sources), json)
    to_stdout = out == "-" or (out is None and sources == [messages.STDIO])
    directory = out is not None and (os.path.isdir(out) or out.endswith(os.sep))
    kind = options.parse_format(format, "-" if to_stdout else None if directory else out)
    options.check_picture_quality(quality, kind)
    if compress_level is not None and kind != "png":
        raise UsageError(f"--compress-level is for png output, not {kind}")
    pairs = files.plan(sources, out, f".{kind}", force, failures, files.require_vqc)
    with working(Part.START_UP):
        from vqcodec import api, container
        from vqcodec.image.files import PNG_LEVEL, write_picture

    level = PNG_LEVEL if compress_level is None else compress_level
    with file_bar("decoding", [source for source, _ in pairs], quiet, json) as progress:
        for source, target in pairs:
            start = time.perf_counter()
            with failures.of(source), progress.file(messages.name_of(source)):
                with working(Part.CONTAINER):
                    data = files.read_input(source)
                with messages.naming(source):
                    info = api.inspect(data, max_pixels)
                    progress.pixels = area[2] * area[3] if area else info.width * info.height
                    expect(Part.PICTURE_OUT, progress.pixels)
                    picture = api.decode_picture(
                        data,
                        keep=keep,
                        only_group=only_group,
                        region=area,
                        allow_partial=allow_partial,
                        device=device,
                        max_pixels=max_pixels,
                    )
                    encoded, lost = write_picture(picture, kind, quality, level)
                    lost = (*picture.warnings, *lost)
                    messages.refuse_losses(lost, strict)
                    file = container.read(data, allow_partial, max_pixels)
                layers = _decodable_layers(file.segments[:keep])
                if not quiet:
                    messages.warn(source, lost)
                with working(Part.PICTURE_OUT):
                    files.write_new(target, encoded, force, files.times_of(source) if keep_times else None)
                record = {
                    "input": messages.path_text(source),
                    "output": messages.path_text(target),
                    "format": kind,
                    "width": picture.width,
                    "height": picture.height,
                    "bytes": len(encoded),
                    "layers": layers,
                    "model": info.model,
                    "complete": file.complete,
                    "seconds": round(time.perf_counter() - start, 3),
                    "warnings": list(lost),
                }
                if json:
                    messages.print_json(record)
                elif not quiet:
                    seconds = f", model {info.model}, {record['seconds']:.2f} s" if verbose else ""
                    size = f"{picture.width}x{picture.height} pixels"
                    messages.say(f"{name_of_target(target)}: {size}, {layers_text(layers)}{seconds}")
    failures.finish(quiet)


def _stream(source: Path) -> Path | BinaryIO:
    if source == messages.STDIO:
        return files.stdin_stream()
    if (url := url_of(source)) is None:
        return source
    stream = io.BytesIO(files.read_input(source))
    stream.name = url
    return stream


def _decodable_layers(segments: Sequence[Sequence[bytes | None]]) -> int:
    """Layers of the tile with the most; segments of a tile after a missing one cannot be decoded."""
    tiles = zip(*segments, strict=True)
    return max(sum(1 for _ in takewhile(lambda segment: segment is not None, tile)) for tile in tiles)
