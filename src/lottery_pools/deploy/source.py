"""A whole network as C: one function an operation, one that calls them in turn, and the numbers that they read.

The same network gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lottery_pools.deploy import operations, packing
from lottery_pools.deploy.convolution import Function, convolution
from lottery_pools.deploy.graph import Activate, Add, Convolution, Network, Operation, Pool
from lottery_pools.deploy.plan import Plan, Unfold, plan

MOST_THREADS = 256
_PARTS = Path(__file__).with_name("c")


@dataclass(frozen=True)
class Source:
    """A network as C. Its function `<name>_predict` is described in the text."""

    text: str
    name: str
    floats: NDArray[np.float32]
    """Biases, weights and divisors, to be given to the function."""
    integers: NDArray[np.int32]
    """Offsets and windows, to be given to the function."""
    lanes: int
    """Samples that it computes side by side."""
    workspace: int
    """Floats that it needs a thread."""
    inputs: tuple[int, ...]
    """Floats of one sample of each input, in the order of `Network.inputs`."""
    outputs: tuple[int, ...]


@dataclass
class _Writer:
    """The functions and numbers so far."""

    name: str
    functions: dict[str, str] = field(default_factory=dict)
    """Text → name: calls that differ only in their numbers share a function."""
    floats: list[NDArray[np.float32]] = field(default_factory=list)
    integers: list[NDArray[np.int32]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def define(self, kind: str, text: str) -> str:
        if text not in self.functions:
            self.functions[text] = f"{self.name}_{kind}_{len(self.functions) + 1}"
        return self.functions[text]

    def call(self, operation: Operation | Unfold, function: Function, planned: Plan) -> None:
        """Add the call of one operation."""
        name = self.define(_KINDS[type(operation)], function.text)
        source, *others = [operation.source] if isinstance(operation, Unfold | Pool | Activate) else operation.reads
        reads = [f"workspace + {planned.places[value]}" for value in (source, *others)]
        floats, integers = (sum(map(len, arrays)) for arrays in (self.floats, self.integers))
        self.floats.append(function.floats)
        self.integers.append(function.integers)
        self.calls.append(f"{name}({reads[0]}, {reads[1] if others else 'NULL'}, "
                          f"workspace + {planned.places[operation.out]}, "
                          f"s->floats + {floats}, s->integers + {integers}, s->part, s->parts);")  # fmt: skip

    def clear(self, value: str, planned: Plan) -> None:
        """Add the call that sets to zero what has to be zero around a value."""
        function = self.define("clear", packing.clear(planned.layouts[value]))
        self.calls.append(f"{function}(workspace + {planned.places[value]}, s->part, s->parts);")


_KINDS = {Convolution: "convolution", Pool: "pool", Add: "add", Activate: "activate", Unfold: "unfold"}


def write(network: Network, single: bool, target: str, name: str = "network") -> Source:
    """The C source of a network: for one sample at a time, or for many side by side; tuned for `target`.

    `target` is a key of `tiles.SUMS`. The text is correct C for any processor; the target decides what is fast. `name`
    begins the names of all its functions.
    """
    planned = plan(network, single)
    writer = _Writer(name)
    for index, value in enumerate(network.inputs):
        if value in planned.spoiled:
            writer.clear(value, planned)
        function = writer.define("pack", packing.pack(planned.layouts[value]))
        size = int(np.prod(network.shapes[value]))
        writer.calls.append(f"{function}(s->inputs[{index}] + begin * {size}, count, "
                            f"workspace + {planned.places[value]}, s->part, s->parts);")  # fmt: skip
    for operation in planned.operations:
        if operation.out in planned.spoiled:
            writer.clear(operation.out, planned)
        if isinstance(operation, Convolution):
            made = convolution(operation, planned, target)
        else:
            made = operations.function(operation, planned)
        writer.call(operation, made, planned)
    for index, value in enumerate(network.outputs):
        function = writer.define("unpack", packing.unpack(planned.layouts[value]))
        size = int(np.prod(network.shapes[value]))
        writer.calls.append(f"{function}(workspace + {planned.places[value]}, count, "
                            f"s->outputs[{index}] + begin * {size}, s->part, s->parts);")  # fmt: skip
    sizes = [tuple(int(np.prod(network.shapes[v])) for v in names) for names in (network.inputs, network.outputs)]
    text = "\n".join(_lines(writer, planned, sizes, target)) + "\n"
    # One number more, so that there is one: a network without weights passes no null pointer.
    floats = np.concatenate([*writer.floats, np.zeros(1, np.float32)]).astype(np.float32)
    integers = np.concatenate([*writer.integers, np.zeros(1, np.int32)]).astype(np.int32)
    return Source(text, name, floats, integers, planned.lanes, planned.workspace, *sizes)


def _lines(writer: _Writer, planned: Plan, sizes: Sequence[tuple[int, ...]], target: str) -> Iterator[str]:
    network, name = planned.network, writer.name
    yield f"/* A sparse network of {len(network.operations)} operations; {network.weights} of its weights are not zero."
    yield f"   Written by lottery-pools for {target}; {planned.lanes} samples are computed side by side. */"
    yield "#ifndef PUBLIC"
    yield "#define PUBLIC"
    yield "#endif"
    yield _part("prelude.h")
    yield _part("team.h")
    yield f"#define {name}_LANES {planned.lanes}"
    yield f"#define {name}_WORKSPACE {planned.workspace}"
    yield f"#define {name}_MOST_THREADS {MOST_THREADS}"
    for kind, numbers in zip(("input", "output"), sizes, strict=True):
        yield f"#define {name}_{kind.upper()}S {len(numbers)}"
        yield f"static const int64_t {name}_{kind}_size[] = {{{', '.join(map(str, numbers))}}};"
    for text, function in writer.functions.items():
        yield ""
        yield text.replace("NAME", function)
    yield ""
    yield _part("share.h").replace("NAME", name)
    yield f"/* The samples from `begin` on, `count` of them, {planned.lanes} at most. */"
    yield f"static void {name}_tile(const {name}_share *s, int64_t begin, int count)"
    yield "{"
    yield "    float *workspace = s->workspace;"
    for call in writer.calls:
        yield f"    {call}"
        yield "    meet(s->all);"
    yield "}"
    yield ""
    yield _part("run.h").replace("NAME", name)


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")
