"""Metrics against other packages on ten pictures, and networks' weights from files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec.errors import InputError, UsageError
from vqcodec.evaluation import pretrained, quality
from vqcodec.evaluation.papers import ssim_uniform
from vqcodec.metrics import Pixels, ms_ssim, psnr, ssim
from vqcodec.runtime.torchvision_import import import_torchvision

from ..test_metrics import noisy, picture

TOLERANCE = 1e-4


@pytest.fixture(scope="module", autouse=True)
def torchvision() -> None:
    """torchvision is imported before packages that would import it themselves, beside any build of torch."""
    try:
        import_torchvision()
    except ImportError:
        return


def pairs() -> Iterator[tuple[Pixels, Pixels]]:
    """Ten pictures with sides that five scales divide evenly, and damaged copies."""
    for seed in range(10):
        original = picture(192 + 16 * (seed % 3), 208 + 32 * (seed % 2), seed)
        yield original, noisy(original, 2 + 3 * seed)


def test_psnr_and_ssim_are_those_of_scikit_image() -> None:
    reference = pytest.importorskip("skimage.metrics")
    for a, b in pairs():
        assert psnr(a, b) == pytest.approx(reference.peak_signal_noise_ratio(a, b, data_range=255), abs=TOLERANCE)
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        expected = reference.structural_similarity(a, b, data_range=255, channel_axis=-1, **options)
        assert ssim(a, b) == pytest.approx(expected, abs=TOLERANCE)


def test_the_papers_ssim_is_that_of_scikit_image() -> None:
    reference = pytest.importorskip("skimage.metrics")
    for a, b in pairs():
        assert ssim_uniform(a, b) == pytest.approx(reference.structural_similarity(a, b, channel_axis=-1), abs=1e-6)
        double = reference.structural_similarity(a / 255, b / 255, channel_axis=-1, data_range=2.0)
        assert ssim_uniform(a, b, 510.0) == pytest.approx(double, abs=1e-6)


@pytest.mark.slow
def test_all_three_are_those_of_torchmetrics() -> None:
    pytest.importorskip("torchmetrics.functional")
    import torch
    import torchmetrics.functional.image as functional

    for a, b in pairs():
        x, y = (torch.from_numpy(p.astype(np.float32)).permute(2, 0, 1) for p in (a, b))
        assert psnr(a, b) == pytest.approx(
            float(functional.peak_signal_noise_ratio(y, x, data_range=255.0)), abs=TOLERANCE
        )
        # torchmetrics also averages over windows across the border, on reflected pixels; others, as ours, do not.
        options = {"data_range": 255.0, "return_full_image": True}
        _, values = functional.structural_similarity_index_measure(y[None], x[None], **options)
        expected = values[..., 5:-5, 5:-5].mean()
        assert ssim(a, b) == pytest.approx(float(expected), abs=TOLERANCE)
        # Ours is the mean of the channels' values: here each channel is a picture.
        expected = functional.multiscale_structural_similarity_index_measure(y[:, None], x[:, None], data_range=255.0)
        assert ms_ssim(a, b) == pytest.approx(float(expected), abs=TOLERANCE)


@pytest.mark.slow
def test_ssimulacra2_is_that_of_the_packages_command(tmp_path: Path) -> None:
    pytest.importorskip("ssimulacra2")
    for number, (a, b) in enumerate(list(pairs())[:3]):
        paths = [str(tmp_path / f"{number}{side}.png") for side in "ab"]
        for path, pixels in zip(paths, (a, b), strict=True):
            Image.fromarray(pixels).save(path)
        call = "import sys; from ssimulacra2.cli import main; sys.exit(main())"
        run = subprocess.run([sys.executable, "-c", call, *paths], capture_output=True, text=True, check=True)
        assert quality.metric_of("ssimulacra2").measure(a, b) == pytest.approx(float(run.stdout), abs=TOLERANCE)


@pytest.fixture(scope="module")
def trunks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files with random weights of AlexNet and VGG16 up to their last convolution."""
    pytest.importorskip("lpips")
    import torch
    from torchvision import models

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name, build in (("alex.pth", models.alexnet), ("vgg.pth", models.vgg16)):
        state = {key: value for key, value in build().state_dict().items() if key.startswith("features")}
        torch.save(state, folder / name)
    return [folder / "alex.pth", folder / "vgg.pth"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lpips", "lpips-vgg", "dists"])
def test_networks_from_files(name: str, trunks: list[Path]) -> None:
    if name == "dists":
        pytest.importorskip("DISTS_pytorch")
    metric = quality.metric_of(name, trunks)
    original = picture(64, 80)
    assert metric.lower_is_better
    assert metric.measure(original, original) == pytest.approx(0, abs=1e-5)
    slight, strong = (metric.measure(original, noisy(original, amount)) for amount in (5, 50))
    assert 0 < slight < strong
    assert np.isnan(metric.measure(picture(8, 8), picture(8, 8)))


@pytest.mark.slow
def test_lpips_is_that_of_its_package(trunks: list[Path]) -> None:
    import torch

    a, b = picture(64, 64), noisy(picture(64, 64), 9)
    network = quality._lpips_network("vgg", tuple(trunks))
    x, y = (torch.from_numpy(p.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None] for p in (a, b))
    with torch.no_grad():
        expected = float(network(x, y))
    assert quality.metric_of("lpips-vgg", trunks).measure(a, b) == pytest.approx(expected, rel=1e-5)
    state, weights = network.net.state_dict(), pretrained.read_tensors(trunks[1])
    assert torch.equal(state["slice5.28.weight"], weights["features.28.weight"])


def test_weights_that_cannot_be_had_end_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def refused(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refused)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(InputError, match=r"Inception v3.*no network.*--weights") as caught:
        pretrained.path_of("inception")
    assert "\n" not in str(caught.value)


def test_files_without_known_weights_are_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="none of VGG16"):
        pretrained.check_files([tmp_path / "a.pth"])
    with pytest.raises(InputError, match="not a file of weights"):
        pretrained.check_files([tmp_path / "b.pth"])
    with pytest.raises(InputError, match="cannot be read"):
        pretrained.check_files([tmp_path / "c.pth"])


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="no metric 'vmaf'; the metrics are psnr"):
        quality.metric_of("vmaf")
