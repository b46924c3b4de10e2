"""Suffixes of the files of a data set of tokens."""

from __future__ import annotations

PACKED = ".vqtok"
"""Packed shards."""
LABELS = ("cls", "txt", "json")
"""Files beside the tokens of a sample, in WebDataset's names: class number, caption, object."""
