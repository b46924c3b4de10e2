"""`vqcodec models`: list, show and verify installed models.

`list` and `show` read config.json only; `verify` loads the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import to_builtins

from vqcodec.config.quantizers import ProductVQConfig, QuantizerConfig
from vqcodec.errors import ModelError

from . import messages, options
from .import_model import import_model
from .model_stats import model_stats

if TYPE_CHECKING:
    from vqcodec.config.model import LadderStep, TokenizerConfig
    from vqcodec.models.registry import Broken, Entry

models = typer.Typer(name="models", help="Installed models: list, show, verify, import, stats.", no_args_is_help=True)
models.command("import")(import_model)
models.command("stats")(model_stats)


@models.command("list")
def list_models(json: options.Json = False, debug: options.Debug = False) -> None:
    """List the installed models: bundled ones, and those in the cache folder ($VQCODEC_MODELS).

    Stride is in pixels, size in bytes of the weights. A folder that cannot be used is listed with the reason. A model
    is shadowed if an earlier one has its name: it can only be given by its folder. Column -q lists the qualities of
    the default model; the others need -m.

    JSON keys: name, stride, layers, planes, bytes, quality (lowest and highest without -m, or null), bundled, folder,
    token_id, entropy_id, license, description; of a broken folder: name, bundled, folder, error.
    """
    from vqcodec.models.registry import cache_folder, survey

    found, broken = survey()
    records = [_summary(entry) for entry in found]
    faults = [_broken(bad) for bad in broken]
    if json:
        for record in [*records, *faults]:
            messages.print_json(record)
        return
    if not records and not faults:
        messages.say(f"no models installed; put model folders into {cache_folder()}")
        return
    width = max(len(messages.clean(r["name"])) for r in [*records, *faults]) + 2
    print(f"{'name':<{width}}{'layers':>6}{'stride':>8}{'bytes':>13}  {'-q':8}{'where':8}  description")
    for i, r in enumerate(records):
        where = "shadowed" if r["name"] in [other["name"] for other in records[:i]] else _kind(r)
        part = "-m" if r["quality"] is None else "{}..{}".format(*r["quality"])
        size = "missing" if r["bytes"] is None else f"{r['bytes']:,}"
        line = f"{r['name']:<{width}}{r['layers']:>6}{r['stride']:>8}{size:>13}  {part:8}{where}  {r['description']}"
        print(messages.clean(line).rstrip())
    for r in faults:
        print(messages.clean(f"{r['name']:<{width}}{'broken':>27}  {'':8}{_kind(r)}  {_one_line(r['error'])}"))


@models.command()
def show(name: options.ModelArgument, json: options.Json = False, debug: options.Debug = False) -> None:
    """Print the configuration of a model; its weights are not read.

    JSON keys: those of `models list`, and config (the model's config.json).
    """
    from vqcodec.models.registry import find

    entry = find(name)
    record, config = _summary(entry), to_builtins(entry.config)
    if json:
        messages.print_json(record | {"config": config})
        return
    quantizer = entry.config.tokenizer.quantizer
    backbone = entry.config.tokenizer.backbone
    rows = {
        "folder": record["folder"] + (" (bundled)" if entry.bundled else ""),
        "description": record["description"] or "none",
        "licence": record["license"] or "none given",
        "identity": f"{record['token_id']}/{record['entropy_id']} (tokens/entropy)",
        "weights": "missing" if record["bytes"] is None else f"{record['bytes']:,} bytes",
        "stride": f"{record['stride']} pixels",
        "quantizer": _codes(quantizer),
        **_windows(entry.config.tokenizer),
        "backbone": f"{backbone.kind}: widths {', '.join(map(str, backbone.widths))}",
        "layers": f"{record['layers']}: planes " + " | ".join(map(_planes, entry.config.layers)),
        "quality": ", ".join(_place(step) for step in entry.config.ladder) or "one file for all qualities",
        "without -m": _used_for(record["quality"]),
    } | {str(key): str(value) for key, value in entry.config.extra.items()}
    print(messages.clean(entry.config.name))
    width = max(map(len, rows)) + 2
    for key, value in rows.items():
        print(messages.clean(f"  {key:<{width}}{value}"))


@models.command()
def verify(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", autocompletion=options.model_names, show_default="all", help="Model name or model folder."
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.QuietShort = False,
    debug: options.Debug = False,
) -> None:
    """Load the weights of a model, or of all, and check digest, identity and tensors; exit code 5 for a broken one.

    JSON keys: those of `models list`, ok, and error (the fault, or null).
    """
    from vqcodec.models import registry

    found, broken = registry.survey() if name is None else ([registry.find(name)], [])
    verdicts = [_summary(entry) | {"error": _fault(entry)} for entry in found] + [_broken(bad) for bad in broken]
    if name is not None and (fault := verdicts[0]["error"]):
        raise ModelError(fault)
    for record in verdicts:
        if json:
            messages.print_json(record | {"ok": record["error"] is None})
        elif record["error"] is not None:
            messages.say(f"{record['name']}: broken: {_one_line(record['error'])}")
        elif not quiet:
            messages.say(f"{record['name']}: good: {record['token_id']}/{record['entropy_id']}, {record['folder']}")
    if faults := sum(record["error"] is not None for record in verdicts):
        raise ModelError(f"{faults} of {len(verdicts)} models broken: install them again, or remove them")


def _fault(entry: Entry) -> str | None:
    """The fault found by loading a model; None if there is none."""
    from vqcodec.models import loading

    try:
        _ = loading.load(entry).tokenizer
    except ModelError as error:
        return str(error)
    return None


def _broken(bad: Broken) -> dict[str, Any]:
    return {"name": bad.folder.name, "bundled": bad.bundled, "folder": str(bad.folder), "error": bad.reason}


def _used_for(part: tuple[int, int] | None) -> str:
    return "not used" if part is None else "used for -q {}..{}".format(*part)


def _place(step: LadderStep) -> str:
    """`-q 51: 16 layers at rate 2`; the rate is left out where it is 1, as for models trained without one."""
    return f"-q {step.quality}: {step.keep} layers" + ("" if step.lmbda == 1 else f" at rate {step.lmbda:g}")


def _kind(record: dict[str, Any]) -> str:
    return f"{'bundled' if record['bundled'] else 'cache':8}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _part(entry: Entry) -> tuple[int, int] | None:
    """Lowest and highest quality for which encode uses the model without -m; None if it never does."""
    from vqcodec.models import registry

    return (1, 100) if registry.name_of(entry) == registry.DEFAULT_MODEL else None


def _codes(quantizer: QuantizerConfig) -> str:
    if isinstance(quantizer, ProductVQConfig):
        widths = " ".join(map(str, quantizer.widths))
        refined = f", {len(quantizer.refinements)} residual planes" if quantizer.refinements else ""
        return (
            f"{quantizer.kind}: {quantizer.groups} groups of {quantizer.codebook_size} codewords, "
            f"{widths} channels{refined}"
        )
    sizes = " or ".join(map(str, dict.fromkeys(quantizer.sizes)))
    planes = f"{len(quantizer.sizes)} plane" + "s" * (len(quantizer.sizes) > 1)
    return f"{quantizer.kind}: {planes} of {sizes} codes, {quantizer.channels} channels"


def _windows(config: TokenizerConfig) -> dict[str, str]:
    """The row about windows, for models that have them."""
    if config.compute_window:
        side = config.compute_window
        return {
            "windows": f"{side} pixels, {config.compute_overlap} into the next, for more than {side} x {side} pixels"
        }
    return {"windows": f"{config.window_px} pixels, {config.overlap} into the next"} if config.window_px else {}


def _summary(entry: Entry) -> dict[str, Any]:
    from vqcodec.models.registry import WEIGHTS

    config, weights = entry.config, entry.folder / WEIGHTS
    return {
        "name": config.name,
        "stride": config.tokenizer.stride,
        "layers": len(config.layers),
        "planes": len(config.tokenizer.quantizer.sizes),
        "bytes": weights.stat().st_size if weights.is_file() else None,
        "quality": _part(entry),
        "bundled": entry.bundled,
        "folder": str(entry.folder),
        "token_id": config.token_id,
        "entropy_id": config.entropy_id,
        "license": config.license,
        "description": config.description,
    }


def _planes(layer: tuple[int, ...]) -> str:
    """Numbers of the planes of a layer; a run of more than two as first..last."""
    first, last = layer[0], layer[-1]
    if len(layer) > 2 and last - first == len(layer) - 1:
        return f"{first}..{last}"
    return " ".join(map(str, layer))
