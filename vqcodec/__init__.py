"""Images as discrete tokens of learned tokenizers, in small, robust, progressive files.

Public names only, and lazy: importing `vqcodec` loads neither torch nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import (
        Preview,
        decode,
        decode_tokens,
        detokenize,
        encode,
        encode_tokens,
        inspect,
        previews,
        tokenize,
        truncate,
        verify,
    )
    from .errors import (
        BatchError,
        FormatError,
        InputError,
        LimitError,
        LossError,
        LossWarning,
        ModelError,
        OutputError,
        TargetError,
        UsageError,
        VqcError,
    )
    from .image.picture import Picture
    from .models.copies import load_model
    from .models.file_info import Info
    from .tokens.tokens import Tokens

importlib.import_module(".runtime.forking", __name__)  # prepares for forks; loads no torch

__version__ = "0.2.0"

_HOMES = {
    "api": (
        "Preview decode decode_tokens detokenize encode encode_tokens inspect previews tokenize truncate verify"
    ).split(),
    "errors": (
        "BatchError FormatError InputError LimitError LossError LossWarning ModelError OutputError TargetError"
        " UsageError VqcError"
    ).split(),
    "image.picture": ["Picture"],
    "models.file_info": ["Info"],
    "models.copies": ["load_model"],
    "tokens.tokens": ["Tokens"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BatchError",
    "FormatError",
    "Info",
    "InputError",
    "LimitError",
    "LossError",
    "LossWarning",
    "ModelError",
    "OutputError",
    "Picture",
    "Preview",
    "TargetError",
    "Tokens",
    "UsageError",
    "VqcError",
    "__version__",
    "decode",
    "decode_tokens",
    "detokenize",
    "encode",
    "encode_tokens",
    "inspect",
    "load_model",
    "previews",
    "tokenize",
    "truncate",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vqcodec' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
