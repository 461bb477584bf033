"""One node of PyTorch's graph as an operation of ours, or None where it is of a kind or form that we do not know.

Every form that is taken over is checked against the shape that PyTorch computed for its result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from lottery_pools.deploy.graph import Activate, Add, Convolution, Operation, Pair, Pool, Shape, Window

aten = torch.ops.aten


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


def lower(node: Node, out: str, shape: tuple[int, ...], known: Known) -> Lowered | str | None:
    """The operation of a node, or the value that it is a view of, or None where PyTorch has to compute it.

    `out` and `shape` are the name and the sample shape of the result.
    """
    rule = RULES.get(node.target)
    if rule is None or not hasattr(node.target, "_schema"):
        return None
    names = [argument.name for argument in node.target._schema.arguments]
    defaults = {a.name: a.default_value for a in node.target._schema.arguments if a.has_default_value()}
    arguments = {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}
    lowered = rule(Task(arguments, out, shape, known))
    if isinstance(lowered, Lowered) and math.prod(lowered.shape) != math.prod(shape):
        return None
    return lowered


def _pair(value: Any, dimensions: int) -> Pair:
    """What PyTorch writes as one number or a list of one or two, for the height and the width."""
    numbers = [value] if isinstance(value, int) else list(value)
    if dimensions == 1:
        return (0, numbers[0])
    return (numbers[0], numbers[-1])


def _steps(value: Any, dimensions: int) -> Pair:
    """As `_pair`, where a height that is not there counts as one."""
    rows, columns = _pair(value, dimensions)
    return (rows if dimensions == 2 else 1, columns)


def _convolution(task: Task) -> Lowered | None:
    get = task.arguments
    source, weight = task.known.operand(get["input"], (2, 3)), task.known.array(get["weight"])
    bias = None if get["bias"] is None else task.known.array(get["bias"])
    if source is None or weight is None or (bias is None and get["bias"] is not None):
        return None
    dimensions = weight.ndim - 2
    if len(task.shape) != dimensions + 1:
        return None
    kernel = weight.reshape(*weight.shape[:2], 1, -1) if dimensions == 1 else weight
    dilation = _steps(get["dilation"], dimensions)
    if get["padding"] == "same":
        padding = tuple(step * (size - 1) // 2 for step, size in zip(dilation, kernel.shape[2:], strict=True))
    elif get["padding"] == "valid":
        padding = (0, 0)
    else:
        padding = _pair(get["padding"], dimensions)
    zeros = np.zeros(len(weight), np.float32)
    stride, groups = _steps(get["stride"], dimensions), int(get["groups"])
    if kernel.shape[1] * groups != task.known.shapes[source][0]:
        return None
    operation = Convolution(task.out, source, kernel, zeros if bias is None else bias, stride,
                            (padding[0], padding[1]), dilation, groups)  # fmt: skip
    return Lowered(operation, physical(task.shape))


def _linear(task: Task) -> Lowered | None:
    """A linear layer, as a convolution whose kernel covers all of its input: flattening costs nothing."""
    get = task.arguments
    view = task.known.views.get(getattr(get["input"], "name", ""))
    weight = task.known.array(get["weight"])
    bias = None if get["bias"] is None else task.known.array(get["bias"])
    if view is None or len(view.shape) != 1 or weight is None or (bias is None and get["bias"] is not None):
        return None
    kernel = weight.reshape(len(weight), *task.known.shapes[view.value])
    zeros = np.zeros(len(weight), np.float32)
    return Lowered(Convolution(task.out, view.value, kernel, zeros if bias is None else bias), (len(weight), 1, 1))


def _batch_norm(task: Task) -> Lowered | None:
    """BatchNorm as a convolution of one weight a channel; the tracer folds it into the one before, where it can."""
    get = task.arguments
    source = task.known.operand(get["input"], (1, 2, 3))
    mean, variance = task.known.array(get["running_mean"]), task.known.array(get["running_var"])
    weight, bias = (None if get[name] is None else task.known.array(get[name]) for name in ("weight", "bias"))
    missing = (weight is None and get["weight"] is not None) or (bias is None and get["bias"] is not None)
    if source is None or mean is None or variance is None or missing:
        return None
    scale = 1 / np.sqrt(variance.astype(np.float64) + float(get["eps"]))
    scale = scale if weight is None else scale * weight
    shift = (0.0 if bias is None else bias) - mean.astype(np.float64) * scale
    one_each = scale.astype(np.float32).reshape(-1, 1, 1, 1)
    operation = Convolution(task.out, source, one_each, shift.astype(np.float32), groups=len(mean))
    return Lowered(operation, task.known.shapes[source])


def _activation(name: str) -> Callable[[Task], Lowered | None]:
    def rule(task: Task) -> Lowered | None:
        view = task.known.views.get(getattr(task.arguments["self"], "name", ""))
        kind = name + ("_tanh" if task.arguments.get("approximate") == "tanh" else "")
        shape = None if view is None else task.known.shapes[view.value]
        return None if view is None or shape is None else Lowered(Activate(task.out, view.value, kind), shape)

    return rule


def _add(task: Task) -> Lowered | None:
    get = task.arguments
    views = [task.known.views.get(getattr(get[name], "name", "")) for name in ("self", "other")]
    left, right = views
    if left is None or right is None or left.shape != right.shape or get["alpha"] != 1:
        return None
    shapes = {task.known.shapes[left.value], task.known.shapes[right.value]}
    return Lowered(Add(task.out, left.value, right.value), shapes.pop()) if len(shapes) == 1 else None


def _view(task: Task) -> str | None:
    """Reshaping a sample moves nothing: the result is another view of the same value."""
    argument = task.arguments.get("self", task.arguments.get("input"))
    view = task.known.views.get(getattr(argument, "name", ""))
    if view is None or math.prod(view.shape) != math.prod(task.shape):
        return None
    return view.value


def _windows(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> list[Window]:
    """The positions within 0 … `size` that each output's window covers."""
    windows = []
    for index in range(outputs):
        first = index * stride - padding
        last = first + (kernel - 1) * dilation
        first += max(0, -(first // dilation)) * dilation if first < 0 else 0
        windows.append((first, min(size, last + 1), dilation))
    return windows


def _pool(kind: str, dimensions: int) -> Callable[[Task], Lowered | None]:
    def rule(task: Task) -> Lowered | None:
        get = task.arguments
        source = task.known.operand(get["self"], (dimensions + 1,))
        if source is None:
            return None
        shape, out = task.known.shapes[source], physical(task.shape)
        kernel = _steps(get["kernel_size"], dimensions)
        stride = _steps(get["stride"], dimensions) if get["stride"] else kernel
        padding = _pair(get["padding"], dimensions)
        dilation = _steps(get.get("dilation", 1), dimensions)
        axes = [
            _windows(shape[axis + 1], out[axis + 1], kernel[axis], stride[axis], padding[axis], dilation[axis])
            for axis in (0, 1)
        ]
        if any(first >= stop for windows in axes for first, stop, _ in windows):
            return None
        divisors: list[float] = []
        if kind == "mean":
            padded = get["count_include_pad"]
            counts = [
                [
                    min(i * stride[axis] - padding[axis] + kernel[axis], shape[axis + 1] + padding[axis])
                    - (i * stride[axis] - padding[axis])
                    if padded
                    else stop - first
                    for i, (first, stop, _) in enumerate(axes[axis])
                ]
                for axis in (0, 1)
            ]
            divisors = [float(get.get("divisor_override") or rows * columns) for rows in counts[0]
                        for columns in counts[1]]  # fmt: skip
        operation = Pool(task.out, source, kind, tuple(axes[0]), tuple(axes[1]), tuple(divisors))
        return Lowered(operation, out)

    return rule


def _mean(task: Task, source: str, rows: int, columns: int) -> Lowered:
    """The mean over windows that share the value's height and width among `rows` and `columns` outputs."""
    channels, *sizes = task.known.shapes[source]
    axes = [
        tuple((i * size // count, -(-(i + 1) * size // count), 1) for i in range(count))
        for size, count in zip(sizes, (rows, columns), strict=True)
    ]
    divisors = tuple(float((b - a) * (d - c)) for a, b, _ in axes[0] for c, d, _ in axes[1])
    return Lowered(Pool(task.out, source, "mean", axes[0], axes[1], divisors), (channels, rows, columns))


def _adaptive(dimensions: int) -> Callable[[Task], Lowered | None]:
    def rule(task: Task) -> Lowered | None:
        source = task.known.operand(task.arguments["self"], (dimensions + 1,))
        return None if source is None else _mean(task, source, *physical(task.shape)[1:])

    return rule


def _mean_of_all(task: Task) -> Lowered | None:
    """`mean` over all dimensions but the batch and the channels."""
    view = task.known.views.get(getattr(task.arguments["self"], "name", ""))
    source = task.known.operand(task.arguments["self"], (2, 3))
    if view is None or source is None or task.arguments.get("dtype") is not None or task.arguments["dim"] is None:
        return None
    total = len(view.shape) + 1
    if sorted(dim % total for dim in task.arguments["dim"]) != list(range(2, total)):
        return None
    return _mean(task, source, 1, 1)


RULES: Mapping[Any, Callable[[Task], Lowered | str | None]] = {
    **dict.fromkeys((aten.conv1d.default, aten.conv1d.padding), _convolution),
    **dict.fromkeys((aten.conv2d.default, aten.conv2d.padding), _convolution),
    aten.linear.default: _linear,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.relu.default: _activation("relu"),
    aten.gelu.default: _activation("gelu"),
    aten.add.Tensor: _add,
    aten.max_pool1d.default: _pool("max", 1),
    aten.max_pool2d.default: _pool("max", 2),
    aten.avg_pool1d.default: _pool("mean", 1),
    aten.avg_pool2d.default: _pool("mean", 2),
    aten.adaptive_avg_pool1d.default: _adaptive(1),
    aten.adaptive_avg_pool2d.default: _adaptive(2),
    aten.mean.dim: _mean_of_all,
    **dict.fromkeys(
        (
            aten.view.default,
            aten.reshape.default,
            aten.flatten.using_ints,
            aten.squeeze.dim,
            aten.squeeze.dims,
            aten.unsqueeze.default,
            aten.clone.default,
            aten.alias.default,
            aten.dropout.default,
            aten.contiguous.default,
        ),
        _view,
    ),
}
"""What each of PyTorch's operations becomes."""
