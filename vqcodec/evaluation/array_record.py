"""Arrays as values of JSON, without loss: for results that a journal keeps."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np


def array_record(array: np.ndarray) -> dict[str, Any]:
    """The array of numbers as JSON can hold it."""
    data = zlib.compress(np.ascontiguousarray(array).tobytes(), 1)
    return {"type": array.dtype.str, "shape": list(array.shape), "data": base64.b64encode(data).decode("ascii")}


def array_of_record(record: dict[str, Any]) -> np.ndarray:
    """Undo `array_record`."""
    data = zlib.decompress(base64.b64decode(record["data"]))
    return np.frombuffer(data, np.dtype(record["type"])).reshape(record["shape"])
