"""Networks of a model in the library that runs them."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ..config.backbones import ConvConfig, WaveletConfig
from ..config.quantizers import ProductVQConfig
from ..errors import UsageError
from ..models.loading import Model
from ..runtime.backend import check_torch, chosen_backend, openvino_runs
from ..runtime.forking import ForkLock
from .interface import Networks

_compiled: WeakKeyDictionary[Model, Networks] = WeakKeyDictionary()
"""Networks that OpenVINO runs, of the models in memory."""
_building = ForkLock()
"""Held while networks are built, so that threads which start together build them once."""


def runs_compiled(model: Model) -> bool:
    """True for a model whose networks OpenVINO runs, on the CPU: convolutions and product quantizer, or a wavelet."""
    config = model.config.tokenizer
    is_convolutional = isinstance(config.backbone, ConvConfig) and isinstance(config.quantizer, ProductVQConfig)
    is_supported = is_convolutional or isinstance(config.backbone, WaveletConfig)
    return is_supported and model.device.partition(":")[0] == "cpu" and not config.window_px and openvino_runs()


def networks_of(model: Model) -> Networks:
    """The networks of a model, built at the first call. Raises ModelError, UsageError where a library is missing."""
    if not runs_compiled(model):
        if chosen_backend() == "openvino":
            raise UsageError(
                f"backend openvino: it does not run model '{model.config.name}' on {model.device}; use auto"
            )
        check_torch("backend torch" if chosen_backend() == "torch" else f"model '{model.config.name}'")
        from .torch_networks import TorchNetworks  # loads torch

        return TorchNetworks(model)
    with _building:
        if model not in _compiled:
            _compiled[model] = _compiled_networks(model)
        return _compiled[model]


def _compiled_networks(model: Model) -> Networks:
    """The networks in OpenVINO, which this loads."""
    if isinstance(model.config.tokenizer.backbone, WaveletConfig):
        from .compiled.wavelet_networks import CompiledWaveletNetworks

        return CompiledWaveletNetworks(model.config.tokenizer, model.tensors)
    from .compiled.networks import CompiledNetworks

    return CompiledNetworks(model.config.tokenizer, model.tensors, model.product)
