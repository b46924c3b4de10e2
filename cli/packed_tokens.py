"""Packed shards of tokens from `vqcodec tokens IN... -o OUT.vqtok`."""

from __future__ import annotations

import os
from pathlib import Path

from . import files, messages
from .progress import counted


def pack_tokens(sources: list[str], out: Path, force: bool, json: bool, quiet: bool, max_pixels: int) -> None:
    """Write one packed shard of all .vqc files in `sources`, and report it."""
    from vqcodec.data.packed import PackedShard
    from vqcodec.data.packing import pack

    files.check_target(out, force, tuple(map(Path, sources)))
    with counted(f"packing {out.name}", quiet) as advance:
        count = pack(list(sources), out, max_pixels=max_pixels, on_progress=advance)
    space, size = PackedShard(str(out)).space(), os.path.getsize(out)
    if json:
        record = {"output": str(out), "pictures": count, "bytes": size, "layers": len(space.layers)}
        messages.print_json(record | {"planes": len(space.planes), "model": space.model})
    elif not quiet:
        messages.say(f"{out}: {count:,} pictures, {len(space.planes)} planes of model {space.model}, {size:,} bytes")
