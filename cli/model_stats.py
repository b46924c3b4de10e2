"""`vqcodec models stats`: raw bits of a model, and the usage of its codebooks over pictures."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqcodec.errors import InputError, LimitError, UsageError

from . import messages, options
from .progress import counted

if TYPE_CHECKING:
    from vqcodec.evaluation.codebook_usage import Capacity, Usage, UsageCounter
    from vqcodec.models.registry import Entry


def model_stats(
    name: options.ModelArgument,
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PICTURES", show_default="none: raw bits only", help="Pictures, folders (recursive), .tar shards."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, show_default="all", help="The first N pictures.")
    ] = None,
    json: options.Json = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    backend: options.Backend = "",
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Print the raw bits of a model, and the usage and perplexity of each codebook over pictures.

    Raw bits are log2 K for each index, for one window of the model or for 256x256 pixels. Usage is the share of the
    codewords that occur at least once, 0..1; perplexity is 2 to the power of the zero-order entropy of the indices,
    1..K. Stages that share codewords are one codebook; of a mixture of codewords the most likely one counts.

    Indices are selected as for the model's largest files, without a context model. Overlapping windows count in full.
    A picture that cannot be read, or that is too large for the network, is skipped and named.

    JSON keys: name, side (pixels of the picture that raw bits refer to), indices, raw_bits, raw_bits_by_layer (of the
    first 1, 2, ... layers), raw_bpp, pictures, skipped, entropy_bpp (zero-order entropy of all planes; null without
    pictures), codebooks (each: name, planes, codewords, bits, indices, used, usage, perplexity, entropy).
    """
    from vqcodec.evaluation.codebook_usage import UsageCounter, capacity
    from vqcodec.models import registry

    entry = registry.find(name)
    raw, counter = capacity(entry.config.tokenizer, entry.config.layers), UsageCounter(entry.config.tokenizer)
    skipped = _count(counter, entry, pictures, limit, device, max_pixels, quiet) if pictures else 0
    usages = list(counter.usages())
    if json:
        messages.print_json(_record(entry.config.name, raw, usages, counter.pictures, skipped, counter.entropy_bpp))
        return
    for line in _table(entry.config.name, raw, usages, counter.pictures, counter.entropy_bpp):
        print(messages.clean(line))


def _count(
    counter: UsageCounter,
    entry: Entry,
    paths: list[Path],
    limit: int | None,
    device: str,
    max_pixels: int,
    quiet: bool,
) -> int:
    """Count the indices of the pictures in `paths`; returns how many pictures were skipped. Raises InputError."""
    from vqcodec.evaluation.pictures import PictureReader, find
    from vqcodec.inference.networks import pixels_to_planes
    from vqcodec.models import loading
    from vqcodec.tokens.tokens import has_step

    sources = find(paths)
    if has_step(entry.config):
        raise UsageError(f"model '{entry.config.name}': its indices are numbers, not codewords; give no pictures")
    model = loading.load(entry, device)
    lmbda = entry.config.ladder[-1].lmbda if entry.config.ladder else 1.0
    too_large = 0

    def skip(reason: str) -> None:
        if not quiet:
            messages.say(f"warning: skipped: {reason}")

    with counted("measuring", quiet) as advance:
        reader = PictureReader(sources, None, max_pixels, on_progress=advance, on_skip=skip)
        for source, pixels in islice(reader, limit):
            try:
                planes = pixels_to_planes(model, pixels, lmbda=lmbda)
            except LimitError as error:
                too_large += 1
                skip(f"{source}: {error}")
                continue
            counter.add(planes, pixels.shape[0] * pixels.shape[1])
    if not counter.pictures:
        raise InputError(f"{paths[0]}: none of {len(sources)} pictures could be used")
    return too_large + len(reader.skipped)


def _record(name: str, raw: Capacity, usages: list[Usage], seen: int, skipped: int, entropy: float) -> dict[str, Any]:
    return {
        "name": name,
        "side": raw.side,
        "indices": raw.indices,
        "raw_bits": round(raw.bits, 3),
        "raw_bits_by_layer": [round(bits, 3) for bits in raw.bits_by_layer],
        "raw_bpp": round(raw.bpp, 6),
        "pictures": seen,
        "skipped": skipped,
        "entropy_bpp": round(entropy, 6) if seen else None,
        "codebooks": [_codebook(usage, bool(seen)) for usage in usages],
    }


def _codebook(usage: Usage, counted: bool) -> dict[str, Any]:
    """The JSON record of one codebook; null where no pictures were counted."""
    record: dict[str, Any] = {
        "name": usage.codebook.name,
        "planes": list(usage.codebook.planes),
        "codewords": usage.codebook.size,
        "bits": round(math.log2(usage.codebook.size), 4),
    }
    found = {
        "indices": usage.indices,
        "used": usage.used,
        "usage": round(usage.usage, 6),
        "perplexity": round(usage.perplexity, 3),
        "entropy": round(usage.entropy, 5),
    }
    return record | (found if counted else dict.fromkeys(found))


def _table(name: str, raw: Capacity, usages: list[Usage], seen: int, entropy: float) -> list[str]:
    layers = ", ".join(f"{bits:,.0f}" for bits in raw.bits_by_layer)
    lines = [
        name,
        f"  raw bits   {raw.bits:,.0f} in {raw.indices:,} indices for {raw.side}x{raw.side} pixels, {raw.bpp:.4f} bpp",
    ]
    if len(raw.bits_by_layer) > 1:
        lines.append(f"  by layers  {layers}")
    if seen:
        lines.append(f"  entropy    {entropy:.4f} bpp over {seen} pictures, each plane by its own frequencies")
    width = max(len(usage.codebook.name) for usage in usages) + 2
    lines.append(f"  {'':<{width}}{'codewords':>9}{'bits':>8}" + f"{'usage':>9}{'perplexity':>12}" * bool(seen))
    for usage in usages:
        book = usage.codebook
        found = f"{usage.usage:>9.2%}{usage.perplexity:>12,.1f}" if seen else ""
        lines.append(f"  {book.name:<{width}}{book.size:>9,}{math.log2(book.size):>8.2f}{found}")
    return lines
