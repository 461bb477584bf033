"""From a name to a network, and from a rule to the tensors that are pruned."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from lottery_pools.errors import UserError, unknown
from lottery_pools.models.resnet import resnet18, resnet20, resnet34, resnet50
from lottery_pools.models.small import conv1d, mlp
from lottery_pools.models.vgg import vgg16
from lottery_pools.runs.seeds import derive

Factory = Callable[..., nn.Module]

MODELS: Mapping[str, Factory] = {
    "conv1d": conv1d,
    "mlp": mlp,
    "resnet20": resnet20,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "vgg16": vgg16,
}
"""Every network of the package: called with `classes`, `input_shape` and its own arguments by keyword."""

_CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_RULES: Mapping[str, tuple[type[nn.Module], ...]] = {
    "convolutions": _CONVOLUTIONS,
    "convolutions+linear": (*_CONVOLUTIONS, nn.Linear),
}


def names() -> tuple[str, ...]:
    """The networks of the package."""
    return tuple(MODELS)


def build(
    name: str,
    arguments: Mapping[str, int | float | bool | str],
    classes: int,
    input_shape: tuple[int, ...],
    seed: int,
) -> nn.Module:
    """The network called `name` for samples of `input_shape`, on the CPU, initialised by the seed alone.

    `name` is one of `names()`, `timm:NAME`, `torchvision:NAME`, or `package.module:factory`, which may lie in the
    current directory and is given `classes` (or `num_classes`) and `input_shape` if it has parameters of these names.
    Raises UserError for a name or argument that is unknown, a package that is missing, and what is not a network.
    """
    factory = _factory(name, classes, input_shape)
    keywords = _keywords(name, factory, arguments, classes, input_shape)
    # Not torch.manual_seed, which also seeds the accelerators, whose state is the caller's.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "initialise"))
        try:
            network = factory(**keywords)
        except TypeError as error:
            if not arguments or "unexpected keyword argument" not in str(error):
                raise
            raise UserError(
                f"model {name!r} refused one of model.arguments ({', '.join(arguments)}): {error}"
            ) from error
        if name in MODELS:
            _initialise(network)
    if not isinstance(network, nn.Module):
        raise UserError(f"model {name!r} returned a {type(network).__name__}: it must return a torch.nn.Module")
    return network


def prunable(model: nn.Module, rule: str) -> tuple[str, ...]:
    """The names of the tensors that `rule` prunes, in the order of `named_parameters`.

    `rule` is `convolutions` or `convolutions+linear`, for the weights of such layers, or a glob pattern over parameter
    names, or several of these separated by commas. A shared tensor appears once, under its first name. Raises
    UserError where one of them matches nothing.
    """
    aliases: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.is_floating_point():
            aliases.setdefault(parameter, []).append(name)
    chosen: set[nn.Parameter] = set()
    for part in map(str.strip, rule.split(",")):
        if part in _RULES:
            weights = {id(module.weight) for module in model.modules() if isinstance(module, _RULES[part])}
            found = {parameter for parameter in aliases if id(parameter) in weights}
        else:
            found = {
                parameter for parameter, known in aliases.items() if any(fnmatchcase(name, part) for name in known)
            }
        if not found:
            others = [repr(other) for other in _RULES if other != part]
            examples = [repr(known[0]) for parameter, known in aliases.items() if parameter.dim() >= 2][:1]
            raise UserError(
                f"model.prunable: {part!r} matches no tensor of this {type(model).__name__}: "
                f"try {', '.join(others)}, or a pattern over parameter names"
                + "".join(f" such as {example}" for example in examples)
            )
        chosen |= found
    return tuple(known[0] for parameter, known in aliases.items() if parameter in chosen)


def _factory(name: str, classes: int, input_shape: tuple[int, ...]) -> Factory:
    """What builds the network called `name`, the number of classes given where that has another name than ours."""
    origin, colon, attribute = name.partition(":")
    if not colon:
        if name not in MODELS:
            raise unknown("model", name, MODELS)
        return MODELS[name]
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
    return _users_own(name, origin, attribute)


def _package(package: str, name: str) -> Any:
    """An optional package that networks come from."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(f"model {name!r} needs {error.name}: pip install 'lottery-pools[{package}]'") from error


def _users_own(name: str, module: str, attribute: str) -> Factory:
    """`attribute` of the user's own `module`."""
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise UserError(f"model {name!r} is not an importable name: write package.module:factory")
    # As `python -m` does, and for good: the module may import its neighbours later.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except (ImportError, SyntaxError) as error:
        raise UserError(
            f"model {name!r} cannot be imported from {here}: {error}; install it or change there"
        ) from error
    callables: dict[str, Factory] = {key: value for key, value in vars(found).items() if callable(value)}
    if attribute not in callables:
        raise unknown(f"factory of module {module}", attribute, (key for key in callables if not key.startswith("_")))
    return callables[attribute]


def _keywords(
    name: str,
    factory: Factory,
    arguments: Mapping[str, int | float | bool | str],
    classes: int,
    input_shape: tuple[int, ...],
) -> dict[str, Any]:
    """All that `factory` is called with; raises UserError where the arguments do not fit its signature."""
    ours = name in MODELS
    signature = inspect.signature(factory, eval_str=ours)
    parameters = signature.parameters
    given = {"classes": classes, "num_classes": classes, "input_shape": input_shape}
    known = sorted(
        key for key, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and key not in given
    )
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in arguments:
            if key not in known:
                near = get_close_matches(key, known, n=1, cutoff=0.4)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise UserError(f"model {name!r} has no argument {key!r}: {hint}it has: {', '.join(known) or 'none'}")
    if ours:
        axes = get_args(parameters["input_shape"].annotation)
        if Ellipsis not in axes and len(axes) != len(input_shape):
            raise UserError(
                f"model {name!r} takes samples of {len(axes)} dimensions, these are {input_shape}: "
                "choose conv1d for (channels, length), resnet20 for (channels, height, width), mlp for any"
            )
        for key, value in arguments.items():
            _check(f"model.arguments.{key}", value, parameters[key].annotation)
    keywords = {key: value for key, value in given.items() if key in parameters} | dict(arguments)
    try:
        signature.bind(**keywords)
    except TypeError as error:
        raise UserError(f"model {name!r}: {error}; set it in model.arguments") from error
    return keywords


def _check(where: str, value: int | float | bool | str, hint: Any) -> None:
    """Raises UserError where `value` is not of the type `hint`, or is a number and not positive."""
    kinds = get_args(hint) or (hint,)
    if type(value) not in kinds and not (type(value) is int and float in kinds):
        raise UserError(f"{where} is {value!r}: give {kinds[0].__name__}")
    if isinstance(value, int | float) and value <= 0:
        raise UserError(f"{where} is {value}: give a positive number")


def _initialise(network: nn.Module) -> None:
    """Kaiming-normal convolutions (He et al., ICCV 2015; fan out, ReLU); the rest is as PyTorch leaves it."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
