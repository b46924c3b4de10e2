"""The corpus of hostile files in tests/hostile: `python -m tests.fuzz.hostile_files` writes it anew.

Each file has an entry in expected.json: the command that reads it, its exit code, and a part of its message. The files
need no model: they are made of the worked example of FORMAT.md, and of archives and checkpoints without networks.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard

from vqcodec.container import MAGIC
from vqcodec.container.bytes_reader import varint_bytes

from ..containers import GOLDEN
from .vqc_mutation import Draft, draft_of

FOLDER = Path(__file__).parents[1] / "hostile"
EXPECTED = FOLDER / "expected.json"
Entry = tuple[str, bytes, str, int, str]
"""Name, contents, command, exit code, part of the message."""


def _draft(**changes: Any) -> bytes:
    draft: Draft = replace(draft_of(GOLDEN), **changes)
    return draft.write()


def _head(fields: bytes) -> bytes:
    return MAGIC + fields + zlib.crc32(MAGIC + fields).to_bytes(4, "little")


def vqc_files() -> Iterator[Entry]:
    """.vqc files, all with correct checksums unless their name says otherwise."""
    head, largest = bytes([1, 0]) + bytes(10), varint_bytes(2**20 - 1)
    one = draft_of(GOLDEN).chunks[0]
    for name, data, code, text in (
        ("empty", b"", 3, "not a .vqc file"),
        ("magic-alone", MAGIC, 4, "version"),
        ("another-magic", b"GIF89a" + bytes(40), 3, "not a .vqc file"),
        ("version-2", _draft(version=2), 4, "newer version"),
        ("version-0", _draft(version=0), 4, "version"),
        ("reserved-flag", _draft(flags=12 | 32), 4, "reserved bits"),
        ("width-2-pow-21", _head(head + varint_bytes(2**21) + b"\0\x40\0"), 4, "width"),
        ("height-2-pow-32", _head(head + b"\0" + varint_bytes(2**32 - 1) + b"\x40\0"), 4, "height"),
        ("width-of-6-bytes", _head(head + b"\xff" * 5 + b"\x01\0\x40\0"), 4, "varint"),
        ("width-not-shortest", _head(head + b"\x80\0\0\x40\0"), 4, "varint"),
        ("tile-beyond-the-largest", _draft(tile_and_layers=0xC1), 4, "tile and layers"),
        ("tiles-2-pow-32", _head(head + largest * 2 + b"\x0f"), 4, "segments"),
        ("window-of-overlap", _draft(flags=12 | 64, tile_and_layers=1, window=64, overlap=33), 4, "overlap"),
        ("window-without-need", _draft(flags=12 | 64, tile_and_layers=1, window=256, overlap=0), 4, "window"),
        ("window-and-nibble", _draft(flags=12 | 64, window=200, overlap=8), 4, "high nibble"),
        ("step-64", _draft(flags=12 | 128, step=64), 4, "step"),
        ("entry-beyond-the-file", _draft(entries=[[2**27 - 1, 0], [None, None]]), 4, "end of file"),
        ("entry-beyond-the-limit", _draft(entries=[[2**27, 0], [None, None]]), 4, "table of contents"),
        ("entries-missing", _draft(entries=[[None, None], [None]]), 4, "CRC-32 of the head"),
        ("layers-16-of-2", _draft(tile_and_layers=0x4F), 4, "table of contents"),
        ("all-segments-over-4-gib", _draft(tile_and_layers=0x4F, segments=[[b""] * 2] * 16,
                                           entries=[[2**26, 2**26]] * 16), 4, "bytes of segments"),
        ("alpha-of-0-bytes", _draft(alpha_claim=0), 4, "alpha length"),
        ("alpha-of-4-gib", _draft(alpha_claim=2**32 - 1), 4, "end of file"),
        ("chunks-of-8-bytes", _draft(chunks_claim=8), 4, "chunks length"),
        ("chunks-of-1-gib", _draft(chunks_claim=2**30), 4, "chunks length"),
        ("chunk-longer-than-chunks", _draft(chunks=[(one[0], one[1], 200)]), 4, "chunk"),
        ("chunk-of-17-mib", _draft(chunks=[(one[0], one[1], 2**24 + 1)]), 4, "chunk length"),
        ("chunk-critical", _draft(chunks=[("ABcd", b"x", None)]), 4, "critical"),
        ("chunk-twice", _draft(chunks=[one, one]), 4, "once"),
        ("chunk-name-controls-the-terminal", _draft(chunks=[("\x1b[2J", b"x", None)]), 4, "4 ASCII letters"),
        ("chunks-257", _draft(chunks=[("zzZz", b"", None)] * 257), 4, "at most 256"),
        ("head-crc-wrong", GOLDEN[:27] + b"\0" + GOLDEN[28:], 4, "CRC-32 of the head"),
        ("segment-crc-wrong", GOLDEN[:31] + b"\0" + GOLDEN[32:], 4, "CRC of segment"),
        ("alpha-crc-wrong", GOLDEN[:37] + b"\0" + GOLDEN[38:], 4, "CRC of alpha"),
        ("chunk-crc-wrong", GOLDEN[:-1] + b"\0", 4, "CRC-32 of chunk"),
        ("one-byte-short", GOLDEN[:-1], 4, "cut file"),
        ("one-byte-more", GOLDEN + b"\0", 4, "trailing bytes"),
        ("first-layer-alone", GOLDEN[:37], 4, "cut file"),
    ):  # fmt: skip
        yield f"{name}.vqc", data, "truncate", code, text
    # The checksums of these are right, and truncation does not look inside; decoding needs the model first.
    yield "side-2-pow-20.vqc", _head(head + largest * 2 + b"\xb0" + bytes(1024)), "verify", 6, "--max-pixels"
    for name, data in (
        ("alpha-bomb", _draft(alpha=zstandard.ZstdCompressor(level=19).compress(bytes(2**24)))),
        ("unknown-model", GOLDEN),
    ):
        yield f"{name}.vqc", data, "verify", 5, "not installed"


def _npz(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, contents in members.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), contents)
    return file.getvalue()


def _array(value: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(value), allow_pickle=True)
    return file.getvalue()


def _claims(descr: str, shape: str) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


class Calls:
    """Object whose pickle calls `print`; a reader that unpickles it shows the word on stdout."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("unpickled",)


def npz_files() -> Iterator[Entry]:
    """Archives of tokens."""
    size = {"width": _array(40), "height": _array(30), "grey": _array(False)}
    identity = {"identity": _array("0" * 12), "model": _array("\x1b[31mred")}
    for name, data, code, text in (
        ("no-archive", b"PK\x03\x04 no archive", 3, "not an archive"),
        ("no-arrays", _npz(), 3, "'width' is missing"),
        ("width-of-text", _npz(**size | identity | {"width": _array("40")}), 3, "one integer"),
        ("width-pickled", _npz(**size | identity | {"width": _array([Calls()])}), 3, "one integer"),
        ("identity-of-4-gib", _npz(**size | {"identity": _claims("<U100000", "()")}), 3, "400,000 bytes"),
        ("shape-of-2-pow-60", _npz(**size | identity | {"width": _claims("<i8", f"({2**60},)")}), 3, "one integer"),
        ("shape-below-0", _npz(**size | identity | {"width": _claims("<i8", "(-1,)")}), 3, "width"),
        ("header-unclosed", _npz(**size | identity | {"width": b"\x93NUMPY\x01\x00\x02\x00{("}), 3, "not an archive"),
        ("model-controls-the-terminal", _npz(**size | identity), 5, "\\x1b[31mred"),
    ):  # fmt: skip
        yield f"{name}.npz", data, "tokens", code, text


def checkpoint_files() -> Iterator[Entry]:
    """Checkpoints for `models import`."""
    weights = {"encoder.weight": torch.ones(2)}
    named = io.BytesIO()
    torch.save({"model": weights, "x": Calls()}, named)
    old = io.BytesIO()
    torch.save({"model": weights, "x": Calls()}, old, _use_new_zipfile_serialization=False)
    for name, data, text in (
        ("calls-print.pt", named.getvalue(), "nothing in it was run"),
        ("calls-print-old.pt", old.getvalue(), "nothing in it was run"),
        ("plain-pickle.pt", pickle.dumps(Calls()), "can be read"),
        ("table-of-2-pow-62.safetensors", struct.pack("<Q", 2**62) + b"{}", "can be read"),
        ("table-unclosed.safetensors", struct.pack("<Q", 9) + b'{"w":{"dt' + bytes(8), "not a whole safetensors"),
        ("no-weights.pt", b"", "can be read"),
    ):
        yield name, data, "import", 3, text


def config_files() -> Iterator[Entry]:
    """config.json of model folders."""
    for name, text, part in (
        ("not-json.json", "{", "not JSON"),
        ("lists-in-lists.json", "[" * 100_000, "not JSON"),
        ("number-of-text.json", '{"name": 3}', "name"),
        ("unknown-key.json", '{"\\u001b[2J": 1}', "\\x1b[2J"),
        ("huge-number.json", '{"name": "x", "tokenizer": {"stride": 1' + "0" * 400 + "}}", "stride"),
        ("nan.json", '{"name": "x", "format_version": NaN}', "format_version"),
    ):
        yield name, text.encode(), "show", 5, part


def entries() -> Iterator[Entry]:
    """All files."""
    yield from vqc_files()
    yield from npz_files()
    yield from checkpoint_files()
    yield from config_files()


def main() -> None:
    """Write the files and expected.json."""
    FOLDER.mkdir(exist_ok=True)
    expected = {}
    for name, data, command, code, text in entries():
        (FOLDER / name).write_bytes(data)
        expected[name] = {"command": command, "exit_code": code, "message": text}
    EXPECTED.write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
