"""benchmarks/tokens.py at a small size."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import tokens
from vqcodec.data import TokenDataset

COUNT = 12


def test_the_table_and_its_checks(
    tiny_model: str,
    photo: Image.Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo.save(tmp_path / "photo.png")
    monkeypatch.setattr(tokens, "BATCH", 4)
    monkeypatch.setenv("COLUMNS", "200")
    words = [tmp_path / "photo.png", "--folder", tmp_path / "made", "--model", tiny_model, "--count", COUNT]
    words += ["--side", 64, "--workers", 0, 2, "--epochs", 1]
    monkeypatch.setattr(sys, "argv", ["tokens.py", *map(str, words)])
    tokens.main()
    out = capsys.readouterr().out
    for name in (tokens.JPEG, tokens.FILES, tokens.FOUR, tokens.SHARDED, tokens.PACKED):
        assert f"{name} " in out
    assert f"{COUNT} pictures: each once" in out


def test_a_wrong_index_and_a_missing_picture_are_found(samples: object, monkeypatch: pytest.MonkeyPatch) -> None:
    data = TokenDataset(samples.packed)  # type: ignore[attr-defined]
    digests = {key: tokens.digest(np.stack(found.planes)) for key, found in samples.tokens.items()}  # type: ignore[attr-defined]
    tokens.check(data, digests, 0)
    key = next(iter(digests))
    with pytest.raises(AssertionError):
        tokens.check(data, digests | {key: "0"}, 0)
    with pytest.raises(AssertionError):
        tokens.check(data, digests | {"one more": "0"}, 0)
