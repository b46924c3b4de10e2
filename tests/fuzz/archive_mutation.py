"""Mutation of zip archives: .npz files of tokens and checkpoints of torch.save, checksums of zip written anew."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Callable
from random import Random

import numpy as np

from .byte_edits import edited, number

Members = list[tuple[str, bytes]]
SHAPES = ("()", "(0,)", "(1,)", "(-1,)", "(1099511627776,)", "(4294967296, 4294967296)", "(2, 3, 4)", "(1.5,)", "1")
DTYPES = ("|u1", "<i4", "<u8", "<f4", "|O", "<U5", "|S3", "<c8", "|V9", "<M8[s]", "|b1", ">i2", "<U1000000000", "zz")


def members_of(data: bytes) -> Members:
    """(name, contents) of each member. Raises BadZipFile and others for no archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def archive_of(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of `members`, which may have equal names."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal names
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name, contents in members:
                archive.writestr(name, contents)
    return file.getvalue()


def mutated_tokens(data: bytes, random: Random) -> bytes:
    """A .npz archive made of the valid one `data` by 1 to 3 changes; 1 of 8 has a damaged zip structure."""
    return _mutated(data, random, (*COMMON, _header, _shape, _dtype, _scalar, _values))


def mutated_checkpoint(data: bytes, random: Random) -> bytes:
    """A file of torch.save made of the valid one `data`; files that are no archive get plain edits."""
    if not data.startswith(b"PK"):
        for _ in range(random.randint(1, 3)):
            data = edited(data, random)
        return data
    return _mutated(data, random, (*COMMON, _pickle, _pickle, _pickle_length))


def repaired(data: bytes) -> bytes:
    """`data` with correct checksums, where it is an archive whose members can be found."""
    file = io.BytesIO(data)
    found: Members = []
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    member._expected_crc = None  # type: ignore[attr-defined]  # not checked then
                    found.append((info.filename, member.read(2**20)))
    except Exception:  # a fuzzer makes archives that zipfile cannot read, by any error
        return data
    return archive_of(found)


def _mutated(data: bytes, random: Random, changes: tuple[Callable[[Members, Random], None], ...]) -> bytes:
    members = members_of(data)
    for _ in range(random.randint(1, 3)):
        if members:
            random.choice(changes)(members, random)
    kinds = (zipfile.ZIP_STORED,) * 5 + (zipfile.ZIP_DEFLATED,) * 4 + (zipfile.ZIP_BZIP2,)
    result = archive_of(members, random.choice(kinds))
    if random.random() < 0.125:
        return edited(result, random)
    if random.random() < 0.1:  # a field of the directory
        at = result.rfind(b"PK\x01\x02") + random.randrange(46)
        return result[:at] + random.randbytes(random.choice((1, 2, 4))) + result[at + 1 :]
    return result


def _drop(members: Members, random: Random) -> None:
    members.pop(random.randrange(len(members)))


def _repeat(members: Members, random: Random) -> None:
    members.append(random.choice(members))


def _rename(members: Members, random: Random) -> None:
    i = random.randrange(len(members))
    names = [name for name, _ in members] + ["plane.99.npy", "plane.-1.npy", "plane.²", "x", "../x", "\x1b[2J.npy"]
    members[i] = (random.choice(names), members[i][1])


def _exchange(members: Members, random: Random) -> None:
    i, j = random.randrange(len(members)), random.randrange(len(members))
    members[i], members[j] = (members[i][0], members[j][1]), (members[j][0], members[i][1])


def _contents(members: Members, random: Random) -> None:
    i = random.randrange(len(members))
    members[i] = (members[i][0], edited(members[i][1], random))


COMMON = (_drop, _repeat, _rename, _exchange, _contents, _contents)


def _with_header(members: Members, random: Random, change: Callable[[bytes], bytes]) -> None:
    """Change the text of the header of an array, and its length with it."""
    i = random.randrange(len(members))
    name, data = members[i]
    if data.startswith(b"\x93NUMPY\x01\x00"):
        n = int.from_bytes(data[8:10], "little")
        text = change(data[10 : 10 + n])[: 2**16 - 1]
        members[i] = (name, data[:8] + len(text).to_bytes(2, "little") + text + data[10 + n :])


def _header(members: Members, random: Random) -> None:
    _with_header(members, random, lambda text: edited(text, random))


def _shape(members: Members, random: Random) -> None:
    shape = random.choice((*SHAPES, f"({number(random)}, {number(random)})")).encode()
    _with_header(members, random, lambda text: re.sub(rb"\([^)]*\)", shape, text))


def _dtype(members: Members, random: Random) -> None:
    dtype = random.choice(DTYPES).encode()
    _with_header(members, random, lambda text: re.sub(rb"'descr': '[^']*'", b"'descr': '" + dtype + b"'", text))


def _array(value: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, value, allow_pickle=False)
    return file.getvalue()


def _scalar(members: Members, random: Random) -> None:
    """Another width, height, step, name or identity."""
    value = random.choice((number(random), -number(random), float("nan"), 1.5, "\x1b[31mname", True, "0" * 12, 2**64))
    name = random.choice(("width.npy", "height.npy", "step.npy", "model.npy", "identity.npy", "grey.npy"))
    array = _array(np.asarray(value if value != 2**64 else [1, 2]))
    members[:] = [(other, array if other == name else contents) for other, contents in members]


def _values(members: Members, random: Random) -> None:
    """Another value in an array."""
    i = random.randrange(len(members))
    name, data = members[i]
    if len(data) > 128:
        members[i] = (name, data[:128] + edited(data[128:], random)[: len(data) - 128].ljust(len(data) - 128, b"\xff"))


def _pickle_of(members: Members) -> int | None:
    return next((i for i, (name, _) in enumerate(members) if name.endswith("data.pkl")), None)


def _pickle(members: Members, random: Random) -> None:
    if (i := _pickle_of(members)) is not None:
        members[i] = (members[i][0], edited(members[i][1], random))


def _pickle_length(members: Members, random: Random) -> None:
    """Another opcode or operand in the pickle: opcodes of numbers, names, calls and memory."""
    if (i := _pickle_of(members)) is None or not (data := members[i][1]):
        return
    at = random.randrange(len(data))
    operations = b"\x80(.0123FIJKLMNPQRSTUVXabcdeghijlopqrstu}]\x81\x82\x85\x86\x87\x8a\x8b\x8c\x8d\x8e\x92\x93\x95"
    put = random.choice((bytes([random.choice(operations)]), number(random).to_bytes(8, "little")[:4]))
    members[i] = (members[i][0], data[:at] + put + data[at + len(put) :])
