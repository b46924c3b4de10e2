"""Sixty small pictures as .vqc files with labels: a folder, tar shards and a packed shard."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.data import pack

N = 60


@dataclass(frozen=True)
class Samples:
    """The same samples in three forms."""

    folder: Path
    tars: str
    packed: Path
    tokens: dict[str, vqcodec.Tokens]
    """Key -> tokens as `decode_tokens` gives them."""


@pytest.fixture(scope="session")
def samples(tiny_model: str, photo: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    base = tmp_path_factory.mktemp("samples")
    folder = base / "folder"
    (folder / "b").mkdir(parents=True)
    rng, tokens = np.random.default_rng(0), {}
    for i in range(N):
        x, y = rng.integers(0, 100), rng.integers(0, 80)
        key = f"{i:03d}" if i % 3 else f"b/{i:03d}"
        data = vqcodec.encode(photo.crop((x, y, x + 96, y + 64)), tiny_model, keep=3 if i == 7 else 4)
        tokens[key] = vqcodec.decode_tokens(data)
        (folder / f"{key}.vqc").write_bytes(data)
        (folder / f"{key}.cls").write_text(f"{i % 10}\n")
        (folder / f"{key}.txt").write_text(f"picture {i}, très petite", encoding="utf-8")
        if i % 2:
            (folder / f"{key}.json").write_text(json.dumps({"number": i}))
        (folder / f"{key}.png").write_bytes(b"of no use")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for shard in range(3):
        with tarfile.open(base / f"train-{shard}.tar", "w") as tar:
            for path in files:
                if int(path.stem) % 3 == shard:
                    info = tarfile.TarInfo(str(path.relative_to(folder)))
                    info.size = path.stat().st_size
                    tar.addfile(info, io.BytesIO(path.read_bytes()))
    pack(folder, base / "all.vqtok")
    return Samples(folder, str(base / "train-*.tar"), base / "all.vqtok", tokens)
