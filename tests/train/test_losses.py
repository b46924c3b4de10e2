"""The losses of the tokenizer: values by hand, directions of gradients, and refusals where weights are missing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from vqcodec.config.model import ConvConfig, TokenizerConfig
from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.errors import InputError
from vqcodec.quantizers.product import ProductVQ
from vqcodec.tokenizer import Reconstruction, Tokenizer
from vqcodec.train.losses import perceptual
from vqcodec.train.losses.names import LOSSES, active
from vqcodec.train.losses.rate import usage_bits
from vqcodec.train.losses.reconstruction import PIXEL_LOSSES, reconstruction_losses


def outcome(y: Tensor, z: Tensor | None = None, started: bool = True) -> Reconstruction:
    """A training pass whose result is y, from the latent z."""
    z = torch.zeros(1, 1, 1, 1) if z is None else z
    planes = [torch.zeros(len(z), *z.shape[2:], dtype=torch.int64)] if started else []
    return Reconstruction(y, z, planes, commitment=torch.tensor(0.25), codebook=torch.tensor(1.5))


def pictures(count: int, side: int = 40) -> tuple[Tensor, Tensor]:
    """Targets and disturbed copies [count, 3, side, side], each disturbed more than the one before."""
    torch.manual_seed(0)
    x = torch.rand(count, 3, side, side) * 2 - 1
    noise = torch.randn_like(x) * torch.linspace(0.05, 0.5, count)[:, None, None, None]
    return x, (x + noise).requires_grad_()


def test_names_are_those_of_recipe_and_code() -> None:
    assert len(set(LOSSES)) == len(LOSSES)
    assert all(name.count("/") == 1 for name in LOSSES)
    assert set(PIXEL_LOSSES) <= set(LOSSES)
    assert active({"rec/l2": 2.0, "rec/lpips": 0.0, "gan/generator": 0}) == {"rec/l2"}


def test_values_by_hand() -> None:
    x, y = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    y[1] = 0.5
    losses = reconstruction_losses(outcome(y), x, {"rec/l2", "rec/charbonnier", "rec/rmse", "vq/codebook"})
    assert set(losses) == {"rec/l2", "rec/charbonnier", "rec/rmse", "vq/codebook"}
    assert losses["rec/l2"].item() == pytest.approx(0.125)
    assert losses["rec/charbonnier"].item() == pytest.approx((1e-3 + math.sqrt(0.25 + 1e-6)) / 2)
    assert losses["rec/rmse"].item() == pytest.approx((1 + math.sqrt(63.75**2 + 1)) / 2)
    assert losses["vq/codebook"].item() == 1.5


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_descent_makes_pictures_better(name: str) -> None:
    x, y = pictures(3)
    loss = reconstruction_losses(outcome(y), x, {name})[name]
    (gradient,) = torch.autograd.grad(loss, y)
    assert loss > reconstruction_losses(outcome(y - 1e-2 * gradient / gradient.norm()), x, {name})[name]
    assert (gradient * (y - x)).sum() > 0


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_equal_halves_average_to_the_whole(name: str) -> None:
    x, y = pictures(4)
    whole, one, two = (reconstruction_losses(outcome(y[s]), x[s], {name})[name] for s in (slice(4), [0, 1], [2, 3]))
    assert one != two
    torch.testing.assert_close((one + two) / 2, whole)


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_autocast_does_not_coarsen_pixel_losses(name: str) -> None:
    x, y = pictures(2)
    plain = reconstruction_losses(outcome(y), x, {name})[name]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(reconstruction_losses(outcome(y), x, {name})[name], plain)


@pytest.mark.parametrize("name", ["rec/lpips", "rate/bits"])
def test_a_loss_without_its_callable_is_no_silent_zero(name: str) -> None:
    x, y = pictures(1)
    with pytest.raises(ValueError, match=name):
        reconstruction_losses(outcome(y), x, {name})


def test_what_no_picture_can_show_does_not_count_in_ms_ssim() -> None:
    x, y = pictures(1)
    assert y.abs().max() > 1.1
    torch.testing.assert_close(PIXEL_LOSSES["rec/ms-ssim"](y, x), PIXEL_LOSSES["rec/ms-ssim"](y.clamp(-1, 1), x))


# rate/bits


def tokenizer_of(codebooks: Tensor, counts: Tensor, normalised: bool = False) -> Any:
    """The parts of a Tokenizer that usage_bits reads; codebooks [G, K, d], counts [G, K]."""
    quantizer = ProductVQ(ProductVQConfig(*codebooks.shape, normalised=normalised))
    quantizer.bank.codebooks.copy_(codebooks)
    quantizer.bank.counts.copy_(counts)
    return SimpleNamespace(quantizer=quantizer)


def rate(z: Tensor, tokenizer: Any, **settings: float) -> Tensor:
    return usage_bits(outcome(z, z), tokenizer, **settings)


def test_bits_of_certain_assignments_are_those_of_their_usage() -> None:
    # Group 0 uses its codewords 1 : 1 : 2, group 1 only the last one.
    codebooks = torch.tensor([[[0.0, 0], [4, 0], [0, 4]], [[0, 0], [9, 9], [0, 9]]])
    tokenizer = tokenizer_of(codebooks, torch.tensor([[1.0, 1, 2], [0, 0.1, 5]]))
    common, rare = (torch.tensor(z).reshape(1, 4, 1, 1) for z in ([0.1, 3.9, 0.1, 8.9], [0.1, 0.1, 9, 9]))
    assert rate(common, tokenizer).item() == pytest.approx((1 + math.log2(5.1 / 5)) / 2, abs=1e-3)
    assert rate(rare, tokenizer).item() == pytest.approx((2 + math.log2(5.1 / 0.1)) / 2, abs=1e-3)
    both = torch.cat([common, rare])
    torch.testing.assert_close(rate(both, tokenizer), (rate(common, tokenizer) + rate(rare, tokenizer)) / 2)


def test_idle_codewords_cost_a_finite_number_of_bits() -> None:
    tokenizer = tokenizer_of(torch.tensor([[[-1.0], [1]]]), torch.tensor([[0.0, 1]]))
    assert rate(torch.full((1, 1, 1, 1), -1.0), tokenizer).item() == pytest.approx(math.log2(1e6), abs=0.01)


@pytest.mark.parametrize("normalised", [False, True])
def test_rate_draws_z_to_what_is_used_more(normalised: bool) -> None:
    tokenizer = tokenizer_of(torch.tensor([[[-1.0, 0], [1, 0]]]), torch.tensor([[1.0, 9]]), normalised)
    z = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1).requires_grad_()
    rate(z, tokenizer, temperature=1.0).backward()
    assert z.grad is not None
    assert z.grad[0, 0] < 0
    assert all(p.grad is None for p in tokenizer.quantizer.parameters())


def test_rate_does_not_depend_on_the_scale_of_the_latent() -> None:
    torch.manual_seed(0)
    books, counts, z = torch.randn(2, 8, 3), torch.rand(2, 8), torch.randn(2, 6, 3, 3)
    one, ten = (rate(z * scale, tokenizer_of(books * scale, counts)).item() for scale in (1.0, 10.0))
    assert one == pytest.approx(ten, rel=1e-5)


def test_rate_reaches_the_encoder_through_a_whole_pass() -> None:
    torch.manual_seed(0)
    backbone = ConvConfig(widths=(8,), encoder_depths=(1,), decoder_depths=(1,))
    tokenizer = Tokenizer(TokenizerConfig(8, backbone, ProductVQConfig(2, 4, 3)), learning="gradient")
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    result = tokenizer(x, torch.ones(2, 2, 2, 2), torch.randn(2, 6, 2, 2))
    term = partial(usage_bits, tokenizer=tokenizer)
    loss = reconstruction_losses(result, x, {"rate/bits"}, rate_loss=term)["rate/bits"]
    loss.backward()
    assert bool((tokenizer.encoder.head.weight.grad != 0).any())
    assert tokenizer.quantizer.bank.codebooks.grad is None


def test_rate_is_zero_before_the_codebooks_start() -> None:
    z = torch.randn(1, 2, 1, 1)
    assert usage_bits(outcome(z, z, started=False), tokenizer_of(torch.randn(1, 4, 2), torch.ones(1, 4))) == 0


# rec/lpips


class TinyTrunk(nn.Module):
    """Five depths of features with the channels VGG16 has, from one random convolution each."""

    def __init__(self, pretrained: bool, requires_grad: bool) -> None:
        super().__init__()
        widths = (3, 64, 128, 256, 512, 512)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths, widths[1:], strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        depths = []
        for conv in self.convs:
            x = torch.relu(conv(x))
            depths.append(x)
        return depths


@pytest.fixture
def tiny_perceptual(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], perceptual.Perceptual]:
    """Makes LPIPS over TinyTrunk, with no file and no network."""
    if find_spec("lpips") is None:
        pytest.skip("rec/lpips needs the package lpips")
    lpips = perceptual._import_lpips()
    monkeypatch.setattr(lpips.pretrained_networks, "vgg16", TinyTrunk)
    monkeypatch.setattr(perceptual, "_fetch_trunk", lambda: tmp_path)
    return perceptual.make_perceptual


def test_lpips_values_are_those_of_the_package(tiny_perceptual: Callable[[], perceptual.Perceptual]) -> None:
    x, y = pictures(3)
    measure = tiny_perceptual()
    values = measure(y, x)
    assert values.shape == (3,)
    torch.testing.assert_close(values, measure.network(y, x).flatten(), rtol=1e-4, atol=1e-7)
    assert bool((measure(x, x) == 0).all())
    loss = reconstruction_losses(outcome(y), x, {"rec/lpips"}, perceptual=measure)["rec/lpips"]
    torch.testing.assert_close(loss, values.mean())


def test_lpips_is_frozen_and_its_gradient_lowers_it(tiny_perceptual: Callable[[], perceptual.Perceptual]) -> None:
    x, y = pictures(2)
    measure = tiny_perceptual()
    assert not any(p.requires_grad for p in measure.parameters())
    (gradient,) = torch.autograd.grad(measure(y, x).mean(), y)
    assert measure(y - 0.1 * gradient / gradient.norm(), x).mean() < measure(y, x).mean()


def test_places_without_any_feature_have_a_value_and_a_gradient(
    tiny_perceptual: Callable[[], perceptual.Perceptual],
) -> None:
    x, y = pictures(1)
    measure = tiny_perceptual()
    for conv in measure.network.net.convs:
        conv.bias.fill_(-100.0)
    value = measure(y, x)
    (gradient,) = torch.autograd.grad(value.sum(), y)
    assert value.item() == 0
    assert bool((gradient == 0).all())
    # Before a ReLU hides it.
    feature = torch.zeros(1, 4, 1, 1, requires_grad=True)
    perceptual._unit(feature).sum().backward()
    assert feature.grad is not None
    assert bool(feature.grad.isfinite().all())


def test_making_lpips_leaves_the_random_numbers_alone(tiny_perceptual: Callable[[], perceptual.Perceptual]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tiny_perceptual()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("failure", [URLError("unreachable"), TimeoutError("timed out"), RuntimeError("invalid hash")])
def test_trunk_that_cannot_be_had_is_one_line_with_ways_out(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(InputError) as caught:
        perceptual._fetch_trunk()
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "rec/lpips",
        "VGG16",
        str(failure.args[0]),
        perceptual.trunk_url(),
        str(tmp_path),
        "losses.rec/lpips=0",
    ):
        assert part in message


def test_a_silent_network_does_not_hang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import socket

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(perceptual, "TIMEOUT_S", 0.2)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # Takes connections and never answers.
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(perceptual, "trunk_url", lambda: f"http://127.0.0.1:{server.getsockname()[1]}/trunk.pth")
        start = time.monotonic()
        with pytest.raises(InputError, match="timed out"):
            perceptual._fetch_trunk()
        assert time.monotonic() - start < 10
    assert socket.getdefaulttimeout() is None


def test_a_damaged_trunk_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half of it")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    if find_spec("lpips") is None:
        pytest.skip("rec/lpips needs the package lpips")
    perceptual._import_lpips()
    # The real trunk's 138 M random weights would be drawn before the file is looked at.
    import torchvision.models.vgg

    monkeypatch.setattr(torchvision.models.vgg, "VGG", lambda *_, **__: nn.Identity())
    with pytest.raises(InputError, match=r"vgg16-397923af.pth: not the weights of VGG16"):
        perceptual.make_perceptual()
