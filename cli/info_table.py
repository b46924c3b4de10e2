"""Header of a .vqc file for `vqcodec info`: as a JSON record, and as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqcodec.container import MAX_HEAD_BYTES
from vqcodec.models.file_info import HEADER_NAMES, read_info
from vqcodec.models.retired import RETIRED

from . import files, messages


def head_of(source: Path) -> tuple[bytes, int]:
    """The first bytes of a file, enough for every header, and the size of the file in bytes."""
    if source == messages.STDIO or not os.path.isfile(source):
        data = files.read_input(source)
        return data[:MAX_HEAD_BYTES], len(data)
    return files.read_input(source, MAX_HEAD_BYTES), source.stat().st_size


def info_record(data: bytes, file_size: int, max_pixels: int | None) -> dict[str, Any]:
    """The JSON record of `vqcodec info`, except its key `input`. Raises InputError, FormatError, LimitError."""
    info = read_info(data, max_pixels)
    pixels, segments = info.width * info.height, info.n_tiles * len(info.layers)
    return {
        **{name: getattr(info, name) for name in HEADER_NAMES},
        "file_bytes": info.file_bytes,
        "bytes_there": file_size,
        "complete": file_size == info.file_bytes,
        "bpp": round(info.bpp, 6),
        "model": info.model,
        "model_layers": info.model_layers,
        "stride": info.stride,
        "version": info.version,
        "tiles": info.n_tiles,
        "layers": [
            {"bytes": layer.segment_bytes, "end": layer.end, "bpp": round(8 * layer.end / pixels, 6)}
            for layer in info.layers
        ],
        "overhead_bytes": info.overhead_bytes,
        "head_bytes": info.head_bytes,
        "bytes_per_segment": round((info.overhead_bytes - info.head_bytes) / segments, 3),
        "alpha_bytes": info.alpha_bytes,
        "metadata_bytes": info.chunks_bytes,
    }


def one_line(record: dict[str, Any]) -> str:
    """The record with its key `input` as one line of text."""
    size = f"{record['width']}x{record['height']} pixels, {record['file_bytes']:,} bytes, {record['bpp']:.3f} bpp"
    layers = len(record["layers"])
    model = record["model"] or "model not installed"
    cut = "" if record["complete"] else f", cut at {record['bytes_there']:,} bytes"
    return f"{record['input']}: {size}, {layers} layer{'s' if layers != 1 else ''} of {model}{cut}"


def table(record: dict[str, Any]) -> Iterator[str]:
    """The record with its key `input` as lines of text."""
    pixels = record["width"] * record["height"]
    segments = record["tiles"] * len(record["layers"])
    per_segment = f"{record['bytes_per_segment']:.1f} per segment ({segments:,} segments)"
    ids = f"{record['token_id']}/{record['entropy_id']}"
    rows = [
        ("size", f"{record['width']} x {record['height']} pixels, {_mega(pixels)} megapixels"),
        ("file", f"{record['file_bytes']:,} bytes, {record['bpp']:.3f} bpp"),
        ("model", record["model"] or _absent(ids)),
        ("identity", f"{ids} (tokens/entropy)"),
        ("layers", _layers(len(record["layers"]), record["model_layers"], record["stride"])),
        ("format", f"version {record['version']}"),
        ("access tiles", f"{record['tiles']:,} of {record['tile']} x {record['tile']} pixels"),
        ("overhead", f"{record['overhead_bytes']:,} bytes: {record['head_bytes']} + {per_segment}"),
        ("alpha", f"{record['alpha_bytes']:,} bytes, lossless" if record["alpha_bytes"] else "none"),
        ("metadata", f"{record['metadata_bytes']:,} bytes" if record["metadata_bytes"] else "none"),
        ("colour", "grey" if record["grey"] else "RGB"),
        ("cut to size", "yes, within or after a layer" if record["cut"] else "no"),
        ("layers kept", "chosen for each block of the token grid" if record["mapped"] else "the same everywhere"),
    ]
    if record["step"] is not None:
        rows.append(("step", f"number {record['step']} of 0..63 of the quantizer"))
    yield record["input"]
    there = record["bytes_there"]
    if there < record["file_bytes"]:
        yield f"  file is cut: {there:,} of {record['file_bytes']:,} bytes; decode it with --allow-partial"
    elif there > record["file_bytes"]:
        yield f"  {there - record['file_bytes']:,} bytes after the end; decode it with --allow-partial"
    for name, value in rows:
        yield f"  {name:<14}{value}"
    yield f"  {'layer':<14}{'coded bytes':>12}{'file up to here':>18}{'bpp':>9}"
    for number, layer in enumerate(record["layers"], 1):
        missing = "  missing" if layer["end"] > there else ""
        yield f"  {number:<14}{layer['bytes']:>12,}{layer['end']:>18,}{layer['bpp']:>9.3f}{missing}"


def _layers(n_layers: int, model_layers: int | None, stride: int | None) -> str:
    if model_layers is None:
        return f"{n_layers}"
    return f"{n_layers} of the model's {model_layers}, one token per {stride} x {stride} pixels"


def _absent(ids: str) -> str:
    """Line about a model that is not installed, by its ids `tokens/entropy`; a retired one is named."""
    if ids in RETIRED:
        name, version, _ = RETIRED[ids]
        return f"not installed ('{name}' of vqcodec {version})"
    return f"not installed (id {ids})"


def _mega(pixels: int) -> str:
    return f"{pixels / 1e6:.1f}" if pixels >= 10**6 else f"{pixels / 1e6:.2g}"
