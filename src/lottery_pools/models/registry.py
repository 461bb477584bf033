"""Networks by name, and the tensors of a network that a rule prunes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from math import prod
from typing import Any, get_args

import torch
from torch import nn

from lottery_pools.errors import UserError, nearest, unknown
from lottery_pools.models import external
from lottery_pools.models.external import Factory
from lottery_pools.models.resnet import resnet18, resnet20, resnet34, resnet50
from lottery_pools.models.small import conv1d, mlp
from lottery_pools.models.vgg import vgg11, vgg16
from lottery_pools.runs.seeds import derive

Argument = int | float | bool | str
"""A value of the setting `model.arguments`."""

MODELS: Mapping[str, Factory] = {
    "conv1d": conv1d,
    "mlp": mlp,
    "resnet20": resnet20,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "vgg11": vgg11,
    "vgg16": vgg16,
}
"""The networks of this package. All take `classes` and `input_shape`, and arguments of their own by keyword."""

_CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_LAYERS: Mapping[str, tuple[type[nn.Module], ...]] = {
    "convolutions": _CONVOLUTIONS,
    "convolutions+linear": (*_CONVOLUTIONS, nn.Linear),
}
"""The rules that name kinds of layers, and the layers whose weights they prune."""


_LARGEST_ARGUMENT, _LARGEST_INPUT = 100_000, 10**8
"""No network of ours has more channels, layers or classes, or takes larger samples."""


def names() -> tuple[str, ...]:
    """Return the names of this package's networks."""
    return tuple(MODELS)


def build(
    name: str,
    arguments: Mapping[str, Argument],
    classes: int,
    input_shape: tuple[int, ...],
    seed: int,
) -> nn.Module:
    """Build a network on the CPU. Its initial weights depend on `seed` alone, not on PyTorch's random state.

    Args:
        name: One of `names()`, `timm:NAME`, `torchvision:NAME`, or `package.module:factory`. Such a module may lie in
            the current directory; its factory is also given `classes` (or `num_classes`) and `input_shape` if it has
            parameters of these names.
        arguments: Keyword arguments of the network.
        classes: Number of classes.
        input_shape: Shape of one sample: (channels, height, width), or (channels, length).
        seed: Seed of the run.

    Raises:
        UserError: The name or an argument is unknown, a package is missing, or the factory returns no network.

    Examples:
        >>> network = build("conv1d", {"width": 8}, classes=10, input_shape=(1, 40), seed=0)
        >>> network(torch.zeros(2, 1, 40)).shape
        torch.Size([2, 10])
    """
    factory = _factory(name, classes, input_shape)
    if name in MODELS:
        _check_sizes(name, arguments, classes, input_shape)
    keywords = _keywords(name, factory, arguments, classes, input_shape)
    # torch.manual_seed would also seed the accelerators, whose random state belongs to the caller.
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
    """Return the names of the tensors that a rule prunes, in the order of `model.named_parameters()`.

    Args:
        model: The network.
        rule: `convolutions` or `convolutions+linear` for the weights of these layers, or a glob pattern of parameter
            names; or several of these, separated by commas. Only floating-point parameters are considered, and one
            that has several names is returned once, under the first.

    Raises:
        UserError: A part of the rule matches no tensor.

    Examples:
        >>> network = build("mlp", {}, classes=10, input_shape=(1, 40), seed=0)
        >>> prunable(network, "convolutions+linear")
        ('layer1.linear.weight', 'layer2.linear.weight', 'fc.weight')
        >>> prunable(network, "layer*.linear.*")
        ('layer1.linear.weight', 'layer2.linear.weight')
    """
    names_of: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.is_floating_point():
            names_of.setdefault(parameter, []).append(name)
    pruned: set[nn.Parameter] = set()
    for pattern in map(str.strip, rule.split(",")):
        matching = _matching(model, pattern, names_of)
        if not matching:
            raise _no_match(model, pattern, names_of)
        pruned |= matching
    return tuple(aliases[0] for parameter, aliases in names_of.items() if parameter in pruned)


def _matching(model: nn.Module, pattern: str, names_of: Mapping[nn.Parameter, list[str]]) -> set[nn.Parameter]:
    """The parameters that one part of a rule prunes."""
    if pattern in _LAYERS:
        weights = {id(module.weight) for module in model.modules() if isinstance(module, _LAYERS[pattern])}
        return {parameter for parameter in names_of if id(parameter) in weights}
    return {parameter for parameter, aliases in names_of.items() if any(fnmatchcase(name, pattern) for name in aliases)}


def _no_match(model: nn.Module, pattern: str, names_of: Mapping[nn.Parameter, list[str]]) -> UserError:
    """The error for a part of a rule that matches nothing."""
    alternatives = ", ".join(repr(rule) for rule in _LAYERS if rule != pattern)
    example = next((f" such as {names[0]!r}" for parameter, names in names_of.items() if parameter.dim() >= 2), "")
    return UserError(
        f"prunable (the setting model.prunable) says {pattern!r}, which matches no tensor of this "
        f"{type(model).__name__}: "
        f"try {alternatives}, or a pattern over parameter names{example}"
    )


def left_out(model: nn.Module, rule: str) -> tuple[str, ...]:
    """Return the weights that a rule seems to name but does not prune: they should be mentioned to the user.

    These are weights of the rule's kinds of layers that are computed from other parameters, as by `weight_norm`; and,
    if the rule includes linear layers, all other floating-point parameters of two and more dimensions, such as the
    embeddings and the `in_proj_weight` of attention.

    Args:
        model: The network.
        rule: As for `prunable`. Patterns of names leave nothing out: they say what they mean.

    Returns:
        Names, each with the reason in parentheses.

    Examples:
        >>> from torch.nn.utils.parametrizations import weight_norm
        >>> left_out(nn.Sequential(weight_norm(nn.Conv1d(1, 1, 1)), nn.Conv1d(1, 1, 1)), "convolutions")
        ('0.weight (parametrised: computed from other parameters)',)
    """
    parts = [part.strip() for part in rule.split(",")]
    kinds = tuple(kind for part in parts if part in _LAYERS for kind in _LAYERS[part])
    names = [
        f"{name}.weight (parametrised: computed from other parameters)"
        for name, module in model.named_modules()
        if isinstance(module, kinds) and "weight" not in module._parameters
    ]
    if nn.Linear in kinds:
        pruned = {id(model.get_parameter(name)) for name in prunable(model, rule)}
        names += [
            f"{name} (not the weight of such a layer)"
            for name, parameter in model.named_parameters()
            if parameter.dim() >= 2
            and parameter.is_floating_point()
            and id(parameter) not in pruned
            and ".parametrizations." not in f".{name}"
        ]
    return tuple(names)


def _factory(name: str, classes: int, input_shape: tuple[int, ...]) -> Factory:
    """The function that builds the network called `name`."""
    if ":" in name:
        return external.factory(name, classes, input_shape)
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]


def _keywords(
    name: str,
    factory: Factory,
    arguments: Mapping[str, Argument],
    classes: int,
    input_shape: tuple[int, ...],
) -> dict[str, Any]:
    """All that `factory` is called with; raises UserError if the arguments do not fit its signature."""
    signature = inspect.signature(factory, eval_str=name in MODELS)
    parameters = signature.parameters
    from_data = {"classes": classes, "num_classes": classes, "input_shape": input_shape}
    _check_names(name, parameters, arguments, from_data)
    if name in MODELS:
        _check_values(name, parameters, arguments, input_shape)
    keywords = {key: value for key, value in from_data.items() if key in parameters} | dict(arguments)
    try:
        signature.bind(**keywords)
    except TypeError as error:
        raise UserError(f"model {name!r}: {error}; set it in model.arguments") from error
    return keywords


def _check_names(
    name: str, parameters: Mapping[str, inspect.Parameter], arguments: Iterable[str], reserved: Iterable[str]
) -> None:
    """Raise UserError for an argument that the network does not have, or whose value is not for the user to set."""
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    settable = sorted({key for key, parameter in parameters.items() if parameter.kind in by_keyword} - {*reserved})
    for key in arguments:
        if key not in settable:
            suggestion = nearest(key, settable)
            hint = f"did you mean {suggestion!r}? " if suggestion else ""
            raise UserError(f"model {name!r} has no argument {key!r}: {hint}it has: {', '.join(settable) or 'none'}")


def _check_values(
    name: str,
    parameters: Mapping[str, inspect.Parameter],
    arguments: Mapping[str, Argument],
    input_shape: tuple[int, ...],
) -> None:
    """Raise UserError if samples or arguments are not of the types that one of our networks declares."""
    axes = get_args(parameters["input_shape"].annotation)
    if Ellipsis not in axes and len(axes) != len(input_shape):
        raise UserError(
            f"model {name!r} takes samples of {len(axes)} dimensions, these are {input_shape}: "
            "choose conv1d for (channels, length), resnet20 for (channels, height, width), mlp for any"
        )
    for key, value in arguments.items():
        annotation = parameters[key].annotation
        types = get_args(annotation) or (annotation,)
        if type(value) not in types and not (type(value) is int and float in types):
            raise UserError(f"model.arguments.{key} is {value!r}: give {types[0].__name__}")
        if isinstance(value, int | float) and value <= 0:
            raise UserError(f"model.arguments.{key} is {value}: give a positive number")


def _check_sizes(name: str, arguments: Mapping[str, Argument], classes: int, input_shape: tuple[int, ...]) -> None:
    """Raise UserError if one of our networks would be larger than any that can be trained, before it is built."""
    sizes = {"classes": classes, "input_shape": prod(input_shape)}
    sizes |= {f"model.arguments.{key}": value for key, value in arguments.items() if isinstance(value, int)}
    for key, value in sizes.items():
        if value > (_LARGEST_INPUT if key == "input_shape" else _LARGEST_ARGUMENT):
            raise UserError(f"model {name!r} with {key} of {value:,} would be larger than any network: give less")


def _initialise(network: nn.Module) -> None:
    """Draw the weights of convolutions anew: Kaiming-normal (He et al., ICCV 2015) for ReLU, by fan out."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
