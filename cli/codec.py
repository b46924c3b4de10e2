"""Commands on single files: encode, decode, info, verify, truncate.

The first failure ends the command with its exit code. Torch is imported only after the options are checked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from vqcodec.errors import UsageError

from . import files, messages, options

if TYPE_CHECKING:
    from vqcodec.models.file_info import Info


def encode(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="IN", show_default=False, help="Pictures of any common format; - is stdin."),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="OUT", show_default="IN.vqc", help="A .vqc file, an existing directory, or -."
        ),
    ] = None,
    model: options.ModelName = None,
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
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Compress pictures to .vqc files.

    At most one of -q, --bpp, --target-size, --min-quality and --keep sets the size of the file; the default is -q 50.

    Without -m one of the bundled models is used, tried in order of file size. With -q: the model that covers this
    quality (`vqcodec models list`). With --bpp or --target-size: the first model whose largest file, without alpha and
    metadata, fills 90 % of the budget; if none does, the one whose picture has the higher PSNR within the budget. With
    --min-quality: the first model whose largest file reaches it. Otherwise the first model.

    JSON keys: input, output, width, height (pixels), bytes, bpp (of the output), layers, model, seconds, warnings.
    """
    rate = options.parse_rate(quality, bpp, target_size, min_quality, keep)
    if out is not None and Path(out).suffix.lower()[1:] in options.FORMATS:
        raise UsageError(f"-o {out}: encode writes .vqc files; name it .vqc, or use `vqcodec decode`")
    files.refuse_vqc(sources)
    pairs = _plan(sources, out, ".vqc", force, json)
    from vqcodec import api
    from vqcodec.encoder.size_options import check_size_options
    from vqcodec.image.files import read_picture
    from vqcodec.image.picture import strip as strip_picture
    from vqcodec.models import registry

    check_size_options(registry.candidates(model), **rate)
    for source, target in pairs:
        start = time.perf_counter()
        with messages.naming(source):
            picture = read_picture(_stream(source), max_pixels)
            picture = strip_picture(picture) if strip else picture
            messages.refuse_losses(picture.warnings, strict)
            if not quiet:
                messages.warn(source, picture.warnings)
            data = api.encode(picture, model, effort=effort, device=device, **rate)
        files.write_new(target, data, force, files.times_of(source) if keep_times else None)
        _report(source, target, data, start, json, 0 if quiet else 1 + verbose, warnings=list(picture.warnings))


def decode(
    sources: options.Sources,
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="OUT", show_default="IN.png", help="A picture, an existing directory, or -."
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="png|jpg|webp|ppm", show_default="by OUT, else png", help="Format of the picture."
        ),
    ] = None,
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
    quiet: options.QuietShort = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Decode .vqc files to pictures.

    JSON keys: input, output, format, width, height (pixels of the output), bytes (of the output), layers, model,
    complete, seconds, warnings.
    """
    area = None if region is None else options.parse_region(region)
    to_stdout = out == "-" or (out is None and sources == [messages.STDIO])
    directory = out is not None and os.path.isdir(out)
    kind = options.parse_format(format, "-" if to_stdout else None if directory else out)
    pairs = _plan(sources, out, f".{kind}", force, json)
    from vqcodec import api, container
    from vqcodec.image.files import write_picture

    for source, target in pairs:
        start = time.perf_counter()
        data = files.read_input(source)
        with messages.naming(source):
            picture = api.decode_picture(
                data,
                keep=keep,
                only_group=only_group,
                region=area,
                allow_partial=allow_partial,
                device=device,
                max_pixels=max_pixels,
            )
            encoded, lost = write_picture(picture, kind)
            lost = (*picture.warnings, *lost)
            messages.refuse_losses(lost, strict)
            info = api.inspect(data, max_pixels)
            file = container.read(data, allow_partial, max_pixels)
        layers = _decodable_layers(file.segments[:keep])
        if not quiet:
            messages.warn(source, lost)
        files.write_new(target, encoded, force, files.times_of(source) if keep_times else None)
        record = {
            "input": str(source),
            "output": str(target),
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
            messages.say(f"{_name(target)}: {picture.width}x{picture.height} pixels, {layers_text(layers)}{seconds}")


def info(
    source: options.Source,
    json: options.Json = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Print what the header of a .vqc file states; the model need not be installed.

    Sizes are in bytes, and in bits per pixel (bpp) of the whole file. JSON keys: input, width, height (pixels),
    file_bytes, bytes_there, bpp, model, model_layers and stride (pixels) of the model, token_id, entropy_id, version,
    tile (pixels a side), overlap (pixels), tiles, layers (each: bytes of coded indices, end, bpp), overhead_bytes,
    head_bytes, bytes_per_segment, alpha_bytes, metadata_bytes, cut, mapped, step (of the quantizer, or null), grey.
    """
    from .info_table import head_of, info_record, table

    data, there = head_of(source)
    with messages.naming(source):
        record = {"input": str(source)} | info_record(data, there, max_pixels)
    if json:
        messages.print_json(record)
    else:
        for line in table(record):
            messages.print_line(line)


def verify(
    sources: options.Sources,
    json: options.Json = False,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Check every checksum and decode every index of .vqc files; the first fault ends it with exit code 3 to 6.

    JSON keys: input, width, height (pixels), bytes, bpp, layers, model, ok, seconds.
    """
    from vqcodec import api

    for source in sources:
        start = time.perf_counter()
        data = files.read_input(source)
        with messages.naming(source):
            found = api.verify(data, max_pixels)
        if json:
            seconds = round(time.perf_counter() - start, 3)
            messages.print_json({"input": str(source)} | _size(found) | {"ok": True, "seconds": seconds})
        elif not quiet:
            messages.say(f"{source}: good: {len(data):,} bytes, {layers_text(len(found.layers))}")


def truncate(
    source: options.Source,
    out: Annotated[
        str, typer.Option("-o", "--output", metavar="OUT", show_default=False, help="A .vqc file, a directory, or -.")
    ],
    keep: options.Keep = None,
    target_size: options.TargetSize = None,
    bpp: options.Bpp = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
) -> None:
    """Make a .vqc file smaller without decoding it; exactly one of --keep, --target-size and --bpp sets its size.

    The model need not be installed.

    JSON keys: input, output, width, height (pixels), bytes, bpp, layers, model, seconds.
    """
    options.check_exclusive({"--keep": keep, "--target-size": target_size, "--bpp": bpp}, needed=True)
    max_bytes = None if target_size is None else options.parse_size(target_size)
    pairs = _plan([source], out, ".vqc", force, json)
    from vqcodec import api

    start = time.perf_counter()
    whole = files.read_input(source)
    with messages.naming(source):
        data = api.truncate(whole, keep=keep, max_bytes=max_bytes, bpp=bpp)
    files.write_new(pairs[0][1], data, force)
    _report(source, pairs[0][1], data, start, json, 0 if quiet else 1)


def _plan(sources: list[Path], out: str | None, suffix: str, force: bool, json: bool) -> list[tuple[Path, Path]]:
    pairs = files.plan(sources, out, suffix, force)
    if json and any(target == messages.STDIO for _, target in pairs):
        raise UsageError("--json and the data cannot both go to stdout: name a file with -o")
    return pairs


def _stream(source: Path) -> Path | BinaryIO:
    stream: BinaryIO | Path = files.stdin_stream() if source == messages.STDIO else source
    return stream


def _size(info: Info) -> dict[str, Any]:
    """Keys that the JSON of every command has that makes or checks a .vqc file."""
    return {
        "width": info.width,
        "height": info.height,
        "bytes": info.file_bytes,
        "bpp": round(info.bpp, 6),
        "layers": len(info.layers),
        "model": info.model,
    }


def _report(source: Path, target: Path, data: bytes, start: float, json: bool, lines: int, **more: Any) -> None:
    """Print the result of a new file: JSON, or `lines` 0..2 of text."""
    from vqcodec.models.file_info import read_info

    found, seconds = read_info(data, None), time.perf_counter() - start
    if json:
        record = {"input": str(source), "output": str(target)} | _size(found)
        messages.print_json(record | {"seconds": round(seconds, 3)} | more)
        return
    if lines > 0:
        layers = layers_text(len(found.layers)) + (f" of {found.model}" if found.model else "")
        messages.say(f"{_name(target)}: {len(data):,} bytes, {found.bpp:.3f} bpp, {layers}")
    if lines > 1:
        messages.say(f"{_name(target)}: {found.width}x{found.height} pixels, {seconds:.2f} s")


def _name(target: Path) -> str:
    return "<stdout>" if target == messages.STDIO else str(target)


def _decodable_layers(segments: Sequence[Sequence[bytes | None]]) -> int:
    """Layers of the tile with the most; segments of a tile after a missing one cannot be decoded."""
    tiles = zip(*segments, strict=True)
    return max(sum(1 for _ in takewhile(lambda segment: segment is not None, tile)) for tile in tiles)


def layers_text(n_layers: int) -> str:
    """Text such as "1 layer" or "2 layers"."""
    return f"{n_layers} layer{'s' if n_layers != 1 else ''}"
