"""Commands on .vqc files that make no picture: info, verify, truncate."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from vqcodec.errors import UsageError
from vqcodec.runtime.progress import Part, working

from . import files, inputs, messages, options
from .profile import profiled
from .progress import file_bar
from .results import layers_text, report_file, size_record
from .several import Failures


def info(
    sources: options.SourcesOrFolders,
    json: options.Json = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print all fields of several files too.")] = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Print what the header of a .vqc file states; the model need not be installed.

    Several files, or the .vqc files of a folder, get one line each. An unreadable one does not end the command; its
    exit code is that of the first one.

    Sizes are in bytes, and in bits per pixel (bpp) of the whole file. JSON keys: input, width, height (pixels),
    file_bytes, bytes_there, bpp, model, model_layers and stride (pixels) of the model, token_id, entropy_id, version,
    tile (pixels a side), overlap (pixels), tiles, layers (each: bytes of coded indices, end, bpp), overhead_bytes,
    head_bytes, bytes_per_segment, alpha_bytes, metadata_bytes, cut, mapped, step (of the quantizer, or null), grey.
    """
    from .info_table import head_of, info_record, one_line, table

    found = inputs.vqc_files(sources)
    failures = Failures(len(found), json)
    for source, _ in found:
        with failures.of(source):
            data, there = head_of(source)
            with messages.naming(source):
                record = {"input": messages.path_text(source)} | info_record(data, there, max_pixels)
            if json:
                messages.print_json(record)
                continue
            for line in table(record) if len(found) == 1 or verbose else [one_line(record)]:
                messages.print_line(line)
            if verbose and len(found) > 1:
                messages.print_line("")
    failures.finish(quiet=False)


@profiled
def verify(
    sources: options.SourcesOrFolders,
    json: options.Json = False,
    quiet: options.QuietShort = False,
    profile: options.Profile = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Check every checksum and decode every index of .vqc files; a fault gives exit code 3 to 6.

    A folder stands for its .vqc files. Of several files all are checked; the exit code is that of the first fault.

    JSON keys: input, width, height (pixels), bytes, bpp, layers, model, ok, seconds.
    """
    found = inputs.vqc_files(sources)
    failures = Failures(len(found), json)
    with working(Part.START_UP):
        from vqcodec import api

    with file_bar("verifying", [source for source, _ in found], quiet, json) as progress:
        for source, _ in found:
            start = time.perf_counter()
            with failures.of(source), progress.file(messages.name_of(source)):
                with working(Part.CONTAINER):
                    data = files.read_input(source)
                with messages.naming(source):
                    facts = api.inspect(data, max_pixels)
                    progress.pixels = facts.width * facts.height
                    api.verify(data, max_pixels)
                if json:
                    seconds = round(time.perf_counter() - start, 3)
                    messages.print_json(
                        {"input": messages.path_text(source)} | size_record(facts) | {"ok": True, "seconds": seconds}
                    )
                elif not quiet:
                    messages.say(
                        f"{messages.name_of(source)}: good: {len(data):,} bytes, {layers_text(len(facts.layers))}"
                    )
    failures.finish(quiet)


def truncate(
    source: options.Source,
    target: Annotated[
        str | None, typer.Argument(metavar="[OUT]", show_default=False, help="The output, in place of -o.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="OUT", show_default=False, help="A .vqc file, a directory, or -."),
    ] = None,
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
    if (target is None) == (out is None):
        raise UsageError("name one output: `vqcodec truncate IN -o OUT`")
    options.check_exclusive({"--keep": keep, "--target-size": target_size, "--bpp": bpp}, needed=True)
    max_bytes = None if target_size is None else options.parse_size(target_size)
    pairs = files.plan([source], out or target, ".vqc", force, Failures(1, json))
    from vqcodec import api

    start = time.perf_counter()
    whole = files.read_input(source)
    with messages.naming(source):
        data = api.truncate(whole, keep=keep, max_bytes=max_bytes, bpp=bpp)
    files.write_new(pairs[0][1], data, force)
    report_file(source, pairs[0][1], data, start, json, 0 if quiet else 1)
