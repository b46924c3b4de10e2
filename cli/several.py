"""Several inputs of one command: a failing one is reported, the others go on."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from vqcodec.errors import LimitError, VqcError, is_out_of_memory

from . import messages, streams
from .state import state


class Failures:
    """Failures of the inputs of one command; the error of a single input ends the command at once."""

    def __init__(self, n_inputs: int, json: bool = False) -> None:
        self.n_inputs = n_inputs
        self.json = json
        self.codes: list[int] = []
        """Exit code of each failure, in order."""

    @contextmanager
    def of(self, source: Path) -> Iterator[None]:
        """Errors raised inside are failures of `source`, reported in one line; a single input raises its error."""
        try:
            yield
        except Exception as error:
            memory = is_out_of_memory(error)
            if self.n_inputs == 1 or not (memory or isinstance(error, VqcError)):
                raise
            name = messages.name_of(source)
            message = f"{name}: out of memory; try a smaller picture, or --region" if memory else str(error)
            self._report(source, " ".join(message.split()), getattr(error, "exit_code", LimitError.exit_code))

    def finish(self, quiet: bool) -> None:
        """End the command with the exit code of the first failure, if there was one, and a summary."""
        if not self.codes:
            return
        if not quiet:
            done = self.n_inputs - len(self.codes)
            messages.say(f"{len(self.codes)} of {self.n_inputs} inputs failed, {done} done")
        raise typer.Exit(self.codes[0])

    def _report(self, source: Path, message: str, code: int) -> None:
        if state.debug:
            traceback.print_exc()
        self.codes.append(code)
        streams.to_stderr(f"vqcodec: {messages.clean(message)}")
        if self.json:
            messages.print_json({"input": messages.path_text(source), "error": message, "exit_code": code})
