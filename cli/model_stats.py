"""`vqcodec models stats`: raw bits of a model, and the use of its codebooks over pictures."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqcodec.errors import InputError, LimitError, UsageError

from . import options, output

if TYPE_CHECKING:
    from vqcodec.evaluation.codebook_usage import Capacity, Use


def model_stats(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=options._model_names,
            show_default=False,
            help="Model name or model folder.",
        ),
    ],
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
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Print the raw bits of a model, and usage and perplexity of each codebook over pictures.

    Raw bits are log2 K for each index, for one window of the model or for 256x256 pixels. Usage is the share of the
    codewords chosen at least once, 0..1; perplexity is 2 to the power of the entropy of the indices, 1..K. Stages that
    share codewords are one codebook; of a mixture of codewords the likeliest counts.

    Codewords are selected as for the model's largest files, without a context model. Windows that overlap count in
    full. A picture that cannot be read, or that the network cannot see at once, is skipped and named.

    JSON keys: name, side (pixels of the picture that raw bits are for), indices, raw_bits, raw_bits_by_layer (of the
    first 1, 2, ... layers), raw_bpp, pictures, skipped, entropy_bpp (each plane by its own frequencies; null without
    pictures), codebooks (each: name, planes, codewords, bits, indices, used, usage, perplexity, entropy).
    """
    from vqcodec.evaluation import pictures as eval_pictures
    from vqcodec.evaluation.codebook_usage import UsageCounter, capacity
    from vqcodec.models import registry

    entry = registry.find(name)
    raw, counter = capacity(entry.config.tokenizer, entry.config.layers), UsageCounter(entry.config.tokenizer)
    seen, skipped = 0, 0
    if pictures:
        reader = eval_pictures.Reader(eval_pictures.find(pictures), None, max_pixels, quiet)
        from vqcodec.inference.networks import pixels_to_planes
        from vqcodec.tokens.tokens import has_step

        if has_step(entry.config):
            raise UsageError(f"model '{name}': its planes are numbers, not codewords; name no pictures")
        model = registry.load(entry, device)
        rate = entry.config.ladder[-1].rate if entry.config.ladder else 1.0
        for source, pixels in islice(reader, limit):
            try:
                planes = pixels_to_planes(model, pixels, rate=rate)
            except LimitError as error:
                skipped += 1
                if not quiet:
                    output.say(f"warning: skipped: {source}: {error}")
                continue
            seen += 1
            counter.add(planes, pixels.shape[0] * pixels.shape[1])
        skipped += len(reader.skipped)
        if not seen:
            raise InputError(f"{pictures[0]}: none of {len(reader.sources)} pictures could be used")
    uses = list(counter.uses())
    if json:
        output.print_json(_record(entry.config.name, raw, uses, seen, skipped, counter.entropy_bpp))
        return
    for line in _table(entry.config.name, raw, uses, seen, counter.entropy_bpp):
        print(output.clean(line))


def _record(name: str, raw: Capacity, uses: list[Use], seen: int, skipped: int, entropy: float) -> dict[str, Any]:
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
        "codebooks": [_book(use, bool(seen)) for use in uses],
    }


def _book(use: Use, counted: bool) -> dict[str, Any]:
    book = use.codebook
    record: dict[str, Any] = {
        "name": book.name,
        "planes": list(book.planes),
        "codewords": book.size,
        "bits": round(math.log2(book.size), 4),
    }
    found = {
        "indices": use.indices,
        "used": use.used,
        "usage": round(use.usage, 6),
        "perplexity": round(use.perplexity, 3),
        "entropy": round(use.entropy, 5),
    }
    return record | (found if counted else dict.fromkeys(found))


def _table(name: str, raw: Capacity, uses: list[Use], seen: int, entropy: float) -> list[str]:
    layers = ", ".join(f"{bits:,.0f}" for bits in raw.bits_by_layer)
    lines = [
        name,
        f"  raw bits   {raw.bits:,.0f} in {raw.indices:,} indices for {raw.side}x{raw.side} pixels, {raw.bpp:.4f} bpp",
    ]
    if len(raw.bits_by_layer) > 1:
        lines.append(f"  by layers  {layers}")
    if seen:
        lines.append(f"  entropy    {entropy:.4f} bpp over {seen} pictures, each plane by its own frequencies")
    width = max(len(use.codebook.name) for use in uses) + 2
    lines.append(f"  {'':<{width}}{'codewords':>9}{'bits':>8}" + f"{'usage':>9}{'perplexity':>12}" * bool(seen))
    for use in uses:
        book = _book(use, True)
        found = f"{use.usage:>9.2%}{use.perplexity:>12,.1f}" if seen else ""
        lines.append(f"  {use.codebook.name:<{width}}{use.codebook.size:>9,}{book['bits']:>8.2f}{found}")
    return lines
