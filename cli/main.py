"""The `vqcodec` command: its subcommands, and errors as one line and an exit code."""

from __future__ import annotations

import errno
import re
import sys
import warnings
from typing import Annotated, Any, NoReturn

import typer

from vqcodec import __version__
from vqcodec.errors import InputError, LimitError, OutputError, UsageError, VqcError, is_out_of_memory
from vqcodec.runtime import blas, threads
from vqcodec.runtime.backend import leave_out_converter

from . import streams
from .deferred import add_deferred
from .messages import clean
from .state import state

app = typer.Typer(
    name="vqcodec",
    help="Compress pictures into discrete tokens of learned tokenizers, in small progressive files (.vqc).",
    epilog="Exit codes: 0 ok, 1 internal error, 2 usage, 3 input unreadable, 4 corrupt or truncated .vqc, "
    "5 model missing, 6 limit exceeded, 7 output exists or unwritable, 8 target unreachable, "
    "9 loss refused by --strict, 10 batch with failures, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"vqcodec {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("-V", "--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Common options."""


COMMANDS = (
    ("encode", "codec:encode", "Compress pictures to .vqc files; `encode IN OUT.vqc` works as `encode IN -o OUT.vqc`."),
    ("decode", "codec:decode", "Decode .vqc files to pictures; `decode IN OUT.png` works as `decode IN -o OUT.png`."),
    (
        "preview",
        "preview.command:preview",
        "Show .vqc files from coarse to fine: the picture that each prefix of a file holds.",
    ),
    ("info", "vqc_files:info", "Print what the header of a .vqc file states; the model need not be installed."),
    (
        "verify",
        "vqc_files:verify",
        "Check every checksum and decode every index of .vqc files; a fault gives exit code 3 to 6.",
    ),
    (
        "truncate",
        "vqc_files:truncate",
        "Make a .vqc file smaller without decoding it; exactly one of --keep, --target-size and --bpp sets its size.",
    ),
    ("batch", "batch.command:batch", "Convert a tree of pictures to .vqc files, or back."),
    (
        "tokens",
        "tokens:tokens",
        "Convert .vqc files losslessly to numpy arrays of token indices (.npz), or back; or pack them for training.",
    ),
    ("sample", "sample:sample", "Draw tokens at random and decode them to a picture."),
    (
        "eval",
        "evaluate.command:evaluate",
        "Measure models and other codecs: size and quality of every file, curves, and a verdict.",
    ),
    ("train", "train:train", "Train tokenizers and priors (context models), and export them as models."),
    ("models", "models:models", "Installed models: list, show, verify, import, stats."),
)
"""Name, place, and line of help of each command, in the order of the list."""

for row in COMMANDS:
    add_deferred(app, *row)


def run() -> NoReturn:
    """Entry point of the console script; an error is one line on stderr and an exit code."""
    state.debug = False
    streams.prepare()
    blas.prepare()
    threads.prepare()
    leave_out_converter()
    warnings.showwarning = _show_warning
    try:
        _refuse_empty(sys.argv[1:])
        code = app(standalone_mode=False)  # the exit code that a command requested, else None
        streams.finish()
    except VqcError as error:
        _end(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _end("interrupted", 130)
    except BrokenPipeError:
        _end_unread()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # a library noticed it and exits with 1
            _end_unread()
        raise
    except OSError as error:
        _end(*_os_error(error))
    except Exception as error:
        if _is_usage(error):
            _end_usage(error)
        if is_out_of_memory(error):
            _end("out of memory; try a smaller picture, or --region", LimitError.exit_code)
        _end(f"internal error: {type(error).__name__}: {error} (--debug shows where)", 1)
    if code == 130:
        _end("interrupted", 130)
    if streams.failure.reason and not code:
        _end(streams.failure.reason, OutputError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
    """Print a warning of a library as one line on stderr."""
    streams.to_stderr(f"vqcodec: warning: {clean(' '.join(str(message).split()))}")


def _end_unread() -> NoReturn:
    """End silently: the reader of the output has closed the pipe."""
    streams.abandon()
    sys.exit(0)


def _os_error(error: OSError) -> tuple[str, int]:
    """Message and exit code of a system error that no command has translated."""
    reason = error.strerror or str(error)
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF):
        streams.abandon()
        return f"stdout: cannot be written: {reason}", OutputError.exit_code
    if error.filename is not None:
        return f"{error.filename}: cannot be read: {reason}", InputError.exit_code
    return f"internal error: {type(error).__name__}: {error} (--debug shows where)", 1


def _refuse_empty(words: list[str]) -> None:
    """Raise UsageError for an empty argument, as from an unset variable: as a path it means the current folder."""
    before = ""
    for number, word in enumerate(words, 1):
        option = re.fullmatch(r"(--[a-z][a-z-]*)=", word)
        if not word or option:
            name = option[1] if option else before if before.startswith("-") else f"argument {number}"
            raise UsageError(f"{name} is empty (an unset variable?): name a file or folder, or a value")
        before = word


def _is_usage(error: Exception) -> bool:
    """True for an error of the option parser, whose classes are in click or, in newer versions, in typer."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _end_usage(error: Any) -> NoReturn:
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(error.exit_code)
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "vqcodec"
    _end(f"{_plain(error.format_message())} (see `{command} --help`)", error.exit_code)


def _plain(message: str) -> str:
    """The parser's message about a value in the form `option: problem`; other messages unchanged."""
    found = re.fullmatch(r"Invalid value for (.+?): (.+?)\.?", message)
    if found is None:
        return message
    option = found[1].replace("'", "")
    return f"{option}: {found[2]}"


def _end(message: str, code: int) -> NoReturn:
    if state.debug and sys.exc_info()[1] is not None:
        import traceback

        for line in traceback.format_exc().splitlines():
            streams.to_stderr(clean(line))
    streams.to_stderr(f"vqcodec: {clean(' '.join(message.split()))}")
    sys.exit(code)
