"""Images per second of a training loop that reads tokens, compared with decoding JPEG files of the same pictures.

Reads N pictures through a DataLoader, from .vqc files, tar shards and a packed shard, and checks that every picture
comes once, with the indices of `decode_tokens`, also after a stop in the middle.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sized
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

import vqcodec
from vqcodec.data import TokenDataset, TokenLoader, pack
from vqcodec.evaluation.pictures import read_pictures

BATCH = 50
SHARDS = 4
"""Tar shards that the files are divided into."""
JPEG, FILES, FOUR = "JPEG files, decoded to pixels", ".vqc files", ".vqc files, first 4 layers"
SHARDED, PACKED = ".vqc files in tar shards", "packed shard"
CHECKED = (FILES, SHARDED, PACKED)
"""Forms that give all indices."""


class JpegFiles(Dataset[torch.Tensor]):
    """JPEG files decoded to uint8 [3, H, W]."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        with Image.open(self.paths[number]) as image:
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def crops(sources: list[str], side: int, count: int) -> Iterator[Image.Image]:
    """`count` squares of `side` pixels at random positions of the pictures in `sources`, which are read repeatedly."""
    rng, done = np.random.default_rng(0), 0
    while done < count:
        before = done
        for _, pixels in read_pictures(sources):
            if min(pixels.shape[:2]) >= side and done < count:
                y, x = (int(rng.integers(0, n - side + 1)) for n in pixels.shape[:2])
                yield Image.fromarray(pixels[y : y + side, x : x + side])
                done += 1
        if done == before:
            raise SystemExit(f"no picture of at least {side} pixels a side")


def prepare(folder: Path, sources: list[str], model: str, side: int, count: int) -> None:
    """Write `count` pictures as .vqc files of effort 1, in tar shards, packed, and as JPEG files of quality 90."""
    for name in ("vqc", "jpg", "tar"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if len(list((folder / "vqc").glob("*.vqc"))) >= count and (folder / "all.vqtok").exists():
        return
    for i, image in enumerate(crops(sources, side, count)):
        image.save(folder / "jpg" / f"{i:05d}.jpg", quality=90)
        (folder / "vqc" / f"{i:05d}.cls").write_text(str(i % 10))
        (folder / "vqc" / f"{i:05d}.vqc").write_bytes(vqcodec.encode(image, model, effort=1))
    files = sorted((folder / "vqc").iterdir())
    for shard in range(SHARDS):
        with tarfile.open(folder / "tar" / f"{shard:03d}.tar", "w") as tar:
            for path in files[shard * len(files) // SHARDS : (shard + 1) * len(files) // SHARDS]:
                info = tarfile.TarInfo(path.name)
                info.size = path.stat().st_size
                tar.addfile(info, io.BytesIO(path.read_bytes()))
    pack(folder / "vqc", folder / "all.vqtok")


def check(dataset: TokenDataset, digests: dict[str, str], workers: int) -> None:
    """Raise AssertionError unless an epoch, also one with a stop in the middle, gives each picture once and right."""
    loader = TokenLoader(dataset, BATCH, num_workers=workers)
    half = len(loader) // 2
    given = [digest for batch in islice(loader, half) for digest in digests_of(batch)]
    state = loader.state_dict()
    resumed = TokenLoader(dataset, BATCH, num_workers=workers)
    resumed.load_state_dict(state)
    given += [digest for batch in resumed for digest in digests_of(batch)]
    assert len(given) == len(dict(given)) == len(digests)
    assert dict(given) == digests


def digests_of(batch: dict[str, Any]) -> list[tuple[str, str]]:
    """(key, digest of the indices) of each picture of a batch."""
    return [(key, digest(tokens.numpy())) for key, tokens in zip(batch["__key__"], batch["tokens"], strict=True)]


def digest(planes: np.ndarray) -> str:
    """SHA-256 of index planes."""
    return hashlib.sha256(planes.astype(np.int32).tobytes()).hexdigest()


def rates(make: Callable[[], DataLoader[Any]], epochs: int) -> tuple[float, float]:
    """Images per second, and per second of processor time: the best of `epochs` epochs, start of workers included."""
    best = [0.0, 0.0]
    for _ in range(epochs):
        loader = make()
        data: Sized = loader.dataset  # type: ignore[assignment]
        wall, cpu = time.perf_counter(), cpu_seconds()
        for _batch in loader:
            pass
        seconds = (time.perf_counter() - wall, cpu_seconds() - cpu)
        best = [max(rate, len(data) / spent) for rate, spent in zip(best, seconds, strict=True)]
    return best[0], best[1]


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*", help="files, folders, tar shards (default: pictures of an earlier run)")
    parser.add_argument("--folder", type=Path, help="files of the benchmark, kept (default: a temporary folder)")
    parser.add_argument("--model", default="photo", help="name or folder (default: photo)")
    parser.add_argument("--count", type=int, default=1000, help="pictures (default: 1000)")
    parser.add_argument("--side", type=int, default=256, help="side of the pictures, pixels (default: 256)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="workers of the loader (default: 0 2)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs, of which the fastest counts (default: 2)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        prepare(folder, given.sources, given.model, given.side, given.count)
        show(folder, given.workers, given.epochs)


def maker(name: str, source: Path, workers: int) -> Callable[[], DataLoader[Any]]:
    """Function that makes the loader of a form."""
    if name == JPEG:
        files = JpegFiles(source)
        return lambda: DataLoader(files, BATCH, shuffle=True, num_workers=workers)
    dataset = TokenDataset(source, layers=4 if name == FOUR else None)
    return lambda: TokenLoader(dataset, BATCH, num_workers=workers)


def show(folder: Path, workers: list[int], epochs: int) -> None:
    """Check and measure every form in `folder`, and print the table."""
    files = sorted((folder / "vqc").glob("*.vqc"))
    tokens = {path.stem: vqcodec.decode_tokens(path.read_bytes()) for path in files}
    digests = {key: digest(np.stack(found.planes)) for key, found in tokens.items()}
    size = next(iter(tokens.values()))
    forms = {
        JPEG: folder / "jpg",
        FILES: folder / "vqc",
        FOUR: folder / "vqc",
        SHARDED: folder / "tar",
        PACKED: folder / "all.vqtok",
    }
    table = Table(title=f"{len(files)} pictures of {size.width}x{size.height} pixels, batches of {BATCH}")
    table.add_column("form")
    table.add_column("bytes a picture", justify="right")
    for n in workers:
        table.add_column(f"images/s, {n} workers", justify="right")
        table.add_column("per CPU second", justify="right")
    for name, source in forms.items():
        measured = [value for n in workers for value in rates(maker(name, source, n), epochs)]
        if name in CHECKED:
            check(TokenDataset(source), digests, max(workers))
        suffixes = {".jpg", ".vqc", ".tar", ".vqtok"}
        paths = source.iterdir() if source.is_dir() else [source]
        total = sum(path.stat().st_size for path in paths if path.suffix in suffixes)
        table.add_row(name, f"{total / len(files):,.0f}", *(f"{value:,.0f}" for value in measured))
    Console().print(table)
    print(f"{len(files)} pictures: each once and with the indices of decode_tokens, also when stopped and resumed")


if __name__ == "__main__":
    main()
