"""Shared fixtures: a tiny model of random weights, a photograph, and a .vqc file made of both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from .browser import browser, phone, tab  # noqa: F401 (fixtures)

TINY = "tiny"
MODELS_FOR_TESTS = Path(__file__).parent / "models_for_tests"
"""Trained models that are not part of the package: `product-vq`."""
SLOW_FOLDERS = ("train", "importing", "sampling")
"""Folders of tests whose tests are all slow: they train, or build networks of full size."""

# Networks of tests are small, and tests run in several processes: further threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No limit on the time of an example: on a busy machine it would fail without a fault.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow folders."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in SLOW_FOLDERS:
            item.add_marker(pytest.mark.slow)


def write_tiny_model(
    folder: Path,
    name: str = TINY,
    seed: int = 0,
    stride: int = 16,
    groups: int = 4,
    ladder: Sequence[tuple[int, int]] = ((1, 1), (25, 2), (50, 3), (75, 4)),
) -> None:
    """A model folder under 100 kB: stride 8 or 16, groups of 16 codewords, one layer each. It decodes to noise."""
    import torch

    from vqcodec.config.model import ConvConfig, LadderStep, ModelConfig, TokenizerConfig
    from vqcodec.config.quantizers import ProductVQConfig
    from vqcodec.entropy.adaptive_tables import uniform_table
    from vqcodec.models.loading import write_model
    from vqcodec.tokenizer import Tokenizer, training_only

    stages, size = stride // 8, 16
    config = ModelConfig(
        name=name,
        tokenizer=TokenizerConfig(
            stride=stride,
            backbone=ConvConfig(widths=(8,) * stages, encoder_depths=(1,) * stages, decoder_depths=(1,) * stages),
            quantizer=ProductVQConfig(groups=groups, codebook_size=size, dim=4),
        ),
        token_id="",
        entropy_id="",
        weights_sha256="",
        layers=tuple((group,) for group in range(groups)),
        ladder=tuple(LadderStep(*step) for step in ladder),
        license="none",
        description="Random weights, for tests.",
    )
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        tokenizer = Tokenizer(config.tokenizer).eval()
        # Codewords as far apart as latents are, so that every picture uses many of them.
        z = tokenizer.encoder(torch.rand(1, 3, 256, 256) * 2 - 1)
        tokenizer.codebooks.mul_(z.std()).add_(z.mean((0, 2, 3)).reshape(groups, 1, -1))
        state = {k: v.half().numpy() for k, v in tokenizer.state_dict().items() if not training_only(k)}
    tables = {f"entropy.tables.{s}": uniform_table(size)[None].astype(np.int32) for s in range(groups)}
    write_model(folder, config, state | tables)


@pytest.fixture(scope="session", autouse=True)
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Cache folder of models, $VQCODEC_MODELS: those of MODELS_FOR_TESTS, and what fixtures of the session add."""
    base = tmp_path_factory.mktemp("models")
    shutil.copytree(MODELS_FOR_TESTS, base, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQCODEC_MODELS", str(base))
        yield base


@pytest.fixture(scope="session")
def tiny_model(models_folder: Path) -> str:
    """Name of a model that `-m`, and commands in other processes, find by $VQCODEC_MODELS."""
    write_tiny_model(models_folder / TINY)
    return TINY


@pytest.fixture(scope="session")
def two_models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models: `small`, and `large` of stride 8, whose ladder begins at 51."""
    base = tmp_path_factory.mktemp("two")
    write_tiny_model(base / "small", "small", ladder=[(1, 1), (18, 2), (34, 3), (50, 4)])
    write_tiny_model(base / "large", "large", seed=1, stride=8, ladder=[(51, 2), (75, 3), (100, 4)])
    return base


@pytest.fixture
def two_models(two_models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install `small` and `large`, and make `small` the default model of the library, not of the commands."""
    monkeypatch.setenv("VQCODEC_MODELS", str(two_models_folder))
    monkeypatch.setattr("vqcodec.models.registry.DEFAULT_MODEL", "small")


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A photograph, RGB, 200 x 150 pixels."""
    data = pytest.importorskip("skimage.data", reason="the photographs come with scikit-image")
    return Image.fromarray(data.chelsea()).resize((200, 150), Image.Resampling.LANCZOS)


@pytest.fixture(scope="session")
def tiny_vqc(tiny_model: str, photo: Image.Image) -> bytes:
    """The photograph as a complete .vqc file of four layers."""
    import vqcodec

    return vqcodec.encode(photo, tiny_model)


Outcome = tuple[int, str, str]


@pytest.fixture
def invoke(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """`invoke("info", path)`: the command in this process, as (exit code, stdout, stderr)."""
    from vqcodec.cli.main import run

    def call(*args: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["vqcodec", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            run()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture(scope="session")
def shell() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """`shell("info", path, input=b"")`: the command in a process of its own."""

    def call(*args: object, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "vqcodec.cli", *map(str, args)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}  # such small pictures only wait for more
        return subprocess.run(command, input=input, capture_output=True, timeout=120, env=environment, check=False)

    return call


@pytest.fixture
def work(tmp_path: Path, photo: Image.Image, tiny_vqc: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working directory that holds cat.png and kitty.vqc only."""
    photo.save(tmp_path / "cat.png")
    (tmp_path / "kitty.vqc").write_bytes(tiny_vqc)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def src(tmp_path: Path, photo: Image.Image) -> Path:
    """A tree of three pictures and a note, for `vqcodec batch`."""
    folder = tmp_path / "photos"
    (folder / "a" / "b").mkdir(parents=True)
    small = photo.resize((48, 32))
    for name in ("one.png", "a/two.jpg", "a/b/three.webp"):
        small.save(folder / name)
    (folder / "note.txt").write_text("not a picture")
    return folder


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    """Output folder of `vqcodec batch`."""
    return tmp_path / "tokens"


@pytest.fixture
def run_batch(invoke: Callable[..., Outcome], tiny_model: str, src: Path, dst: Path) -> Callable[..., Outcome]:
    """`run_batch(options...)`: SRC to DST with the tiny model."""
    return lambda *options: invoke("batch", src, dst, "-m", tiny_model, *options)


@pytest.fixture(scope="session")
def stepped_folder(tmp_path_factory: pytest.TempPathFactory, photo: Image.Image) -> Path:
    """The folder of a small model with a quantization step."""
    from .stepped import write_stepped_model

    folder = tmp_path_factory.mktemp("stepped") / "stepped"
    write_stepped_model(folder)
    return folder


@pytest.fixture
def stepped(stepped_folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the small model with a quantization step."""
    monkeypatch.setenv("VQCODEC_MODELS", str(stepped_folder.parent))
    return "stepped"
