"""A small DINOv2 of random numbers, and small runs of a vit backbone that may start from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.recipe.schema import Recipe

if TYPE_CHECKING:  # needs accelerate
    from vqcodec.train.run import TokenizerRun


def dinov2(width: int = 64, depth: int = 2, patch: int = 8, side: int = 8) -> dict[str, Tensor]:
    """Random weights of a small DINOv2 by timm's names; the default sizes are those of tiny-xqgan-vq's encoder."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + side**2, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i in range(depth):
        for name, out, into in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes |= {f"blocks.{i}.{name}.weight": (out, into), f"blocks.{i}.{name}.bias": (out,)}
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[f"blocks.{i}.{name}"] = (width,)
    return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def make_photos(path: Path) -> Path:
    """Three pictures in the new folder `path`."""
    path.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        small.resize((80, 70), Image.Resampling.BICUBIC).save(path / f"{i}.png")
    return path


def recipe(photos: Path, *changes: str, name: str = "tiny-xqgan-vq") -> Recipe:
    """Run of a few steps."""
    quick = (
        f"data.train={json.dumps([str(photos)])}",
        f"data.val={json.dumps([str(photos)])}",
        "data.batch=2",
        "optimizer.steps=4",
        "optimizer.warmup=1",
        "codebook.kmeans_at=0",
        "gan.start=2",
        "run.log_every=1",
        "run.val_every=4",
        "run.save_every=1",
        "run.val_images=1",
        "run.precision=fp32",
        "run.tensorboard=false",
    )
    return load_recipe(name, [*quick, *changes])


def train(folder: Path, subject: Recipe, resume: bool = False) -> TokenizerRun:
    """All steps of `subject`."""
    from vqcodec.train.train_tokenizer import train_tokenizer

    return train_tokenizer(subject, folder, resume=resume, report=lambda _: None)
