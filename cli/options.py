"""Options that several commands share, each declared once."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass
class State:
    """What the options below set for the whole process."""

    debug: bool = False


state = State()


def _set_debug(value: bool) -> bool:
    state.debug = value
    return value


def _set_threads(value: int) -> int:
    if value:
        os.environ["OMP_NUM_THREADS"] = str(value)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(value)
    return value


Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite existing outputs.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")]
Device = Annotated[str, typer.Option("--device", help="Where networks run: cpu, cuda, cuda:1, mps ...")]
Threads = Annotated[
    int,
    typer.Option("--threads", min=0, callback=_set_threads, show_default="all cores", help="CPU threads of the networks."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", callback=_set_debug, help="Show a traceback on errors.")]
MaxPixels = Annotated[
    int, typer.Option("--max-pixels", min=1, help="Refuse pictures of more pixels than this, before any memory is taken.")
]
ModelName = Annotated[str, typer.Option("-m", "--model", help="Model name (see `vqcodec models list`) or model folder.")]

DEFAULT_MAX_PIXELS = 2**28
