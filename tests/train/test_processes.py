"""Two processes train as one does with the double batch: losses, k-means, codebook averages, revival and masks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec.train.logs import LOG

pytest.importorskip("accelerate", reason="the trainer's way to several processes")

STEPS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures."""
    path = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for i in range(6):
        small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        small.resize((90, 80), Image.Resampling.BICUBIC).save(path / f"{i}.png")
    return path


def train(folder: Path, out: Path, processes: int, batch: int, extra: list[str]) -> list[dict[str, float]]:
    """Rows of the log of a run in processes of its own."""
    changes = [
        "data.resident=false",
        f"data.train={json.dumps([str(folder)])}",
        f"data.val={json.dumps([str(folder)])}",
        "data.crop=64",
        f"data.batch={batch}",
        "tokenizer.backbone.widths=[8,8]",
        "tokenizer.backbone.encoder_depths=[1,1]",
        "tokenizer.backbone.decoder_depths=[1,1]",
        "tokenizer.quantizer.groups=2",
        "tokenizer.quantizer.codebook_size=8",
        "tokenizer.quantizer.dims=[1,3]",
        "codebook.kmeans_at=3",
        "codebook.revive_every=2",
        "codebook.rate_ramp=3",
        f"optimizer.steps={STEPS}",
        "optimizer.decay=0",
        "optimizer.warmup=2",
        "run.log_every=1",
        "run.val_every=100",
        "run.val_images=1",
        "run.val_crop=64",
        "run.precision=fp32",
        "run.tensorboard=false",
        *extra,
    ]
    arguments = ["train", "tokenizer", "product-vq", "-o", str(out), *(a for c in changes for a in ("--set", c))]
    launch = [] if processes == 1 else ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, "vqcodec.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    rows = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith(("time/", "val/"))} for row in rows if "rec/rmse" in row]


@pytest.mark.parametrize(
    "extra",
    [
        [],
        ["codebook.revival=blend", "codebook.revive_every=1", "tokenizer.quantizer.dims=[]", "codebook.rate=0.01"],
        ["codebook.learning=gradient", "losses.vq/codebook=0.5", "losses.gan/generator=0.1", "gan.start=5",
         "gan.discriminator=patch-plain", "gan.channels=4", "gan.layers=2", "gan.lecam=0.1"],
    ],
    ids=["averages", "blend-and-rate", "gradient-and-adversary"],
)  # fmt: skip
def test_two_processes_are_one_with_the_double_batch(folder: Path, tmp_path: Path, extra: list[str]) -> None:
    one = train(folder, tmp_path / "one", 1, 4, extra)
    two = train(folder, tmp_path / "two", 2, 2, extra)
    assert len(one) == len(two) == STEPS
    for a, b in zip(one, two, strict=True):
        assert b == pytest.approx(a, rel=1e-5, abs=5e-5)
