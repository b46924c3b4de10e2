"""One line that names the missing parts of an incomplete file."""

from __future__ import annotations

from .. import container
from .chunks import write_chunks

INCOMPLETE = "cut or damaged file"
"""First words of the line."""


def damage(file: container.File, n_bytes: int) -> str:
    """One line naming the missing layers (from 1), alpha and metadata of an incomplete file of `n_bytes` bytes."""
    head, lost = file.head, _lost_layers(file)
    if head.alpha_bytes is not None and file.alpha is None:
        lost.append("alpha")
    if head.chunks_bytes and len(write_chunks(file.chunks)) < head.chunks_bytes:
        lost.append("metadata" if not file.chunks else "part of the metadata")
    facts = []
    if n_bytes < head.file_bytes:
        facts.append(f"{n_bytes:,} of {head.file_bytes:,} bytes")
    if n_bytes > head.file_bytes:
        facts.append(f"{n_bytes - head.file_bytes:,} bytes too many at its end")
    if lost:
        facts.append(f"without {', '.join(lost)}")
    return f"{INCOMPLETE}: {', '.join(facts)}"


def _lost_layers(file: container.File) -> list[str]:
    """Phrases such as "layer 2 in 1 of 6 tiles" and "layers 3 to 8".

    A tile is decoded up to its first missing segment, so its finer layers count as missing too.
    """
    header = file.header
    n_decodable = [_n_decodable([layer[t] for layer in file.segments]) for t in range(header.n_tiles)]
    counts = [sum(n < layer for n in n_decodable) for layer in range(1, header.n_layers + 1)]
    lost = []
    for count in sorted(set(counts) - {0}):
        first = counts.index(count) + 1
        last = header.n_layers - counts[::-1].index(count)
        which = f"layer {first}" if first == last else f"layers {first} to {last}"
        lost.append(which + (f" in {count} of {header.n_tiles} tiles" if count < header.n_tiles else ""))
    return lost


def _n_decodable(segments: list[bytes | None]) -> int:
    """Number of layers before the first missing segment of a tile."""
    return next((k for k, segment in enumerate(segments) if segment is None), len(segments))
