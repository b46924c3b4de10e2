"""Codecs given as shell commands or as a folder, and what happens where one fails."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec.errors import InputError, UsageError
from vqcodec.evaluation import compare
from vqcodec.evaluation.codecs import make_codec
from vqcodec.evaluation.command_codec import CommandCodec
from vqcodec.evaluation.folder_codec import FolderCodec

from ..test_metrics import picture

PY = f"{sys.executable} -c"
SAVE = "import sys; from PIL import Image; Image.open(sys.argv[1]).save(sys.argv[2], quality={q:5,40,90})"
LOAD = "import sys; from PIL import Image; Image.open(sys.argv[1]).save(sys.argv[2])"
COMMANDS = f"mine={PY} '{SAVE}' {{in}} {{out.webp}} => {PY} '{LOAD}' {{in}} {{out}}"


def test_commands_are_read() -> None:
    codec = CommandCodec.parse(COMMANDS)
    assert (codec.name, codec.settings) == ("mine", (5, 40, 90))
    assert "q 5,40,90" in codec.describe()
    assert CommandCodec.parse("a=b {in} {out} => c {in} {out}").settings == (0,)
    assert CommandCodec.parse("a=b {in} {out} {q:0.5,1} => c {in} {out}").settings == (0.5, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=b {in} {out}", "write NAME="),
        ("b {in} {out} => c {in} {out}", "write NAME="),
        ("a=b {in} => c {in} {out}", "encode needs {in} and {out}"),
        ("a=b {in} {out} => c {in}", "decode needs {in} and {out}"),
        ("a=b {in} {out} {q:x} => c {in} {out}", "not a list of numbers"),
        ("a=b {in} {out} => c {in} {out} {q:1}", "once"),
    ],
)
def test_commands_that_are_not_complete(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CommandCodec.parse(text)


def test_commands_run_and_their_failures_are_told() -> None:
    pixels = picture(40, 56)
    codec = CommandCodec.parse("copy=cp {in} {out.png} => cp {in} {out}")
    data = codec.encode(pixels, 0)
    assert data.startswith(b"\x89PNG")
    np.testing.assert_array_equal(codec.decode(data), pixels)
    with pytest.raises(InputError, match="bad: the command to encode: exit code 3: sorry"):
        CommandCodec.parse("bad=echo {in} {out} >/dev/null; echo sorry >&2; exit 3 => cp {in} {out}").encode(pixels, 0)
    with pytest.raises(InputError, match="wrote no file"):
        CommandCodec.parse("bad=true {in} {out} => cp {in} {out}").encode(pixels, 0)


def write_folder(folder: Path, original: Path) -> None:
    """Two decoded pictures of `original`, of which only the sizes of the files are known."""
    folder.mkdir()
    for quality in (10, 80):
        with Image.open(original) as image:
            image.save(folder / f"{quality}.jpg", quality=quality)
            with Image.open(folder / f"{quality}.jpg") as decoded:
                decoded.save(folder / f"{quality}.png")
    lines = ["picture,bytes,setting,decoded", f"{original.name},900,80,80.png", f"{original.stem},300,10,10.png"]
    (folder / "sizes.csv").write_text(
        "\n".join([lines[0], lines[1], lines[2].replace(original.stem, original.name, 1)])
    )


def test_a_folder_of_decoded_pictures(tmp_path: Path) -> None:
    Image.fromarray(picture(40, 56)).save(tmp_path / "a.png")
    write_folder(tmp_path / "theirs", tmp_path / "a.png")
    codec = make_codec(f"theirs={tmp_path / 'theirs'}")
    assert isinstance(codec, FolderCodec)
    for name in ("a.png", "elsewhere/a.png", "shard.tar:deep/a.png", "a.tif"):
        own = codec.for_picture(name)
        assert own.settings == (10, 80)
        assert [own.n_bytes(own.encode(picture(40, 56), setting)) for setting in own.settings] == [300, 900]
    with pytest.raises(InputError, match=r"sizes.csv: no line for b.png"):
        codec.for_picture("b.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("picture,bytes\n", "has no lines"),
        ("picture\na.png\n", "line 2"),
        ("picture,bytes\na,x\n", "line 2"),
    ],
)
def test_folders_without_sizes(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "sizes.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        FolderCodec.parse(f"x={tmp_path}")


def test_other_codecs_go_on_where_one_fails(tmp_path: Path) -> None:
    a, b = picture(48, 64), picture(40, 56, 1)
    Image.fromarray(a).save(tmp_path / "a.png")
    write_folder(tmp_path / "theirs", tmp_path / "a.png")
    broken = "broken=false {in} {out} => cp {in} {out}"
    found = compare(
        [("a.png", a), ("b.png", b)],
        [],
        ["jpeg", f"theirs={tmp_path / 'theirs'}", broken],
        anchor=None,
        times=False,
    )
    codecs = {(row.picture, row.codec) for row in found.rows}
    assert codecs == {("a.png", "jpeg"), ("b.png", "jpeg"), ("a.png", "theirs")}
    assert [str(failure) for failure in found.failures] == [
        "a.png: broken: the command to encode: exit code 1",
        f"b.png: theirs: {tmp_path / 'theirs' / 'sizes.csv'}: no line for b.png",
        "b.png: broken: the command to encode: exit code 1",
    ]
    assert {row.n_bytes for row in found.rows if row.codec == "theirs"} == {300, 900}
    with pytest.raises(InputError, match="broken"):
        compare([("a.png", a)], [], [broken], anchor=None)


@pytest.mark.slow
def test_a_command_is_a_codec_as_any_other() -> None:
    found = compare([("a.png", picture(48, 64))], [], ["webp", COMMANDS], anchor="webp", times=False)
    sizes = [row.n_bytes for row in found.rows if row.codec == "mine"]
    assert len(sizes) == 3
    assert sorted(sizes) == sizes
    (rate,) = [rate for rate in found.bd_rates if rate.metric == "psnr"]
    assert abs(rate.percent) < 15  # the same encoder with another speed
