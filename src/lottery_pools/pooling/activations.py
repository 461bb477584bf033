"""What flows through the linear and convolutional layers of a network: products of their inputs, and how outputs vary.

Nothing is labelled, nothing is differentiated. The network is in evaluation mode meanwhile, and as it was afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.weak import WeakIdKeyDictionary

from lottery_pools.errors import UserError
from lottery_pools.pooling.arithmetic import wide
from lottery_pools.pooling.batchnorm import tracked
from lottery_pools.pooling.guard import in_evaluation_mode

Layer = nn.Linear | nn.Conv1d | nn.Conv2d
NO_BATCHES = "samples has no batches: give some at each call (a generator runs out)"
Moments = tuple[Tensor, Tensor]
"""Mean and standard deviation of each channel, (channels,) each, in float64 on the CPU."""


def layers(model: nn.Module) -> dict[str, Layer]:
    """The linear and convolutional layers by the name of their weight, those that share a weight with none before.

    Layers whose weight is computed from other parameters, as by weight or spectral normalisation, are left out.
    """
    known, result = set[Tensor](), dict[str, Layer]()
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            continue
        has_own_weight = any(tensor == "weight" for tensor, _ in module.named_parameters(recurse=False))
        if has_own_weight and module.weight not in known:
            known.add(module.weight)
            result[f"{name}.weight" if name else "weight"] = module
    return result


def input_products(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Σ x xᵀ over all inputs x of each layer, by the name of its weight: (inputs, inputs), float64.

    The inputs of a convolution are its patches, in the order of its weight. Convolutions in groups, and those padded
    with anything but zeros or by a word, are left out.
    """
    products = dict[str, Tensor]()

    def add(name: str, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        vectors = _patches(layer, inputs)
        if vectors is not None:
            product = wide(vectors.T @ vectors)
            products[name] = products[name] + product if name in products else product

    _watch(model, batches, add)
    return products


def output_moments(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, Moments]:
    """How the outputs of each layer vary, channel by channel, by the name of its weight.

    Layers whose output goes to BatchNorm are left out: there it is recalibration that sets how much a channel varies.
    """
    seen = dict[str, _Sums]()
    with _normalised_layers(model) as normalised:
        _watch(model, batches, lambda name, layer, inputs, output: _add(seen, name, _by_channel(layer, output)))
    return {name: sums.moments for name, sums in seen.items() if name not in normalised}


def repair(model: nn.Module, batches: Iterable[Tensor], goal: Mapping[str, Moments]) -> dict[str, Moments]:
    """How the outputs of each layer that `goal` names vary, while all layers before it vary as the goal says.

    Each batch is repaired on its way: a layer sees inputs that are right already. BatchNorm has the statistics of each
    batch meanwhile, and the running statistics of the model change.
    """
    seen = dict[str, _Sums]()

    def see(name: str, layer: Layer, inputs: Tensor, output: Tensor) -> Tensor | None:
        if name not in goal:
            return None
        values = _by_channel(layer, output)
        _add(seen, name, values)
        of_batch = _Sums()
        of_batch.add(wide(values))
        factor, shift = affine(of_batch.moments, goal[name], has_bias=layer.bias is not None)
        shape = [1] * output.ndim
        shape[_channel(layer, output)] = -1
        return output * factor.to(output).view(shape) + shift.to(output).view(shape)

    _watch(model, batches, see, batch_statistics=True)
    return {name: sums.moments for name, sums in seen.items()}


def affine(moments: Moments, goal: Moments, has_bias: bool) -> tuple[Tensor, Tensor]:
    """(factor, shift) that give each channel the goal's standard deviation and, where there is a bias, its mean.

    A channel that does not vary keeps its factor.
    """
    (mean, deviation), (goal_mean, goal_deviation) = moments, goal
    factor = torch.where(deviation > 0, goal_deviation / deviation.clamp(min=torch.finfo(torch.float64).tiny), 1.0)
    return factor, goal_mean - factor * mean if has_bias else torch.zeros_like(mean)


@dataclass
class _Sums:
    """Of the values of some channels: how many, their sum and their sum of squares."""

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def add(self, values: Tensor) -> None:
        """Count more values, (values, channels)."""
        self.count += len(values)
        self.total = self.total + values.sum(0)
        self.squares = self.squares + values.square().sum(0)

    @property
    def moments(self) -> Moments:
        """Mean and standard deviation of each channel."""
        mean = self.total / self.count
        return mean, (self.squares / self.count - mean.square()).clamp(min=0).sqrt()


def _add(seen: dict[str, _Sums], name: str, values: Tensor) -> None:
    seen.setdefault(name, _Sums()).add(wide(values))


@contextmanager
def _normalised_layers(model: nn.Module) -> Iterator[set[str]]:
    """The names of the weights whose layers' outputs went to BatchNorm; complete on exit."""
    # Weak: outputs are freed as ever, and what later lies in their memory is not taken for them.
    outputs, normalised = WeakIdKeyDictionary(), set[str]()

    def remember(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda layer, inputs, output: outputs.__setitem__(output, name)

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs and (name := outputs.get(inputs[0])):  # type: ignore[no-untyped-call]
            normalised.add(name)

    hooks = [layer.register_forward_hook(remember(name)) for name, layer in layers(model).items()]
    hooks += [layer.register_forward_pre_hook(look) for layer in model.modules() if isinstance(layer, _BatchNorm)]
    try:
        yield normalised
    finally:
        for handle in hooks:
            handle.remove()


def _watch(
    model: nn.Module,
    batches: Iterable[Tensor],
    see: Callable[[str, Layer, Tensor, Tensor], object],
    batch_statistics: bool = False,
) -> None:
    """Forward the batches; `see` is given the name, the layer, its input and its output at each call of a layer.

    What `see` returns, if anything, takes the place of the output. BatchNorm has its running statistics, or those of
    each batch.
    """

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], object]:
        return lambda layer, inputs, output: see(name, layer, inputs[0], output)  # type: ignore[arg-type]

    hooks = [layer.register_forward_hook(hook(name)) for name, layer in layers(model).items()]
    seen = 0
    try:
        with in_evaluation_mode(model), torch.no_grad():
            for layer in tracked(model) if batch_statistics else ():
                layer.train()
            for batch in batches:
                model(batch)
                seen += 1
    finally:
        for handle in hooks:
            handle.remove()
    if not seen:
        raise UserError(NO_BATCHES)


def _patches(layer: Layer, inputs: Tensor) -> Tensor | None:
    """What a layer multiplies its weight with: (vectors, inputs); none where that is no plain matrix product."""
    if isinstance(layer, nn.Linear):
        return inputs.reshape(-1, layer.in_features)
    if layer.groups > 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    images = inputs if isinstance(layer, nn.Conv2d) else inputs.unsqueeze(-2)

    def sizes(values: Sequence[int], filler: int) -> tuple[int, ...]:
        return (filler, *values) if len(values) == 1 else tuple(values)

    columns = F.unfold(
        images,
        sizes(layer.kernel_size, 1),
        sizes(layer.dilation, 1),
        sizes(layer.padding, 0),
        sizes(layer.stride, 1),
    )
    return columns.transpose(1, 2).reshape(-1, columns.shape[1])


def _channel(layer: Layer, output: Tensor) -> int:
    """The dimension of the channels."""
    return output.ndim - 1 if isinstance(layer, nn.Linear) else 1


def _by_channel(layer: Layer, output: Tensor) -> Tensor:
    """The outputs of a layer as (values, channels)."""
    channel = _channel(layer, output)
    return output.movedim(channel, -1).reshape(-1, output.shape[channel])
