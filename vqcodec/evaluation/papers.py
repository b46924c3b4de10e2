"""The papers' tables of reconstruction: preparation of the pictures, and measures as the authors' scripts define them.

MGVQ: `evaluation/eval_recon.py` of its release; one bicubic resize and a centre crop; PSNR of the mean squared error
over all pictures; LPIPS with VGG16 on pixels passed as 0..1. FQGAN, XQ-GAN and SoftVQ-VAE: the script of LlamaGen that
they share; resize as in ADM; mean of each picture's PSNR; SSIM with twice the range of the pixels. SSIM has
scikit-image's default window, 7 px uniform. All values here are of pixels rounded to 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config.model import ModelConfig
from ..errors import InputError
from ..metrics import Pixels, psnr
from ..models import loading, registry
from . import parallel
from .array_record import array_of_record, array_record
from .codebook_usage import UsageCounter
from .frechet import Statistics, frechet_distance, inception_features
from .job import Job
from .journal import Journal, conditions_of_models
from .measure import Failure, reason_of
from .preparation import Preparation
from .quality import lpips

SSIM_WINDOW = 7


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper."""

    title: str
    preparation: Preparation
    pooled_psnr: bool = False
    """PSNR of the mean squared error over all pictures, in place of the mean of the pictures' PSNR."""
    ssim_range: float = 255.0
    """Range of pixel values that SSIM assumes."""
    lpips_zero_to_one: bool = False
    each_keep: bool = False
    """A row for each number of layers, in place of one for all layers."""


def _mgvq(title: str, width: int, height: int, each_keep: bool = False) -> PaperTable:
    preparation = Preparation(crop=(width, height), method="cover")
    return PaperTable(title, preparation, pooled_psnr=True, lpips_zero_to_one=True, each_keep=each_keep)


def _llamagen(title: str, side: int) -> PaperTable:
    return PaperTable(title, Preparation(side, (side, side)), ssim_range=510.0)


TABLES = {
    "mgvq-1": _mgvq("MGVQ, table 1: ImageNet at 256x256", 256, 256),
    "mgvq-2": _mgvq("MGVQ, table 2: zero-shot at 512x512", 512, 512),
    "mgvq-3": _mgvq("MGVQ, table 3: zero-shot at 2560x1440", 2560, 1440),
    "mgvq-6": _mgvq("MGVQ, table 6: the first groups alone, 256x256", 256, 256, each_keep=True),
    "xqgan-2": _llamagen("XQ-GAN, table 2: ImageNet at 256x256", 256),
    "fqgan-1": _llamagen("FQGAN, table 1: ImageNet at 256x256", 256),
    "softvq-1": _llamagen("SoftVQ-VAE, table 1: ImageNet at 256x256", 256),
    "softvq-2": _llamagen("SoftVQ-VAE, table 2: ImageNet at 512x512", 512),
}


@dataclass(frozen=True)
class Reconstruction:
    """One picture decoded from the first `keep` layers of its file."""

    keep: int
    mse: float
    psnr: float
    ssim: float
    lpips: float
    """nan where its weights are missing."""
    n_bytes: int
    """Bytes of the complete file."""
    features: np.ndarray | None
    """Features of Inception, float [2048]; None where its weights are missing."""


@dataclass(frozen=True)
class PaperPicture:
    """Results of one picture."""

    name: str
    n_pixels: int = 0
    planes: list[np.ndarray] = field(default_factory=list)
    reconstructions: list[Reconstruction] = field(default_factory=list)
    features: np.ndarray | None = None
    failure: Failure | None = None

    def record(self) -> dict[str, Any]:
        """The result of a picture that did not fail, as JSON can hold it."""
        return {
            "name": self.name,
            "n_pixels": self.n_pixels,
            "planes": [array_record(plane) for plane in self.planes],
            "reconstructions": [vars(one) | {"features": _record(one.features)} for one in self.reconstructions],
            "features": _record(self.features),
        }

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> PaperPicture:
        """Undo `record`."""
        planes = [array_of_record(plane) for plane in record["planes"]]
        found = [Reconstruction(**one | {"features": _features(one["features"])}) for one in record["reconstructions"]]
        return cls(record["name"], record["n_pixels"], planes, found, _features(record["features"]))


def _record(features: np.ndarray | None) -> dict[str, Any] | None:
    return None if features is None else array_record(features)


def _features(record: dict[str, Any] | None) -> np.ndarray | None:
    return None if record is None else array_of_record(record)


@dataclass(frozen=True)
class PaperWork:
    """Measurement of one picture by one model."""

    table: PaperTable
    model: str
    device: str
    with_lpips: bool
    with_fid: bool
    weights: tuple[Path, ...]

    def conditions(self) -> dict[str, Any]:
        """Everything that a result depends on except its picture, as JSON can hold it."""
        options = {key: str(value) for key, value in asdict(self).items()}
        return {"options": options} | conditions_of_models([self.model])

    def __call__(self, job: Job, advance: Callable[[float], None]) -> PaperPicture:
        """Encode with the nearest codewords, decode each requested number of layers, measure."""
        try:
            return self._measured(job, advance)
        except Exception as error:  # a model may fail in any way on a picture; the others go on
            return PaperPicture(job.name, failure=Failure(job.name, self.model, reason_of(error)))

    def _measured(self, job: Job, advance: Callable[[float], None]) -> PaperPicture:
        import vqcodec

        tokens = vqcodec.tokenize(job.pixels, model=self.model, effort=1, device=self.device)
        keeps = range(1, tokens.n_layers + 1) if self.table.each_keep else [tokens.n_layers]
        found = []
        for number, keep in enumerate(keeps, 1):
            image = vqcodec.detokenize(tokens, keep=keep, device=self.device).convert("RGB")
            n_bytes = len(vqcodec.encode_tokens(tokens, keep=keep))
            found.append(self._reconstruction(job.pixels, np.array(image), keep, n_bytes))
            advance(number / len(keeps))
        own = inception_features(job.pixels, self.weights) if self.with_fid else None
        planes = [np.asarray(plane) for plane in tokens.planes]
        return PaperPicture(job.name, job.pixels.shape[0] * job.pixels.shape[1], planes, found, own)

    def _reconstruction(self, pixels: Pixels, decoded: Pixels, keep: int, n_bytes: int) -> Reconstruction:
        error = float(np.square(decoded.astype(np.float32) - pixels).mean(dtype=np.float64))
        similarity = ssim_uniform(pixels, decoded, self.table.ssim_range)
        distance = math.nan
        if self.with_lpips:
            zero_to_one = self.table.lpips_zero_to_one
            distance = lpips(pixels, decoded, trunk="vgg", files=self.weights, zero_to_one=zero_to_one)
        features = inception_features(decoded, self.weights) if self.with_fid else None
        return Reconstruction(keep, error, psnr(pixels, decoded), similarity, distance, n_bytes, features)


def ssim_uniform(a: Pixels, b: Pixels, data_range: float = 255.0) -> float:
    """SSIM with a uniform window of 7 px and sample covariance, mean over channels; nan under 7 px.

    Equal to `skimage.metrics.structural_similarity` with its defaults.
    """
    if min(a.shape[:2]) < SSIM_WINDOW:
        return math.nan
    import torch
    from torch.nn.functional import avg_pool2d

    x, y = (torch.from_numpy(p.astype(np.float64)).permute(2, 0, 1)[None] for p in (a, b))
    mx, my, xx, yy, xy = (avg_pool2d(v, SSIM_WINDOW, stride=1) for v in (x, y, x * x, y * y, x * y))
    n = SSIM_WINDOW**2
    vx, vy, vxy = (n / (n - 1) * (v - m) for v, m in ((xx, mx * mx), (yy, my * my), (xy, mx * my)))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = ((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(similarity.mean())


@dataclass(frozen=True)
class PaperRow:
    """One row of a table: a model with its first `keep` layers, over all pictures."""

    model: str
    keep: int
    n_pictures: int
    psnr: float
    ssim: float
    lpips: float
    rfid: float
    usage: tuple[float, ...]
    """Share of the codewords of each codebook that occur, 0..1; of all layers."""
    raw_bpp: float
    """Bits per pixel before entropy coding: log2 K for each index."""
    coded_bpp: float
    """Bits per pixel of the complete files."""

    def record(self) -> dict[str, float | str | int | list[float] | None]:
        """The row as JSON holds it."""
        return {
            "model": self.model,
            "keep": self.keep,
            "pictures": self.n_pictures,
            "psnr": self.psnr,
            "ssim": self.ssim,
            "lpips": None if math.isnan(self.lpips) else self.lpips,
            "rfid": None if math.isnan(self.rfid) else self.rfid,
            "usage": list(self.usage),
            "raw_bpp": self.raw_bpp,
            "coded_bpp": self.coded_bpp,
        }


class Totals:
    """Sums over the results of pictures by one model."""

    def __init__(self, work: PaperWork, config: ModelConfig) -> None:
        self._work, self._config = work, config
        self._counter = UsageCounter(config.tokenizer)
        self._collected: dict[int, list[Reconstruction]] = {}
        self._original = Statistics()
        self._decoded: dict[int, Statistics] = {}
        self._raw_bits: dict[int, float] = {}
        self._n_pixels = 0

    def add(self, result: PaperPicture) -> None:
        """Count a picture that did not fail."""
        bits = [math.log2(size) for size in self._config.tokenizer.quantizer.sizes]
        self._n_pixels += result.n_pixels
        self._counter.add(result.planes, result.n_pixels)
        if result.features is not None:
            self._original.add(result.features)
        for one in result.reconstructions:
            kept = [plane for layer in self._config.layers[: one.keep] for plane in layer]
            raw = sum(bits[s] * int((result.planes[s] >= 0).sum()) for s in kept)
            self._raw_bits[one.keep] = self._raw_bits.get(one.keep, 0.0) + raw
            if one.features is not None:
                self._decoded.setdefault(one.keep, Statistics()).add(one.features)
            self._collected.setdefault(one.keep, []).append(replace(one, features=None))

    def rows(self) -> list[PaperRow]:
        """One row for each number of layers; none without pictures."""
        usage = tuple(book.usage for book in self._counter.usages()) if self._collected else ()
        return [self._row(keep, found, usage) for keep, found in sorted(self._collected.items())]

    def _row(self, keep: int, found: list[Reconstruction], usage: tuple[float, ...]) -> PaperRow:
        distance = frechet_distance(self._original, self._decoded[keep]) if keep in self._decoded else math.nan
        coded = 8 * sum(one.n_bytes for one in found) / self._n_pixels
        mean = {name: _mean([getattr(one, name) for one in found]) for name in ("psnr", "ssim", "lpips", "mse")}
        is_pooled = self._work.table.pooled_psnr and mean["mse"]
        value = 10 * math.log10(255**2 / mean["mse"]) if is_pooled else mean["psnr"]
        head = (self._work.model, keep, len(found), value, mean["ssim"], mean["lpips"], distance, usage)
        return PaperRow(*head, self._raw_bits[keep] / self._n_pixels, coded)


def measure_model(
    pictures: Iterable[tuple[str, Pixels]],
    work: PaperWork,
    workers: int = 1,
    threads: int = 1,
    advance: Callable[[str, float], None] = lambda name, share: None,
    journal_path: Path | None = None,
) -> tuple[list[PaperRow], list[Failure]]:
    """The rows of a model over pictures that are prepared already, and what failed.

    Args:
        pictures: (name, pixels) of each.
        work: the measurement of each picture.
        workers: worker processes; 1: no process of its own.
        threads: CPU threads of each worker process.
        advance: called with (name of a picture, share of its work that is done).
        journal_path: file that keeps finished pictures; an equal run continues from it. None: none are kept.

    Raises ModelError if the model is not found, InputError if no picture could be measured, OutputError if the journal
    cannot be read or written.
    """
    entry = registry.find(work.model)
    loading.load_model(work.model)
    journal = None if journal_path is None else Journal(journal_path, work.conditions())
    totals, failures = Totals(work, entry.config), list[Failure]()
    jobs: dict[str, Job] = {}

    def todo() -> Iterator[Job]:
        for name, pixels in pictures:
            job = Job(name, pixels)
            if journal is not None and (record := journal.find(job)) is not None:
                totals.add(PaperPicture.of_record(record))
                advance(name, 1)
                continue
            jobs[name] = job
            yield job

    for result in parallel.run(todo(), work, _died, workers, threads, advance):
        job = jobs.pop(result.name)
        if result.failure is not None:
            failures.append(result.failure)
        else:
            if journal is not None:
                journal.add(job, result.record())
            totals.add(result)
        advance(result.name, 1)
    rows = totals.rows()
    if not rows:
        raise InputError(str(failures[0]) if failures else "no pictures: give at least one")
    return rows, failures


def _died(job: Job, reason: str) -> PaperPicture:
    return PaperPicture(job.name, failure=Failure(job.name, "all models", reason))


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
