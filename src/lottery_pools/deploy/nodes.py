"""What is known of PyTorch's graph while it is lowered, and one node of it as a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from lottery_pools.deploy.graph import Operation, Pair, Shape


@dataclass(frozen=True)
class View:
    """A node of PyTorch's graph as a value of ours: the value that holds it, and the shape of one sample of it."""

    value: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Lowered:
    """An operation, and the shape of the value that it makes."""

    operation: Operation
    shape: Shape


@dataclass
class Known:
    """What is known of the nodes so far: constants, and values with their shapes."""

    constants: dict[str, Tensor]
    views: dict[str, View] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def value(self, name: str) -> str:
        """The value that holds what a node computes."""
        return self.views[name].value if name in self.views else name

    def array(self, argument: Any) -> NDArray[np.float32] | None:
        """A float32 constant; None for anything else."""
        tensor = self.constants.get(argument.name) if isinstance(argument, Node) else None
        return tensor.numpy() if tensor is not None and tensor.dtype == torch.float32 else None

    def operand(self, argument: Any, dimensions: tuple[int, ...]) -> str | None:
        """The value of an argument whose samples have one of so many dimensions, in the form that PyTorch sees."""
        view = self.views.get(argument.name) if isinstance(argument, Node) else None
        if view is None or len(view.shape) not in dimensions or self.shapes[view.value] != physical(view.shape):
            return None
        return view.value


@dataclass(frozen=True)
class Task:
    """One node that is to be lowered: its arguments by name, and the name and sample shape of its result."""

    arguments: Mapping[str, Any]
    out: str
    shape: tuple[int, ...]
    known: Known


def physical(shape: tuple[int, ...]) -> Shape:
    """(channels, height, width) of a sample of shape (features,), (channels, length) or (channels, height, width)."""
    channels, *rest = shape
    return (channels, *rest) if len(rest) == 2 else (channels, 1, rest[0] if rest else 1)  # type: ignore[return-value]


def pair(value: Any, dimensions: int) -> Pair:
    """What PyTorch writes as one number or a list of one or two, for the height and the width."""
    numbers = [value] if isinstance(value, int) else list(value)
    if dimensions == 1:
        return (0, numbers[0])
    return (numbers[0], numbers[-1])


def steps(value: Any, dimensions: int) -> Pair:
    """As `pair`, where a height that is not there counts as one."""
    rows, columns = pair(value, dimensions)
    return (rows if dimensions == 2 else 1, columns)
