"""`compile`: a sparse network as a function that runs compiled C."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lottery_pools.deploy import compiler
from lottery_pools.deploy.choice import Choice, Times
from lottery_pools.deploy.graph import Network
from lottery_pools.deploy.library import CompiledNetwork
from lottery_pools.deploy.trace import Traced, compute, trace
from lottery_pools.errors import UserError, unknown
from lottery_pools.models import registry
from lottery_pools.tickets.ticket import Ticket, load_into

Engine = Literal["auto", "c", "torch"]


@dataclass(eq=False)
class Program:
    """A module traced for samples of one shape, its networks compiled."""

    traced: Traced
    networks: dict[int, CompiledNetwork]
    """Step → compiled network."""

    def __call__(self, x: Tensor, threads: int) -> Tensor:
        """Compute all steps in order."""
        traced, batch = self.traced, x.shape[0]  # len(x) would take longer
        values: dict[str, Any] = {traced.input: x}

        def node(name: str) -> Any:
            """What PyTorch sees of a node: a constant, or a value in the node's own shape."""
            if name in traced.constants:
                return traced.constants[name]
            view = traced.views.get(name)
            return values[name] if view is None else values[view.value].reshape(batch, *view.shape)

        for index, step in enumerate(traced.steps):
            if isinstance(step, Network):
                inputs = [values[name].reshape(batch, -1).contiguous() for name in step.inputs]
                outputs = self.networks[index](inputs, threads)
                values.update(zip(step.outputs, outputs, strict=True))
            else:
                with torch.no_grad():  # here only: it takes longer than a small network
                    values[step.name] = compute(step, {a.name: node(a.name) for a in step.all_input_nodes})
        result = node(traced.output)
        assert isinstance(result, Tensor)
        return result


@dataclass(eq=False)
class Compiled:
    """A module as a function of a batch: `compiled(x)` gives what `module.eval()(x)` gives, to within rounding.

    Samples of another shape than before are traced and compiled anew. The weights are those at the time of `compile`.
    """

    module: nn.Module
    threads: int
    target: str | None
    engine: Engine
    programs: dict[tuple[int, ...], Program] = field(default_factory=dict)
    choice: Choice = field(default_factory=Choice)
    decided: dict[tuple[object, ...], Callable[[Tensor], Tensor]] = field(default_factory=dict)

    def __repr__(self) -> str:
        shapes = ", ".join(map(str, self.programs)) or "none yet"
        return (
            f"Compiled({type(self.module).__name__}, threads={self.threads}, engine={self.engine!r}, shapes: {shapes})"
        )

    def program(self, shape: tuple[int, ...]) -> Program:
        """The program for samples of a shape, traced where it is new; warns of what PyTorch has to compute."""
        if shape not in self.programs:
            with torch.inference_mode(False):  # torch.export does not work within it
                traced = trace(self.module, torch.zeros(1, *shape))
            if traced.fallbacks and self.engine != "torch":
                warnings.warn(f"PyTorch computes {', '.join(traced.fallbacks)}: not among the compiled operations",
                              stacklevel=3)  # fmt: skip
            networks = {
                index: CompiledNetwork(step, self.target)
                for index, step in enumerate(traced.steps)
                if isinstance(step, Network)
            }
            self.programs[shape] = Program(traced, networks)
        return self.programs[shape]

    def __call__(self, x: Tensor) -> Tensor:
        """Predict for a batch x (n, …), float32 on the CPU. Raises UserError for anything else."""
        if not isinstance(x, Tensor) or x.dtype != torch.float32 or x.device.type != "cpu" or x.ndim < 2:
            what = f"{x.dtype} {tuple(x.shape)} on {x.device}" if isinstance(x, Tensor) else type(x).__name__
            raise UserError(f"a compiled network takes a float32 batch (n, …) on the CPU, this is {what}: convert it")
        key = (x.shape, self.threads, self.engine, self.choice)
        compute = self.decided.get(key)
        if compute is None:
            compute = self.decided[key] = self._decide(x)
        return compute(x)

    def _decide(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """What computes batches such as x. Looked up at later calls: a small network takes no longer than deciding."""
        if self.engine == "torch" or x.shape[0] == 0:
            return self.dense
        program, threads = self.program(tuple(x.shape[1:])), self.threads
        if self.engine == "auto" and (fastest := self.times(x).fastest) != "compiled":
            return self.orders[fastest]
        return lambda batch: program(batch, threads)

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What PyTorch computes in the programs so far: operation and name of each node."""
        return tuple(dict.fromkeys(line for program in self.programs.values() for line in program.traced.fallbacks))

    @property
    def weights(self) -> int:
        """Weights that are not zero in the programs so far, those of the first where there are several."""
        traced = next((program.traced for program in self.programs.values()), None)
        return 0 if traced is None else sum(network.weights for network in traced.networks)

    def times(self, x: Tensor) -> Times:
        """How long batches such as x take, compiled and by dense PyTorch: timed once on this machine, then remembered.

        Batch sizes are timed in classes (1, 2 to 4, 5 to 8, 9 to 16, 17 to 32, 33 to 63, 64, more), each by the size
        that suits the compiled network least: where it wins there, it wins for all of the class.
        """
        orders = {name: order for name, order in self.orders.items() if name == "contiguous" or x.ndim == 4}
        return self.choice.times(x, self.program(tuple(x.shape[1:])), orders, self.threads)

    @property
    def orders(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Dense PyTorch, by the order in which images lie in memory."""
        return {
            "contiguous": self.dense,
            "channels_last": lambda x: self.dense(x.contiguous(memory_format=torch.channels_last)),
        }

    def dense(self, x: Tensor) -> Tensor:
        """The same by PyTorch."""
        result: Tensor
        if torch.is_grad_enabled():
            with torch.no_grad():
                result = self.module(x)
        else:  # as above, a few microseconds faster
            result = self.module(x)
        return result


class CompiledModule(nn.Module):
    """A compiled network where a module is wanted, such as by `lp.predict`; it has no parameters."""

    def __init__(self, compiled: Compiled) -> None:
        super().__init__()
        self.compiled = compiled

    def forward(self, x: Tensor) -> Tensor:
        """What the compiled network predicts for a batch."""
        return self.compiled(x)


def compile(
    network: nn.Module | Ticket,
    example: Tensor | None = None,
    *,
    model: nn.Module | None = None,
    threads: int | None = None,
    target: str | None = None,
    engine: Engine = "auto",
) -> Compiled:
    """Compile a sparse network into C for exactly its weights, so that its zeros cost nothing.

    Convolutions, linear layers, BatchNorm, ReLU, GELU, residual additions, pooling and flattening are compiled;
    anything else PyTorch computes, and a warning names it. Results are within rounding of PyTorch's.

    - `network`: a module, or a ticket, which says itself what network it is of where that is one of this package's.
    - `example`: a batch (n, …) of samples as they will be given. With it, or for a ticket that knows the shape of its
      samples, all is compiled at once; without, at the first call.
    - `model`: the module that a ticket is of, where the ticket does not say. Its own weights are not changed.
    - `threads`: PyTorch's number where not given; `compiled.threads` may be changed later.
    - `target`: "avx512", "avx2", "neon" or "plain"; the processor's own where not given.
    - `engine`: "auto" times the compiled network and dense PyTorch once on this machine, at the first call of each
      class of batch sizes, and uses the faster; "c" and "torch" always use one.

    Raises UserError where there is no C compiler, the module cannot be traced, or a ticket does not fit its model.

    Example:

        compiled = lp.compile(lp.load("pools/trimmed-soup/level_08.safetensors"))
        logits = compiled(x)
    """
    if engine not in get_args(Engine):
        raise unknown("engine", engine, get_args(Engine))
    if isinstance(network, Ticket):
        module, shape = _of_ticket(network, model)
        if example is None and shape is not None:
            example = torch.zeros(1, *shape)
    elif isinstance(network, nn.Module):
        module = copy.deepcopy(network)
    else:
        raise UserError(f"cannot compile a {type(network).__name__}: give a torch.nn.Module or a ticket")
    if engine != "torch":
        c_compiler = compiler.find()
        c_compiler.flags(target or c_compiler.target)
    compiled = Compiled(module.eval().cpu(), threads or torch.get_num_threads(), target, engine)
    if example is not None and engine != "torch":
        for compiled_network in compiled.program(tuple(example.shape[1:])).networks.values():
            for part in compiled_network.parts:
                compiled_network.library(part)
    return compiled


def _of_ticket(ticket: Ticket, model: nn.Module | None) -> tuple[nn.Module, tuple[int, ...] | None]:
    """The module of a ticket with its weights, and the shape of its samples where the ticket knows it."""
    known = ticket.origin.get("model") or {}
    shape = tuple(known["input_shape"]) if "input_shape" in known else None
    if model is not None:
        module = copy.deepcopy(model)
    elif known.get("name") in registry.MODELS and shape is not None:
        module = registry.build(known["name"], known["arguments"], known["classes"], shape, 0)
    else:
        raise UserError("this ticket does not say which of this package's networks it is of: give its module as model=")
    load_into(module, ticket.weights, "the ticket's weights")
    return module, shape
