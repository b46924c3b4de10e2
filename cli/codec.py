"""Single files: encode, decode, info, verify, truncate.

Differs from batch.py: the first failure ends the command with its exit code. Nothing heavy is imported before the
options have been checked.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqcodec.errors import UsageError

from . import options, output

if TYPE_CHECKING:
    from vqcodec.info import Info

KEYS = "JSON keys: input, output, width, height (pixels), bytes (output file), bpp, layers, model, seconds, warnings"
Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", show_default=False)]
Output = Annotated[str | None, typer.Option("-o", "--output", metavar="OUT", show_default="beside the input")]
VqcFile = Annotated[Path, typer.Argument(metavar="IN", show_default=False, help="A .vqc file; - is stdin.")]
Keep = Annotated[int | None, typer.Option("--keep", metavar="K", min=1, max=16, show_default="all")]
TargetSize = Annotated[
    str | None,
    typer.Option(
        "--target-size", metavar="BYTES", help="At most so many bytes, whole file: 40000, 40k (1000), 40KiB (1024), 1.5MB."
    ),
]
Bpp = Annotated[
    float | None, typer.Option("--bpp", metavar="X", help="At most so many bits per pixel, whole file; more than 0.")
]


def encode(
    sources: Annotated[
        list[Path], typer.Argument(metavar="IN...", show_default=False, help="Pictures of any usual format; - is stdin.")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="OUT", show_default="IN.vqc", help="A .vqc file, an existing directory, or -."
        ),
    ] = None,
    model: options.ModelName = "photo",
    quality: Annotated[
        int | None, typer.Option("-q", "--quality", min=1, max=100, help="1 smallest .. 100 best, by the model's ladder.")
    ] = None,
    bpp: Bpp = None,
    target_size: TargetSize = None,
    min_quality: Annotated[
        str | None,
        typer.Option(
            "--min-quality", metavar="METRIC=X", help="Fewest layers that reach psnr=X (dB) or ms-ssim=X (0..1)."
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="K", min=1, max=16, show_default="all", help="Keep the first K layers, 1..16."),
    ] = None,
    effort: Annotated[
        int,
        typer.Option(
            "--effort", min=1, max=9, help="Reserved for more search; all efforts give the same file in this version."
        ),
    ] = 5,
    strip: Annotated[bool, typer.Option("--strip", help="Leave out ICC (after conversion to sRGB), Exif and XMP.")] = False,
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

    At most one of -q, --bpp, --target-size, --min-quality and --keep says how large; without any, all layers are kept.

    JSON keys: input, output, width, height (pixels), bytes, bpp (of the output), layers, model, seconds, warnings.
    """
    options.check_rate(
        {"-q": quality, "--bpp": bpp, "--target-size": target_size, "--min-quality": min_quality, "--keep": keep}
    )
    max_bytes = None if target_size is None else options.parse_size(target_size)
    reach = None if min_quality is None else options.parse_min_quality(min_quality)
    if out is not None and Path(out).suffix.lower()[1:] in options.FORMATS:
        raise UsageError(f"-o {out}: encode writes .vqc files; name it .vqc, or use `vqcodec decode`")
    pairs = _plan(sources, out, ".vqc", force, json)
    from vqcodec import registry
    from vqcodec.image import read_picture
    from vqcodec.tokens import check_keep

    n_layers = len(registry.find(model).config.layers)
    if keep is not None:
        check_keep(keep, n_layers)
    import vqcodec

    for source, target in pairs:
        start = time.perf_counter()
        with output.naming(source):
            picture = read_picture(_stream(source), max_pixels)
            _warn(source, picture.warnings, quiet)
            data = vqcodec.encode(
                picture, model, quality=quality, keep=keep, max_bytes=max_bytes, bpp=bpp, min_quality=reach, strip=strip,
                device=device,
            )  # fmt: skip
        output.write_new(target, data, force)
        record = _record(source, target, data, time.perf_counter() - start) | {"warnings": list(picture.warnings)}
        _report(record, json, quiet, verbose)


def decode(
    sources: Annotated[list[Path], typer.Argument(metavar="IN...", show_default=False, help="Files .vqc; - is stdin.")],
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
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="K", min=1, max=16, show_default="all", help="Show the first K layers only, 1..16."),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="X,Y,W,H", show_default="all", help="Decode only that part, in pixels."),
    ] = None,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Take a cut or damaged file as far as it goes.")
    ] = False,
    decoder: Annotated[
        str | None, typer.Option("--decoder", metavar="NAME", show_default="default", help="One of the model's decoders.")
    ] = None,
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
    to_stdout = out == "-" or (out is None and sources == [output.STDIO])
    directory = out is not None and Path(out).is_dir()
    kind = options.parse_format(format, "-" if to_stdout else None if directory else out)
    pairs = _plan(sources, out, f".{kind}", force, json)
    from vqcodec import api, container
    from vqcodec.image import write_picture

    for source, target in pairs:
        start = time.perf_counter()
        data = output.read_input(source)
        with output.naming(source):
            picture = api.decode_picture(data, keep, area, allow_partial, decoder, device, max_pixels)
            encoded, lost = write_picture(picture, kind)
            info = api.inspect(data, max_pixels)
            complete = not allow_partial or container.read(data, True, max_pixels).complete
        if not complete:
            lost = (f"cut or damaged file: {len(data):,} of {info.file_bytes:,} bytes, shown as far as it goes", *lost)
        lost = (*picture.warnings, *lost)
        _warn(source, lost, quiet)
        output.write_new(target, encoded, force)
        layers = min(keep or 16, len(info.layers))
        record = {
            "input": str(source), "output": str(target), "format": kind, "width": picture.width, "height": picture.height,
            "bytes": len(encoded), "layers": layers, "model": info.model, "complete": complete,
            "seconds": round(time.perf_counter() - start, 3), "warnings": list(lost),
        }  # fmt: skip
        if json:
            output.print_json(record)
        elif verbose and not quiet:
            output.say(f"{target}: {picture.width}x{picture.height}, {layers} layers, {record['seconds']:.2f} s")


def info(
    source: VqcFile,
    json: options.Json = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Say what a .vqc file holds, from its head alone; its model need not be at hand.

    Sizes are in bytes, and in bits per pixel (bpp) of the whole file. JSON keys: input, width, height (pixels),
    file_bytes, bytes_there, bpp, model, token_id, entropy_id, version, tile (pixels a side), tiles,
    layers (each: bytes of coded indices, end, bpp), overhead_bytes, head_bytes, bytes_per_segment, alpha_bytes,
    metadata_bytes, cut, grey.
    """
    from .facts import facts, table

    data, there = _head_of(source)
    with output.naming(source):
        record = {"input": str(source)} | facts(data, there, max_pixels)
    if json:
        output.print_json(record)
    else:
        for line in table(record):
            print(output.clean(line))


def verify(
    sources: Annotated[list[Path], typer.Argument(metavar="IN...", show_default=False, help="Files .vqc; - is stdin.")],
    json: options.Json = False,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Check every checksum and decode every index of .vqc files; the first fault ends the command with exit code 4 or 5.

    JSON keys: input, width, height (pixels), bytes, bpp, layers, model, ok, seconds.
    """
    from vqcodec import api

    for source in sources:
        start = time.perf_counter()
        data = output.read_input(source)
        with output.naming(source):
            found = api.verify(data, max_pixels)
        if json:
            seconds = round(time.perf_counter() - start, 3)
            output.print_json({"input": str(source)} | _size(found) | {"ok": True, "seconds": seconds})
        elif not quiet:
            output.say(f"{source}: good: {len(data):,} bytes, {_layers(len(found.layers))}")


def truncate(
    source: VqcFile,
    out: Annotated[
        str, typer.Option("-o", "--output", metavar="OUT", show_default=False, help="A .vqc file, a directory, or -.")
    ],
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="K", min=1, max=16, show_default=False, help="Keep the first K layers, 1..16."),
    ] = None,
    target_size: TargetSize = None,
    bpp: Bpp = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
) -> None:
    """Make a .vqc file smaller without decoding it; exactly one of --keep, --target-size and --bpp says how small.

    The model need not be at hand. JSON keys: input, output, width, height (pixels), bytes, bpp, layers, model, seconds.
    """
    options.check_rate({"--keep": keep, "--target-size": target_size, "--bpp": bpp}, needed=True)
    max_bytes = None if target_size is None else options.parse_size(target_size)
    pairs = _plan([source], out, ".vqc", force, json)
    from vqcodec import api

    start = time.perf_counter()
    whole = output.read_input(source)
    with output.naming(source):
        data = api.truncate(whole, keep=keep, max_bytes=max_bytes, bpp=bpp)
    output.write_new(pairs[0][1], data, force)
    _report(_record(source, pairs[0][1], data, time.perf_counter() - start), json, quiet)
