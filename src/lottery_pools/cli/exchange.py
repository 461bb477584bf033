"""The commands that exchange networks with other software: checkpoints in, networks and C out, predictions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lottery_pools.cli import exchange_output, output
from lottery_pools.cli.exchange_options import CompileOptions, ExportOptions, NamedNetwork, PredictOptions
from lottery_pools.cli.parsing import import_options, parse
from lottery_pools.errors import UserError

if TYPE_CHECKING:
    from torch import nn

SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2", "state-dict": ".pt", "safetensors": ".plain.safetensors"}
"""How the names of exported files end; formats that are folders have their name there."""


def import_(arguments: list[str]) -> None:
    """make a run of checkpoints that other software trained"""
    options = import_options(arguments, import_)
    if not options.files:
        raise UserError("import needs checkpoints: `lottery-pools import checkpoints --out runs/theirs` (see --help)")
    from lottery_pools.experiment.importing import Checkpoints, import_checkpoints

    is_said = any(word.split("=")[0] == "--model.prunable" for word in arguments)
    checkpoints = Checkpoints(
        options.files,
        options.masks,
        options.prefix,
        options.dense,
        options.leave_out,
        options.config.model.prunable if is_said else None,
        options.rewind,
        options.train_images or None,
    )
    tickets = import_checkpoints(checkpoints, options.folder, options.config)
    exchange_output.show_import(options.folder, tickets, options.config, options.json)


def export(arguments: list[str]) -> None:
    """write a ticket for other software: ONNX, torch.export, the hub and others"""
    options = parse(ExportOptions, arguments, export)
    require_ticket_file(options.file)
    if options.to == "compiled":
        _export_compiled(options)
        return
    from lottery_pools.exchange import export as exporting
    from lottery_pools.exchange.card import Card
    from lottery_pools.experiment import measured

    figures = measured.figures(options.file) if options.to == "hub" else ()
    card = Card(options.title, options.licence, options.data, figures)
    suffix = SUFFIXES.get(options.to, f"-{options.to}")
    out = options.out or Path(options.file.stem + suffix)
    model = _named(options.file, options.model)
    written = exporting.export(options.file, options.to, out, model=model, normalise=options.normalise, card=card)
    output.show_paths("exported", [written], options.json)


def _export_compiled(options: ExportOptions) -> None:
    """Write a ticket as C with its library."""
    if options.normalise:
        raise UserError("export --normalise is for onnx and torch-export: leave it out for compiled")
    from lottery_pools.deploy.standalone import write_standalone

    module, shape = _module(options.file, options.model)
    written = write_standalone(module, shape, options.out or Path(f"{options.file.stem}-compiled"))
    output.show_paths("exported", written.paths, options.json)


def compile(arguments: list[str]) -> None:
    """write a ticket as C for exactly its weights, make a library of it and time it"""
    options = parse(CompileOptions, arguments, compile)
    require_ticket_file(options.file)
    from lottery_pools.deploy import ticket as compiling
    from lottery_pools.runs.speeds import compiled_folder

    module, shape = _module(options.file, options.model)
    out = options.out or compiled_folder(options.file)
    choices = compiling.Choices(options.target, options.threads, not options.untimed)
    exchange_output.show_compilation(
        out, compiling.compile_ticket(options.file, module, shape, out, choices), options.json
    )


def _module(file: Path, given: NamedNetwork) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of a ticket with its weights, and the shape of one of its samples."""
    from lottery_pools.exchange import network

    module = network.load_model(file, model=_named(file, given))
    return module, tuple(network.opened(file).model["input_shape"])


def predict(arguments: list[str]) -> None:
    """say which class images or samples are of, which labels or which numbers"""
    options = parse(PredictOptions, arguments, predict)
    if options.top is not None and options.top < 1:
        raise UserError(f"--top is {options.top}: give 1 or more")
    if not options.inputs:
        raise UserError(f"predict needs images: `lottery-pools predict {options.file} image.png` (see --help)")
    from lottery_pools.exchange import predict as predicting

    inputs = list(_images(options.inputs))
    model = _named(options.file, options.model)
    source = _compiled(options.file, model) if options.compiled else options.file
    predictions = predicting.predict(source, inputs, model=model, batch=options.batch)
    exchange_output.show_predictions(predictions, options.top, options.json)


def _compiled(file: Path, model: nn.Module | None) -> nn.Module:
    """The network of a file, compiled, with its preprocessing."""
    from lottery_pools.deploy.compiled import CompiledModule
    from lottery_pools.deploy.compiled import compile as compile_network
    from lottery_pools.exchange import network

    loaded = network.load_model(file, model=model)
    compiled = CompiledModule(compile_network(loaded, engine="c"))
    object.__setattr__(compiled, "preprocess", getattr(loaded, "preprocess", None))  # as `load_model` does
    return compiled


def _named(file: Path, given: NamedNetwork) -> nn.Module | None:
    """The network of a file, if the user gives its name."""
    if given.name is None:
        return None
    from lottery_pools.exchange import network

    return network.named(file, given.name)


def _images(inputs: Iterable[Path]) -> Iterable[Path]:
    """The files that are meant: of folders, the images below them."""
    from lottery_pools.data import image_files

    for path in inputs:
        if path.is_dir():
            images = image_files.images(path, image_files.LeftOut())
            if not images:
                raise UserError(f"{path} has no images: give another folder, or files")
            yield from images
        elif not path.exists():
            raise UserError(f"there is no file {path}: give an image, a folder of images, or a .npy file of samples")
        else:
            yield path


def require_ticket_file(file: Path) -> None:
    """Raise UserError where `file` is a folder, or a file of another kind, and offer a ticket file nearby."""
    if file.is_dir() or (file.exists() and file.suffix != ".safetensors"):
        folder = file if file.is_dir() else file.parent
        nearby = sorted(folder.rglob("level_*.safetensors"))
        example = nearby[0] if nearby else "runs/demo/seed_0/tickets/level_00.safetensors"
        kind = "a folder" if file.is_dir() else "no ticket file"
        raise UserError(f"{file} is {kind}: give one ticket file, such as {example}")
