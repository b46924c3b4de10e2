"""Names of the files that a batch keeps in DST until a target is in the manifest."""

from __future__ import annotations

import hashlib
import os

PARTS = ".vqcodec-parts"
"""Folder in DST of the drafts and records of targets that are being written."""
DRAFT, RECORD, SHARD, JOURNAL = ".part", ".json", ".tar", ".jsonl"
"""A target before it is published, its later line of the manifest; an unfinished shard, its samples so far."""


def part_name(target: str, kind: str) -> str:
    """Name, relative to DST, of the file in PARTS that belongs to `target`."""
    return f"{PARTS}/{hashlib.sha256(os.fsencode(target)).hexdigest()[:32]}{kind}"
