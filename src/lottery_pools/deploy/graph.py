"""A network as a list of plain operations on values of known shape: what the C generator works on.

A *value* is one sample's tensor of shape (channels, height, width); vectors are (features, 1, 1), sequences are
(channels, 1, length). Every operation reads values and makes one. The batch is no part of any shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
"""(channels, height, width) of one sample."""
Pair = tuple[int, int]
"""One number for the height and one for the width."""
Window = tuple[int, int, int]
"""The rows (or columns) that one output reads: first, one past the last, step."""


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution or linear layer, with what follows it: `activation(convolution(source) + bias + residual)`.

    `weight` is float32 of shape (outputs, inputs / groups, kernel height, kernel width), `bias` of shape (outputs,).
    `padding` is that of the top and the left; those of the bottom and the right follow from the output's shape.
    """

    out: str
    source: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    residual: str | None = None
    activation: str = "none"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,) if self.residual is None else (self.source, self.residual)


@dataclass(frozen=True)
class Pool:
    """Maximum (`kind` "max") or mean ("mean") over windows; `divisors` has one number an output position."""

    out: str
    source: str
    kind: str
    rows: tuple[Window, ...]
    columns: tuple[Window, ...]
    divisors: tuple[float, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)


@dataclass(frozen=True)
class Add:
    """`activation(left + right)`, of equal shapes."""

    out: str
    left: str
    right: str
    activation: str = "none"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.left, self.right)


@dataclass(frozen=True)
class Activate:
    """`activation(source)`: "relu", "gelu" (by the error function) or "gelu_tanh"."""

    out: str
    source: str
    activation: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)


Operation = Convolution | Pool | Add | Activate


@dataclass(frozen=True)
class Network:
    """Operations in an order in which they can be computed, the shapes of all values, and which go in and out."""

    operations: tuple[Operation, ...]
    shapes: Mapping[str, Shape]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def convolutions(self) -> list[Convolution]:
        """The convolutions and linear layers."""
        return [operation for operation in self.operations if isinstance(operation, Convolution)]

    @property
    def weights(self) -> int:
        """Weights of all convolutions and linear layers that are not zero."""
        return sum(int(np.count_nonzero(op.weight)) for op in self.convolutions)

    def work(self, dense: bool = False) -> int:
        """Multiply-adds of one sample; with `dense`, those of the zeros too."""
        return sum(
            (op.weight.size if dense else int(np.count_nonzero(op.weight)))
            * self.shapes[op.out][1]
            * self.shapes[op.out][2]
            for op in self.convolutions
        )


def split(network: Network, at: int) -> tuple[Network, Network]:
    """The operations before `at`, and those from there on, which read what the first makes or was given."""
    before, after = network.operations[:at], network.operations[at:]
    inner = {operation.out for operation in after}
    inputs = tuple(dict.fromkeys(name for operation in after for name in operation.reads if name not in inner))
    made = {operation.out for operation in before}
    outputs = tuple(name for name in dict.fromkeys((*inputs, *network.outputs)) if name in made)
    first = Network(before, _shapes(network, before), network.inputs, outputs)
    ends = tuple(name for name in network.outputs if name in inner)
    return first, Network(after, _shapes(network, after), inputs, ends)


def _shapes(network: Network, operations: Sequence[Operation]) -> dict[str, Shape]:
    names = (name for operation in operations for name in (*operation.reads, operation.out))
    return {name: network.shapes[name] for name in names}


def is_scale(convolution: Convolution) -> bool:
    """Whether this is one multiplication and one addition a channel, as a BatchNorm is."""
    plain = (convolution.stride, convolution.padding, convolution.residual) == ((1, 1), (0, 0), None)
    return plain and convolution.groups == len(convolution.weight) and convolution.weight[0].size == 1


def fold_scale(convolution: Convolution, scale: Convolution) -> Convolution:
    """A convolution and the `is_scale` one that follows it, as one convolution; computed in float64."""
    factor = scale.weight.astype(np.float64).reshape(-1)
    weight = convolution.weight * factor[:, None, None, None]
    bias = convolution.bias * factor + scale.bias
    return replace(scale, source=convolution.source, weight=weight.astype(np.float32), bias=bias.astype(np.float32),
                   stride=convolution.stride, padding=convolution.padding, dilation=convolution.dilation,
                   groups=convolution.groups)  # fmt: skip


def fuse(operations: Sequence[Operation], kept: Collection[str]) -> list[Operation]:
    """The same computation with fewer passes: scales, activations and residual additions join what comes before them.

    `kept` are values that are needed outside, so that they must not disappear. Operations are in computable order.
    """
    uses = Counter(name for operation in operations for name in operation.reads)
    uses.update(kept)
    fused: list[Operation | None] = []
    made: dict[str, int] = {}  # value → index in `fused` of the operation that makes it

    def alone(name: str) -> Convolution | Add | None:
        """What makes `name`, where nothing else reads it and nothing follows it yet."""
        operation = fused[made[name]] if name in made else None
        if uses[name] == 1 and isinstance(operation, Convolution | Add) and operation.activation == "none":
            return operation
        return None

    def append(operation: Operation) -> None:
        made[operation.out] = len(fused)
        fused.append(operation)

    def take_over(earlier: Operation, later: Operation) -> None:
        """`later` computes what `earlier` and the operation at hand did, in the place of `earlier`."""
        fused[made.pop(earlier.out)] = None
        append(later)

    for operation in operations:
        before = alone(operation.source) if isinstance(operation, Activate | Convolution) else None
        if isinstance(operation, Convolution):
            if isinstance(before, Convolution) and before.residual is None and is_scale(operation):
                take_over(before, fold_scale(before, operation))
            else:
                append(operation)
        elif before is not None and isinstance(operation, Activate):
            take_over(before, replace(before, out=operation.out, activation=operation.activation))
        elif isinstance(operation, Add) and (joined := _join(operation, alone, made)) is not None:
            take_over(*joined)
        else:
            append(operation)
    return [operation for operation in fused if operation is not None]


def _join(
    addition: Add, alone: Callable[[str], Operation | None], made: Mapping[str, int]
) -> tuple[Convolution, Convolution] | None:
    """The convolution that an addition can join, and what the two make together."""
    pairs = ((addition.left, addition.right), (addition.right, addition.left))
    for name, other in sorted(pairs, key=lambda pair: -made.get(pair[0], -1)):
        convolution = alone(name)
        if isinstance(convolution, Convolution) and convolution.residual is None and name != other:
            return convolution, replace(convolution, out=addition.out, residual=other)
    return None
