"""What a cut or damaged file has lost, in one line; differs from container.py, which finds out."""

from __future__ import annotations

from .. import container
from .chunks import write_chunks

INCOMPLETE = "cut or damaged file"
"""Every such line begins with this."""


def damage(file: container.File, n_bytes: int) -> str:
    """What is not to be had of a file of `n_bytes` bytes that is not complete; layers count from 1."""
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
    """As "layer 2 in 1 of 6 tiles", "layers 3 to 8": what is lost of a tile takes its finer layers along."""
    header = file.header
    reached = [_reached([layer[t] for layer in file.segments]) for t in range(header.n_tiles)]
    counts = [sum(n < layer for n in reached) for layer in range(1, header.n_layers + 1)]
    lost = []
    for count in sorted(set(counts) - {0}):
        first = counts.index(count) + 1
        last = header.n_layers - counts[::-1].index(count)
        which = f"layer {first}" if first == last else f"layers {first} to {last}"
        lost.append(which + (f" in {count} of {header.n_tiles} tiles" if count < header.n_tiles else ""))
    return lost


def _reached(segments: list[bytes | None]) -> int:
    """Layers before the first that is missing."""
    return next((k for k, segment in enumerate(segments) if segment is None), len(segments))
