"""Names of tensors in model.safetensors, where they differ from the names in a tokenizer's state dict.

Names in files are fixed: identities are digests over them, and shipped models hold them. An attribute of a network that
gets another name needs an entry here.
"""

from __future__ import annotations

FILE_NAMES = {
    "quantizer.bit_costs": "quantizer.costs",
    "quantizer.lambda_caps": "quantizer.caps",
    "quantizer.lambda_weights": "quantizer.prices",
}
"""Name in the state dict -> name in model.safetensors."""
_STATE_NAMES = {in_file: in_state for in_state, in_file in FILE_NAMES.items()}


def file_name(name: str) -> str:
    """Name in model.safetensors of the tensor that a state dict calls `name`; a name of a file stays as it is."""
    return FILE_NAMES.get(name, name)


def state_name(name: str) -> str:
    """Name in the state dict of the tensor that model.safetensors calls `name`."""
    return _STATE_NAMES.get(name, name)
