"""A network's compiled C, called on PyTorch tensors."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lottery_pools.deploy import compiler
from lottery_pools.deploy.graph import Network, split
from lottery_pools.deploy.layout import REGISTER
from lottery_pools.deploy.plan import cut, lanes
from lottery_pools.deploy.source import MOST_THREADS, Source, write

Tensors = Mapping[str, Tensor]
ALIGNMENT = 64
"""Bytes of a cache line: what reads across two of them takes twice as long."""
ALONE = 8
"""Single samples that take as long as 16 side by side."""
ENOUGH = 1_000_000
"""Multiply-adds that are worth another thread: some 20 microseconds, about what starting one takes."""


def alone(lanes: int) -> int:
    """Single samples that take as long as `lanes` side by side: fewer for networks of linear layers, which have 64."""
    return ALONE if lanes <= REGISTER else ALONE // 2


@dataclass(frozen=True, eq=False)
class Library:
    """One compiled source: predicts for any number of samples, in tiles of `source.lanes`."""

    source: Source
    function: Callable[..., int]
    spare: list[tuple[NDArray[np.float32], int]] = field(default_factory=list)
    """Workspaces that no call uses at the moment, and their addresses."""

    @cached_property
    def constants(self) -> tuple[int, int]:
        """The addresses of the source's floats and integers."""
        return self.source.floats.ctypes.data, self.source.integers.ctypes.data

    def __call__(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], threads: int) -> None:
        """Fill `outputs`; all tensors are contiguous float32 on the CPU, (samples, floats a sample)."""
        batch = outputs[0].shape[0]
        threads = max(1, min(threads, MOST_THREADS))
        floats = threads * self.source.workspace
        try:  # taken from the list and put back, so that two threads of Python's never share one
            workspace, address = self.spare.pop()
        except IndexError:
            workspace, address = _aligned(floats)
        if len(workspace) < floats:
            workspace, address = _aligned(floats)
        code = self.function(*_pointers(inputs), *_pointers(outputs), batch, address, floats, *self.constants, threads)
        self.spare.append((workspace, address))
        if code:
            raise RuntimeError(f"compiled network refused its arguments (code {code}) for {batch} samples")


def _aligned(floats: int) -> tuple[NDArray[np.float32], int]:
    """Zeros that begin at a cache line, and their address."""
    memory = np.zeros(floats + ALIGNMENT // 4, np.float32)
    address: int = memory.ctypes.data
    first = -address % ALIGNMENT // 4
    return memory[first : first + floats], address + 4 * first


def _pointers(tensors: Sequence[Tensor]) -> tuple[ctypes.Array[ctypes.c_void_p], ctypes.Array[ctypes.c_int64]]:
    """The memory of tensors and their sizes, as C arrays."""
    count = len(tensors)
    addresses = (ctypes.c_void_p * count)(*(tensor.data_ptr() for tensor in tensors))
    return addresses, (ctypes.c_int64 * count)(*(tensor.numel() for tensor in tensors))


def load(source: Source, target: str | None) -> Library:
    """Compile a source, or take it from the cache, and load it."""
    loaded = ctypes.CDLL(str(compiler.build(source.text, target)))
    function = loaded[f"{source.name}_predict"]
    function.restype = ctypes.c_int
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [pointer, pointer, pointer, pointer, size, pointer, size, pointer, pointer, ctypes.c_int]
    return Library(source, function)


@dataclass(eq=False)
class CompiledNetwork:
    """A network compiled for one sample at a time and for many; each when it is first needed.

    For many, what touches much memory is still computed one at a time, and the rest side by side (`layout.cut`).
    """

    network: Network
    target: str | None = None
    libraries: dict[str, Library] = field(default_factory=dict)

    @cached_property
    def parts(self) -> dict[str, Network]:
        """The networks to compile: "single" is all of it, "first" and "rest" what is done one at a time and not."""
        at = cut(self.network)
        first, rest = split(self.network, at)
        parts = {"single": self.network}
        if 0 < at < len(self.network.operations):
            parts["first"] = first
        if at < len(self.network.operations):
            parts["rest"] = rest
        return parts

    @property
    def lanes(self) -> int:
        """Samples that are computed side by side, where there are so many."""
        return lanes(self.parts["rest"]) if "rest" in self.parts else 1

    def library(self, part: str) -> Library:
        """The library of one of the `parts`."""
        if part not in self.libraries:
            target = self.target or compiler.find().target
            self.libraries[part] = load(write(self.parts[part], part != "rest", target), target)
        return self.libraries[part]

    def __call__(self, inputs: Sequence[Tensor], threads: int) -> list[Tensor]:
        """The outputs, (n, floats a sample) each, of inputs (n, floats a sample) in the order of the network's."""
        values = dict(zip(self.network.inputs, inputs, strict=True))
        batch = inputs[0].shape[0]
        results = {name: torch.empty(batch, self.floats(name)) for name in self.network.outputs}
        threads = max(1, min(threads, int(batch * self.work / ENOUGH)))
        whole = 0
        if "rest" in self.parts and batch > alone(self.lanes):
            tile = self.lanes
            whole = batch if batch % tile > alone(tile) else batch - batch % tile
            # Few at a time, so that what goes from the first part to the rest stays near.
            step = tile * threads if "first" in self.parts else whole
            for begin in range(0, whole, step):
                self.many(values, results, slice(begin, min(begin + step, whole)), threads)
        if whole < batch:
            self.run("single", values, results, slice(whole, batch), threads)
        return list(results.values())

    @cached_property
    def work(self) -> int:
        """Multiply-adds of a sample."""
        return self.network.work()

    def floats(self, name: str) -> int:
        """Floats of one sample of a value."""
        return math.prod(self.network.shapes[name])

    def many(self, values: Tensors, results: Tensors, samples: slice, threads: int) -> None:
        """Compute some samples, as many are computed."""
        if "first" not in self.parts:
            self.run("rest", values, results, samples, threads)
            return
        count = samples.stop - samples.start
        between = {name: torch.empty(count, self.floats(name)) for name in self.parts["first"].outputs}
        of_samples = {name: tensor[samples] for name, tensor in values.items()}
        self.run("first", of_samples, between, slice(0, count), threads)
        out = {name: tensor[samples] for name, tensor in results.items()}
        for name in out.keys() & between.keys():
            out[name].copy_(between[name])
        self.run("rest", {**of_samples, **between}, out, slice(0, count), threads)

    def run(self, part: str, values: Tensors, results: Tensors, samples: slice, threads: int) -> None:
        """Let one library compute some samples."""
        network = self.parts[part]
        inputs = [values[name] for name in network.inputs]
        outputs = [results[name] for name in network.outputs]
        if samples.start > 0 or samples.stop < outputs[0].shape[0]:
            inputs, outputs = [x[samples] for x in inputs], [y[samples] for y in outputs]
        self.library(part)(inputs, outputs, threads)
