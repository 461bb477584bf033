"""Networks from outside this package: of timm and torchvision, and of modules that users write."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from lottery_pools.errors import UserError, installing, unknown

Factory = Callable[..., nn.Module]
"""A function that builds a network, or the network's class."""


def factory(name: str, classes: int, input_shape: tuple[int, ...]) -> Factory:
    """Return what builds a network that is not of this package.

    Args:
        name: `timm:NAME`, `torchvision:NAME`, or `package.module:factory`.
        classes: Number of classes.
        input_shape: Shape of one sample, (channels, height, width) or (channels, length).

    Returns:
        The factory. That of timm or torchvision already has the number of classes; a user's factory still has to
        be called with `classes` or `num_classes`, and `input_shape`.

    Raises:
        UserError: The network is unknown, its package or module cannot be imported, or it does not take such samples.
    """
    origin, _, attribute = name.partition(":")
    if origin == "timm":
        timm = _package("timm", name)
        if not timm.is_model(attribute):
            raise unknown("timm model", attribute, timm.list_models())
        return partial(timm.create_model, attribute, num_classes=classes, in_chans=input_shape[0])
    if origin == "torchvision":
        models = _package("torchvision", name).models
        if attribute not in models.list_models(module=models):
            raise unknown("torchvision model", attribute, models.list_models(module=models))
        if input_shape[0] != 3:
            raise UserError(f"model {name!r} takes images of 3 channels, these have {input_shape[0]}: choose another")
        return partial(models.get_model, attribute, num_classes=classes)
    return _imported_factory(name, origin, attribute)


def _package(package: str, name: str) -> Any:
    """The optional package that the network called `name` comes from."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(f"model {name!r} needs {error.name}: {installing(package)}") from error


def function(name: str, kind: str) -> Callable[..., Any]:
    """Return a function of the user's, such as a loss.

    Args:
        name: `package.module:function`.
        kind: What it is, as messages call it.

    Raises:
        UserError: The module cannot be imported, or has no such function.
    """
    module, _, attribute = name.partition(":")
    return _imported_factory(name, module, attribute, kind)


def _imported_factory(name: str, module: str, attribute: str, kind: str = "model") -> Factory:
    """The callable `attribute` of a module of the user's."""
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        what = "factory" if kind == "model" else "function"
        raise UserError(f"{kind} {name!r} is not an importable name: write package.module:{what}")
    if (package := module.partition(".")[0]) in {*sys.stdlib_module_names, "torch"}:
        raise UserError(f"{kind} {name!r} is of {package}, which has no such functions: name a module of your own")
    # As `python -m` does. It stays there, because the module may import others beside it later.
    current_directory = str(Path.cwd())
    if current_directory not in sys.path:
        sys.path.insert(0, current_directory)
    try:
        imported = importlib.import_module(module)
    except (ImportError, SyntaxError) as error:
        raise UserError(
            f"{kind} {name!r} cannot be imported from {current_directory}: {error}; "
            "install the module, or run the command in its folder"
        ) from error
    callables: dict[str, Factory] = {key: value for key, value in vars(imported).items() if callable(value)}
    if attribute not in callables:
        raise unknown(
            f"{'factory' if kind == 'model' else kind} of module {module}",
            attribute,
            (key for key in callables if not key.startswith("_")),
        )
    home = getattr(callables[attribute], "__module__", None)
    if home != module:  # `from os import system` makes no factory of it
        raise UserError(f"{kind} {name!r} is defined in {home}: name that module, or write a function in {module}")
    return callables[attribute]
