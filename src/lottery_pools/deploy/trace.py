"""From a module to steps: networks of our own operations, and single nodes that PyTorch computes.

Built on the graph of `torch.export`, in core ATen without in-place operations. BatchNorm is folded, activations and
residual additions are fused. A node that is not known, or not in a form that is known, stays with PyTorch.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg

from lottery_pools.deploy.graph import Network, Operation, fuse
from lottery_pools.deploy.lowering import lower
from lottery_pools.deploy.nodes import Known, Lowered, View, physical
from lottery_pools.errors import UserError


@dataclass(frozen=True)
class Traced:
    """A module as steps in order: networks that become C, and nodes that PyTorch computes.

    `views` maps a node's name to the value that holds what it computes, and to the shape of one sample of it.
    """

    steps: tuple[Network | Node, ...]
    views: Mapping[str, View]
    input: str
    output: str
    constants: Mapping[str, Tensor]

    @property
    def networks(self) -> tuple[Network, ...]:
        """The steps that become C."""
        return tuple(step for step in self.steps if isinstance(step, Network))

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What PyTorch computes: target and name of each node, but for those that only look up sizes or items."""
        nodes = (step for step in self.steps if isinstance(step, Node))
        return tuple(f"{n.target} ({n.name})" for n in nodes if isinstance(n.meta.get("val"), Tensor))


def trace(model: nn.Module, example: Tensor) -> Traced:
    """Trace `model`, in evaluation mode, for batches of samples shaped like those of `example` (n, …).

    Raises UserError where the module cannot be exported, or takes or returns anything but one tensor.
    """
    graph, constants, inputs = _export(model, example)
    output = next(node for node in graph.nodes if node.op == "output").args[0]
    if len(inputs) != 1 or len(output) != 1 or not isinstance(output[0], Node):
        raise UserError(f"{type(model).__name__} has several inputs or outputs: wrap it so that it takes one tensor "
                        "and returns one")  # fmt: skip
    (source,) = inputs
    builder = _Builder(Known(constants), str(source.meta["val"].shape[0]))
    builder.enter(source)
    for node in graph.nodes:
        if node.op == "call_function":
            builder.visit(node)
    known = builder.known
    return Traced(builder.finish(output[0].name), known.views, source.name, output[0].name, known.constants)


def _export(model: nn.Module, example: Tensor) -> tuple[Any, dict[str, Tensor], list[Node]]:
    """The functional graph of `model`, its constants by node name, and the nodes of its inputs."""
    was_training = model.training
    # Two samples: torch.export takes a batch of one for a constant.
    batch = example[:1].detach().expand(2, *example.shape[1:]).contiguous()
    try:
        with warnings.catch_warnings():  # of the exporter's own use of deprecated names
            warnings.simplefilter("ignore")
            dynamic = ({0: torch.export.Dim.DYNAMIC},)
            exported = torch.export.export(model.eval(), (batch,), dynamic_shapes=dynamic).run_decompositions({})
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"torch.export cannot trace {type(model).__name__} for samples of shape "
                        f"{tuple(example.shape[1:])}: {reason}") from error  # fmt: skip
    finally:
        model.train(was_training)
    signature = exported.graph_signature
    constants: dict[str, Tensor] = {}
    for names in (signature.inputs_to_parameters, signature.inputs_to_buffers):
        for node, name in names.items():
            tensor = exported.state_dict.get(name)
            constants[node] = (exported.constants[name] if tensor is None else tensor).detach().clone()
    for node, name in signature.inputs_to_lifted_tensor_constants.items():
        constants[node] = exported.constants[name].detach().clone()
    if signature.buffers_to_mutate:
        changed = next(iter(signature.buffers_to_mutate.values()))
        raise UserError(f"{type(model).__name__} changes its buffer {changed!r} while it predicts: only networks "
                        "without a memory can be compiled")  # fmt: skip
    nodes = [n for n in exported.graph.nodes if n.op == "placeholder" and n.name not in constants]
    return exported.graph, constants, nodes


@dataclass
class _Builder:
    """The steps so far, and what each node of the graph has become."""

    known: Known
    batch: str
    steps: list[Operation | Node] = field(default_factory=list)

    def enter(self, node: Node) -> None:
        """Make the input, or what PyTorch computes, a value that operations can read."""
        shape = self.sample(node)
        if shape is not None and 1 <= len(shape) <= 3:
            self.known.views[node.name] = View(node.name, shape)
            self.known.shapes[node.name] = physical(shape)

    def sample(self, node: Node) -> tuple[int, ...] | None:
        """The shape of one sample of what a node computes; None where it is no float32 batch of fixed shape."""
        value = node.meta.get("val")
        if not isinstance(value, Tensor) or value.dtype != torch.float32 or not value.shape:
            return None
        if str(value.shape[0]) != self.batch or not all(isinstance(size, int) for size in value.shape[1:]):
            return None
        return tuple(value.shape[1:])

    def visit(self, node: Node) -> None:
        """Compute a node of constants, take over one that we know, leave any other to PyTorch."""
        if node.name in self.known.views:
            return  # the item of a BatchNorm that was taken over
        constants = self.known.constants
        if node.all_input_nodes and all(argument.name in constants for argument in node.all_input_nodes):
            value = compute(node, constants)
            if isinstance(value, Tensor):
                constants[node.name] = value
                return
        if not self.lower(node):
            self.steps.append(node)
            self.enter(node)

    def lower(self, node: Node) -> bool:
        """Take a node over, where its operation, its operands and its result are of kinds that we know."""
        result = node
        if node.target is torch.ops.aten._native_batch_norm_legit_no_training.default:
            result, *others = [*node.users] or [node]
            if others or result.target is not operator.getitem or result.args[1] != 0:
                return False
        shape = self.sample(result)
        lowered = None if shape is None else lower(node, result.name, shape, self.known)
        if lowered is None or shape is None:
            return False
        if isinstance(lowered, Lowered):
            self.steps.append(lowered.operation)
            self.known.shapes[result.name] = lowered.shape
        self.known.views[result.name] = View(lowered if isinstance(lowered, str) else result.name, shape)
        return True

    def finish(self, output: str) -> tuple[Network | Node, ...]:
        """All steps, operations in a row made one network, those that nothing reads left out."""
        wanted = {self.known.value(output)}
        kept: list[Operation | Node] = []
        for step in reversed(self.steps):
            if (step.name if isinstance(step, Node) else step.out) in wanted:
                kept.append(step)
                wanted.update(self.reads(step))
        kept.reverse()
        steps: list[Network | Node] = []
        for ours, group in groupby(kept, lambda step: not isinstance(step, Node)):
            if ours:
                operations = [step for step in group if not isinstance(step, Node)]
                elsewhere = {name for step in kept if step not in operations for name in self.reads(step)}
                steps.append(self.network(operations, elsewhere | {self.known.value(output)}))
            else:
                steps += [step for step in group if isinstance(step, Node)]
        return tuple(steps)

    def reads(self, step: Operation | Node) -> tuple[str, ...]:
        """The values that a step reads."""
        if isinstance(step, Node):
            return tuple(self.known.value(argument.name) for argument in step.all_input_nodes)
        return step.reads

    def network(self, operations: Sequence[Operation], elsewhere: Collection[str]) -> Network:
        """Operations as a network; `elsewhere` are the values that are read outside."""
        outputs = tuple(operation.out for operation in operations if operation.out in elsewhere)
        fused = fuse(operations, outputs)
        made = [operation.out for operation in fused]
        inputs = tuple(dict.fromkeys(name for operation in fused for name in operation.reads if name not in made))
        shapes = {name: self.known.shapes[name] for name in (*inputs, *made)}
        return Network(tuple(fused), shapes, inputs, outputs)


def compute(node: Node, values: Mapping[str, Any]) -> Any:
    """What PyTorch computes at a node, its arguments looked up by name in `values`."""
    args = map_arg(node.args, lambda argument: values[argument.name])
    kwargs = map_arg(node.kwargs, lambda argument: values[argument.name])
    assert callable(node.target)
    return node.target(*args, **kwargs)
