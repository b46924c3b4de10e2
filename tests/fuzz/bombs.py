"""Bombs: small inputs that claim or unpack to much memory or time, with the reader that must refuse them."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import zstandard
from PIL import Image

from vqcodec import container
from vqcodec.container.bytes_reader import varint_bytes

from . import archive_mutation, model_mutation, targets, vqc_mutation


@dataclass(frozen=True)
class Bomb:
    """An input and its reader."""

    make: Callable[[], bytes]
    read: Callable[[bytes], object]
    error: str
    """Name of the documented error; `accepted` where the part is dropped with a warning."""
    valid: Callable[[], bytes]
    """A valid input of the same kind, read first, so that imports are not measured."""

    def warm(self) -> None:
        """Read the valid input."""
        self.read(self.valid())


def a_file() -> bytes:
    """A valid file of one tile with alpha and metadata."""
    return next(data for data in targets.files() if container.read_head(data).alpha_bytes is not None)


def _changed(**changes: Any) -> bytes:
    draft = vqc_mutation.draft_of(a_file())
    return replace(draft, **changes).write()


def _frame(size: int, stated: int) -> bytes:
    """A zstandard frame of `size` zeros that states another content size."""
    frame = bytearray(zstandard.ZstdCompressor(level=19).compress(bytes(size)))
    parameters = zstandard.get_frame_parameters(bytes(frame))
    assert parameters.content_size == size
    at = frame.index(size.to_bytes(4, "little"), 4)
    frame[at : at + 4] = stated.to_bytes(4, "little")
    return bytes(frame)


def _archive() -> bytes:
    return targets.archives()[2]


def _archive_with(name: str, contents: bytes) -> bytes:
    members = dict(archive_mutation.members_of(_archive()))
    return archive_mutation.archive_of(list((members | {name: contents}).items()), zipfile.ZIP_DEFLATED)


def _array(shape: str, descr: str = "|u1", size: int = 0) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(size)


def _number(value: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.int64(value))
    return file.getvalue()


def _larger(archive: bytes, *names: str) -> bytes:
    members = dict(archive_mutation.members_of(archive)) | {f"{name}.npy": _number(2**20) for name in names}
    return archive_mutation.archive_of(list(members.items()))


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    rows = zlib.compress(bytes(1000))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in ((b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b"")):
        parts.append(len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big"))
    return b"".join(parts)


def _small_png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    return file.getvalue()


def _read_picture(data: bytes) -> object:
    from vqcodec.image.files import as_picture

    path = targets.scratch / "x.png"
    path.write_bytes(data)
    return as_picture(path)


def _folder() -> bytes:
    return targets.folders()[0]


def _folder_with(*path: str | int, value: object) -> bytes:
    config, weights = model_mutation.divided(_folder())
    tree = node = json.loads(config)
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return model_mutation.joined(json.dumps(tree).encode(), weights)


def _safetensors(length: int, text: bytes = b"{}") -> bytes:
    return length.to_bytes(8, "little") + text


def _checkpoint() -> bytes:
    file = io.BytesIO()
    torch.save({"model": {"w": torch.zeros(4)}}, file)
    return file.getvalue()


class _Claim:
    """Object whose pickle asks for 2^60 bytes."""

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return bytearray, (2**60,)


def _claiming() -> bytes:
    file = io.BytesIO()
    torch.save({"model": {"w": torch.zeros(4)}, "x": _Claim()}, file)
    return file.getvalue()


def _compressed_checkpoint() -> bytes:
    file = io.BytesIO()
    torch.save({"model": {"w": torch.zeros(2**24)}}, file)
    return archive_mutation.archive_of(archive_mutation.members_of(file.getvalue()), zipfile.ZIP_DEFLATED)


SIDE = container.MAX_SIDE
_ZEROS = zlib.compress(bytes(2**28), 9)


def _vqc(make: Callable[[], bytes], error: str) -> Bomb:
    return Bomb(make, targets.run_decode, error, a_file)


def _npz(make: Callable[[], bytes], error: str) -> Bomb:
    return Bomb(make, targets.run_arrays, error, _archive)


def _image(make: Callable[[], bytes], error: str) -> Bomb:
    return Bomb(make, _read_picture, error, _small_png)


def _model(make: Callable[[], bytes]) -> Bomb:
    return Bomb(make, targets.run_model, "ModelError", _folder)


def _weights(make: Callable[[], bytes]) -> Bomb:
    return Bomb(make, targets.run_checkpoint, "InputError", _checkpoint)


def _entries(n: int) -> bytes:
    """A head that claims n segments, without them."""
    fields = container.MAGIC + bytes([1, 0]) + bytes(10) + varint_bytes(SIDE - 1) * 2 + bytes([0x0F])
    data = fields + b"\0" * n
    return data + zlib.crc32(data).to_bytes(4, "little")


BOMBS: dict[str, Bomb] = {
    "vqc: 2^20 x 2^20 px": _vqc(
        lambda: _changed(
            width=SIDE - 1,
            height=SIDE - 1,
            tile_and_layers=0xB3,
            segments=[[b""] * 1024] * 4,
            entries=[[None] * 1024] * 4,
            flags=0,
        ),
        "LimitError",
    ),
    "vqc: 2^32 segments": _vqc(lambda: _entries(10), "FormatError"),
    "vqc: 2^20 segments in the table of contents": _vqc(lambda: _entries(2**20), "FormatError"),
    "vqc: segment of 2^29 bytes": _vqc(lambda: _changed(entries=[[2**27 - 1]] * 4), "FormatError"),
    "vqc: alpha of 4 GiB": _vqc(lambda: _changed(alpha_claim=2**32 - 1), "FormatError"),
    "vqc: alpha unpacks to 256 MiB": _vqc(
        lambda: _changed(alpha=zstandard.ZstdCompressor(level=19).compress(bytes(2**28))), "FormatError"
    ),
    "vqc: alpha unpacks to more than it states": _vqc(lambda: _changed(alpha=_frame(2**26, 2)), "FormatError"),
    "vqc: 10,000 chunks": _vqc(lambda: _changed(flags=12, chunks=[("zzZz", b"", None)] * 10_000), "FormatError"),
    "vqc: chunk of 4 GiB": _vqc(lambda: _changed(flags=12, chunks=[("zzZz", b"x", 2**32 - 1)]), "FormatError"),
    "npz: array unpacks to 64 MiB": _npz(
        lambda: _archive_with("plane.0.npy", _array("(8192, 8192)", size=2**26)), "InputError"
    ),
    "npz: array claims 2^40 values": _npz(
        lambda: _archive_with("plane.0.npy", _array("(1048576, 1048576)")), "InputError"
    ),
    "npz: text of 4 GiB": _npz(lambda: _archive_with("identity.npy", _array("()", "<U1073741824")), "InputError"),
    "npz: Exif of 32 MiB": _npz(lambda: _archive_with("exif.npy", _array("(33554432,)", size=2**25)), "LimitError"),
    "npz: 2^20 x 2^20 px": _npz(lambda: _larger(_archive(), "width", "height"), "LimitError"),
    "png: 60000 x 60000 px": _image(lambda: _png(60_000, 60_000), "LimitError"),
    "png: ICC profile unpacks to 256 MiB": _image(lambda: _png(4, 4, (b"iCCP", b"x\0\0" + _ZEROS)), "accepted"),
    "png: text unpacks to 256 MiB": _image(lambda: _png(4, 4, (b"zTXt", b"x\0\0" + _ZEROS)), "accepted"),
    "model: 2^31 groups": _model(lambda: _folder_with("tokenizer", "quantizer", "groups", value=2**31)),
    "model: 10^9 blocks": _model(lambda: _folder_with("tokenizer", "backbone", "encoder_depths", value=[10**9, 1])),
    "model: 10^9 channels": _model(lambda: _folder_with("tokenizer", "backbone", "widths", value=[10**9, 10**9])),
    "model: lists in lists": _model(lambda: model_mutation.joined(b"[" * 10**6, model_mutation.divided(_folder())[1])),
    "model: config.json of 16 MiB": _model(lambda: _folder_with("extra", value={"x": "y" * 2**24})),
    "safetensors: table of 2^62 bytes": _weights(lambda: _safetensors(2**62)),
    "safetensors: tensor of 2^40 values": _weights(
        lambda: _safetensors(76, b'{"w":{"dtype":"F32","shape":[1048576,1048576],"data_offsets":[0,4398046511104]}}')
    ),
    "checkpoint: compressed 64 MiB": _weights(_compressed_checkpoint),
    "checkpoint: 2^60 bytes": _weights(_claiming),
}
