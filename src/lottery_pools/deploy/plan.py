"""A network laid out in memory: the layout of each value, the order of work, and which values share memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lottery_pools.deploy.graph import Convolution, Network, Operation, Pair, Shape
from lottery_pools.deploy.layout import REGISTER, Layout, Unfolded, bordered, rounded
from lottery_pools.deploy.memory import place, spoiled

CACHE = 16 << 20
"""Bytes that a convolution may touch before it waits for memory (docs/decisions.md)."""
FEW = 64
"""Weights an output below which it does so."""


@dataclass(frozen=True)
class Unfold:
    """The source of a convolution, unfolded."""

    out: str
    source: str

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)


@dataclass(frozen=True)
class Plan:
    """The operations in order, and for each value its layout and memory."""

    network: Network
    lanes: int
    """Samples that are computed side by side."""
    operations: tuple[Operation | Unfold, ...]
    layouts: Mapping[str, Layout]
    unfolded: Mapping[str, Unfolded]
    places: Mapping[str, int]
    """Value → first float of it in the workspace."""
    spoiled: frozenset[str]
    """Values in whose borders others have left something: they have to be cleared each time."""
    workspace: int
    """Floats of the workspace."""


def plan(network: Network, single: bool) -> Plan:
    """Lay out and place all values of a network, for one sample at a time or for many side by side."""
    if single:
        operations, layouts, unfolded = _single(network)
        side_by_side = 1
    else:
        side_by_side = lanes(network)
        operations, layouts, unfolded = list(network.operations), _batch(network, side_by_side), {}
    all_layouts: dict[str, Layout | Unfolded] = {**layouts, **unfolded}
    placed = place(network, operations, all_layouts)
    # Whole registers may read beyond the last value, to no effect: by less than the positions of one channel.
    beyond = max((layout.plane * layout.unit for layout in layouts.values()), default=0) if single else 0
    workspace = max(placed[name] + layout.floats for name, layout in all_layouts.items())
    dirty = spoiled(network, operations, all_layouts, placed)
    return Plan(
        network, side_by_side, tuple(operations), layouts, unfolded, placed, dirty, workspace + beyond + REGISTER
    )


def cut(network: Network) -> int:
    """How many operations to compute one sample at a time, where many are given, before many are side by side.

    Side by side, early layers of large images move much more memory than the caches hold, and with few weights an
    output they wait for it: the operations up to the last such convolution are better done one sample at a time.
    """
    floats = {name: layout.floats for name, layout in _batch(network, lanes(network)).items()}
    large = [
        index
        for index, op in enumerate(network.operations)
        if isinstance(op, Convolution)
        and 4 * sum(floats[name] for name in (*op.reads, op.out)) > CACHE
        and np.count_nonzero(op.weight) < FEW * len(op.weight)
    ]
    return large[-1] + 1 if large else 0


def lanes(network: Network) -> int:
    """Samples side by side: four registers of them where there are no neighbouring positions to work on together."""
    vectors_only = all(network.shapes[operation.out][1:] == (1, 1) for operation in network.convolutions)
    return 4 * REGISTER if vectors_only else REGISTER


def _border(convolution: Convolution, source: Shape, out: Shape) -> Pair:
    """(rows, columns) that a convolution reads beyond the edges of its source, on one side at most."""
    before = convolution.padding
    after = [
        (out[1 + axis] - 1) * convolution.stride[axis]
        + (convolution.weight.shape[2 + axis] - 1) * convolution.dilation[axis]
        - before[axis]
        - (source[1 + axis] - 1)
        for axis in (0, 1)
    ]
    return max(before[0], after[0]), max(before[1], after[1])


def _batch(network: Network, unit: int) -> dict[str, Layout]:
    """The layouts of batch mode: every value has just the border that its readers read, the same on all sides."""
    borders: dict[str, Pair] = dict.fromkeys(network.shapes, (0, 0))
    for op in network.operations:
        if isinstance(op, Convolution):
            needed = _border(op, network.shapes[op.source], network.shapes[op.out])
            known = borders[op.source]
            borders[op.source] = (max(known[0], needed[0]), max(known[1], needed[1]))
    return {name: bordered(shape, unit, borders[name]) for name, shape in network.shapes.items()}


def _single(network: Network) -> tuple[list[Operation | Unfold], dict[str, Layout], dict[str, Unfolded]]:
    """The layouts of single mode, and the operations with the unfolding of sources that have to be."""
    layouts = {
        name: Layout(shape, 1, shape[2], 0, 0, rounded(shape[1] * shape[2])) for name, shape in network.shapes.items()
    }
    operations: list[Operation | Unfold] = []
    unfolded: dict[str, Unfolded] = {}
    for op in network.operations:
        if isinstance(op, Convolution) and not reads_directly(op, network.shapes[op.source], network.shapes[op.out]):
            name = f"{op.source} for {op.out}"
            unfolded[name] = Unfolded(
                network.shapes[op.source],
                network.shapes[op.out],
                (op.weight.shape[2], op.weight.shape[3]),
                op.stride,
                op.padding,
                op.dilation,
            )
            operations.append(Unfold(name, op.source))
            op = replace(op, source=name)
        operations.append(op)
    return operations, layouts, unfolded


def reads_directly(op: Convolution, source: Shape, out: Shape) -> bool:
    """Whether, in single mode, what each weight reads is one stretch of memory already."""
    if op.padding != (0, 0):
        return False
    along_rows = op.stride == (1, 1) and op.weight.shape[3] == 1 and out[2] == source[2]
    return along_rows or out[1:] == (1, 1)
