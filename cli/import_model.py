"""`vqcodec models import`: a published checkpoint of MGVQ, XQ-GAN, FQGAN or SoftVQ-VAE as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqcodec.runtime.progress import Part, expect

from . import messages, options
from .progress import file_bar


def import_model(
    system: Annotated[
        str,
        typer.Argument(
            metavar="SYSTEM",
            show_default=False,
            help="Name of the release, for example mgvq-f16c32-g4; an unknown name lists all. With --config also "
            "mgvq, xqgan, fqgan or softvq.",
        ),
    ],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="Checkpoint: .pt, .pth or .safetensors.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", show_default=False, help="Model folder to write.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", show_default="SYSTEM", help="Name of the model.")
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            "--part", metavar="KEY", show_default="ema, else model", help="Which of a checkpoint's weights to read."
        ),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE.toml",
            show_default=False,
            help="Table [tokenizer] as in a recipe: the differences from the release, or all of it for a family.",
        ),
    ] = None,
    measure: Annotated[
        list[Path] | None,
        typer.Option(
            "--measure",
            metavar="PICTURE",
            show_default="weight 1",
            help="Measure the weight of a mixture's first codeword on it (SoftVQ-VAE); may be repeated.",
        ),
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
) -> None:
    """Convert a checkpoint that the authors of a system published to a model folder.

    No code in the file is run. Every tensor must be present with its shape; tensors for training only are left out. The
    model codes indices by adaptive tables, so that equal checkpoints give equal identities on every machine.

    --config is for checkpoints of other sizes than the releases: SYSTEM is a release and FILE.toml holds the
    differences, or SYSTEM is mgvq, xqgan, fqgan or softvq and FILE.toml holds the whole tokenizer.

    Exit code 2: SYSTEM or a key of FILE.toml is unknown. Exit code 3: a file cannot be read, or is no checkpoint. Exit
    code 5: its tensors are not those of SYSTEM.

    JSON keys: name, folder, token_id, entropy_id, layers, left_out (name of a tensor, or of several as x.*, and how
    many), and with --measure first_weight.
    """
    from vqcodec.config.quantizers import mixtures_of
    from vqcodec.image.files import as_picture
    from vqcodec.importing.checkpoint import read_checkpoint
    from vqcodec.importing.first_weight import measured_config
    from vqcodec.importing.release import check_folder, find_release, import_release
    from vqcodec.importing.settings import find_configured

    family, config = find_release(system) if config_file is None else find_configured(system, config_file)
    check_folder(out, force)
    pictures = [as_picture(path).pixels for path in measure or ()]
    with messages.naming(file), file_bar("importing", [file], quiet, json) as progress, progress.file(file.name):
        size = file.stat().st_size if file.is_file() else 0
        expect(Part.WEIGHTS, 2 * size)  # converted and written; usual checkpoints are mapped, which takes no time
        state = read_checkpoint(file, part)
        if pictures:
            config = measured_config(family, config, state, pictures)
        made = import_release(family, config, state, out, name or system, force)
    mixtures = mixtures_of(made.config.tokenizer.quantizer)
    weight = None if mixtures is None else mixtures.first_weight
    if json:
        messages.print_json(
            {
                "name": made.config.name,
                "folder": str(out),
                "token_id": made.config.token_id,
                "entropy_id": made.config.entropy_id,
                "layers": len(made.config.layers),
                "left_out": made.skipped,
                **({"first_weight": weight} if pictures else {}),
            }
        )
    elif not quiet:
        messages.say(f"{out}: model '{made.config.name}', {made.config.token_id}/{made.config.entropy_id}")
        if pictures:
            messages.say(
                f"weight of the first codeword: {weight}; part of the identity, `first_weight` in a --config file"
            )
        if made.skipped:
            left = ", ".join(f"{start} ({count})" for start, count in made.skipped.items())
            messages.say(f"left out, for training only: {left}")
