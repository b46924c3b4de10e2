"""Full, LoRA and frozen parts: trained and unchanged parameters, and the merged network."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

from vqcodec.errors import UsageError
from vqcodec.train.finetuning import load_tuned, merged, trained_share, tune
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.recipe.schema import TuningRecipe

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="the extra `alignment`")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 12), nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(self.fc1(x).relu())


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.mlp, self.norm = Block(), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.mlp(self.bn(self.conv(x)).mean((2, 3))))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Part(), Part()

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x) + self.decoder(x)


def model(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model()


def x() -> Tensor:
    return torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))


def train(subject: Model) -> None:
    optimizer = torch.optim.SGD([p for p in subject.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        subject.train()(x()).square().sum().backward()
        optimizer.step()


LORA = TuningRecipe(encoder="lora", decoder="full", rank=2, layers=("*.mlp.fc*", "encoder.conv"))


def test_frozen_parts_stay_to_their_statistics() -> None:
    subject = model()
    tune(subject, TuningRecipe(), ("encoder",))
    before = {name: value.clone() for name, value in subject.state_dict().items()}
    train(subject)
    moved = {name for name, value in subject.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("decoder.") for name in moved)
    assert 0 < trained_share(subject) < 1


def test_named_parameters_of_a_frozen_part_are_trained() -> None:
    subject = model()
    tune(subject, TuningRecipe(trained=("encoder.norm.*",)), ("encoder",))
    trained = {name for name, value in subject.encoder.named_parameters() if value.requires_grad}
    assert trained == {"norm.weight", "norm.bias"}
    before = subject.encoder.norm.weight.clone()
    train(subject)
    assert not torch.equal(subject.encoder.norm.weight, before)


def test_parameters_drawn_at_random_are_trained_in_a_frozen_part() -> None:
    subject = model()
    tune(subject, TuningRecipe(), ("encoder",), randomly_initialised={"encoder.norm.bias"})
    assert {name for name, value in subject.encoder.named_parameters() if value.requires_grad} == {"norm.bias"}


@needs_peft
def test_lora_starts_as_the_network_was_and_trains_updates_alone() -> None:
    plain, subject = model(), model()
    tune(subject, LORA)
    torch.testing.assert_close(subject.eval()(x()), plain.eval()(x()))
    trained = {name for name, value in subject.encoder.named_parameters() if value.requires_grad}
    assert trained == {
        f"{layer}.lora_{side}.default.weight" for layer in ("mlp.fc1", "mlp.fc2", "conv") for side in "AB"
    }
    weight = subject.encoder.mlp.fc1.base_layer.weight.clone()
    train(subject)
    assert torch.equal(subject.encoder.mlp.fc1.base_layer.weight, weight)


@needs_peft
def test_merged_weights_do_what_the_tuned_network_does() -> None:
    subject, plain = model(), model(seed=1)
    tune(subject, LORA)
    train(subject)
    state = merged(subject.state_dict())
    assert set(state) == set(plain.state_dict())
    plain.load_state_dict(state)
    torch.testing.assert_close(subject.eval()(x()), plain.eval()(x()))
    assert not torch.equal(plain.encoder.mlp.fc1.weight, model().encoder.mlp.fc1.weight)
    assert merged(plain.state_dict()).keys() == plain.state_dict().keys()


@needs_peft
def test_updates_have_their_rank() -> None:
    subject = model()
    tune(subject, LORA)
    train(subject)
    change = merged(subject.state_dict())["encoder.mlp.fc1.weight"] - model().encoder.mlp.fc1.weight
    assert torch.linalg.matrix_rank(change, atol=1e-5) == 2


@needs_peft
def test_both_kinds_of_state_load() -> None:
    source, subject = model(seed=3), model()
    tune(subject, LORA)
    load_tuned(subject, source.state_dict())
    torch.testing.assert_close(subject.eval()(x()), source.eval()(x()))
    train(subject)
    again = model(seed=4)
    tune(again, LORA)
    load_tuned(again, subject.state_dict())
    torch.testing.assert_close(again.eval()(x()), subject.eval()(x()))
    with pytest.raises(RuntimeError, match="Missing key"):
        load_tuned(subject, {"encoder.other": torch.zeros(1)})


@needs_peft
def test_lora_without_a_layer_of_that_name() -> None:
    with pytest.raises(UsageError, match=r"no layer of the encoder is called \*\.attention"):
        tune(model(), TuningRecipe(encoder="lora", layers=("*.attention",)))


START = ["start_from=runs/x"]
ADAPTIVE = ["losses.gan/generator=0.5", "gan.adaptive=true"]


def frozen(*parts: str) -> str:
    return f"optimizer.frozen={json.dumps(parts)}"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("tiny", ["tuning.encoder=half"], r"tuning\.encoder: 'half' is not one of full, lora"),
        ("tiny", ["tuning.decoder=lora"], r"tuning\.decoder: lora needs weights to start from"),
        ("softvq-b-64", ["tuning.decoder=lora"], r"tuning\.decoder: lora needs weights to start from"),
        ("tiny", [*START, "tuning.decoder=lora", frozen("decoder")], r"tuning\.decoder: lora has no effect"),
        ("tiny", ["tuning.rank=0"], r"tuning\.rank"),
        ("tiny", [frozen("encoder")], r"optimizer\.frozen: encoder needs weights"),
        ("softvq-b-64", [frozen("encoder", "quantizer")], r"optimizer\.frozen: quantizer needs weights"),
        ("tiny", [*START, frozen("head")], r"optimizer\.frozen.*'head' is not one of decoder, encoder, quantizer"),
        ("tiny", [*START, frozen("encoder", "quantizer", "decoder")], r"optimizer\.frozen: leaves nothing to train"),
        ("tiny", [*START, *ADAPTIVE, frozen("decoder")], r"optimizer\.frozen: .* gan\.adaptive"),
    ],
)
def test_tuning_out_of_range_is_refused(name: str, changes: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=rf"recipe\.{message}"):
        load_recipe(name, changes)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tiny", [*START, *ADAPTIVE, "tuning.decoder=lora", frozen("encoder", "quantizer")]),
        ("xqgan-vq-4096", ["tuning.decoder=lora", frozen("encoder")]),
    ],
)
def test_lora_and_frozen_parts_go_together(name: str, changes: list[str]) -> None:
    load_recipe(name, changes)
