"""Networks as programs that run without their Python code: ONNX and `torch.export`, each checked against PyTorch."""

from __future__ import annotations

import importlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lottery_pools.errors import UserError, installing
from lottery_pools.runs.seeds import generator

TOLERANCE = 1e-5
"""How far the outputs of a program may be from PyTorch's, times the largest of these where that is above 1."""


def onnx(network: nn.Module, example: Tensor, metadata: Mapping[str, Any]) -> bytes:
    """Write a network as an ONNX model with input `input` and output `output`, both of any batch size.

    Args:
        network: In evaluation mode, on the CPU.
        example: A batch of two inputs.
        metadata: Plain values that the model is to hold, each as JSON.

    Returns:
        The content of the file.

    Raises:
        UserError: If a package is missing, the network cannot be written as a graph, or the graph's outputs differ from
            PyTorch's.
    """
    runtime = _package("onnxruntime")
    for package in ("onnx", "onnxscript"):
        _package(package)
    _check_takes(network, example)
    with _graph_errors("ONNX"):
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
        model: Any = program.model_proto  # type: ignore[union-attr]
        _strip(model)
        for key, value in metadata.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, json.dumps(value)
        content: bytes = model.SerializeToString(deterministic=True)
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    _check("ONNX", network, example, lambda batch: torch.from_numpy(session.run(None, {"input": batch.numpy()})[0]))
    return content


def torch_export(network: nn.Module, example: Tensor, metadata: Mapping[str, Any]) -> bytes:
    """Write a network as a `.pt2` archive that `torch.export.load` reads, for any batch size.

    Arguments, result and errors are those of `onnx`. The metadata are in the archive's extra file `lottery_pools.json`.
    """
    _check_takes(network, example)
    with _graph_errors("torch.export"):
        program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={"lottery_pools.json": json.dumps(metadata)})
    loaded = torch.export.load(io.BytesIO(archive.getvalue())).module()
    _check("torch.export", network, example, loaded)
    return archive.getvalue()


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(f"ONNX needs {error.name}: {installing('onnx')}") from error


def _check_takes(network: nn.Module, example: Tensor) -> None:
    """Raise UserError unless the network computes this batch."""
    try:
        with torch.inference_mode():
            network(example)
    except Exception as error:  # whatever the network's own code raises
        raise UserError(
            f"the network does not take inputs {tuple(example.shape[1:])} ({_first_line(error)}): give preprocessing "
            "whose input_shape is that of one input"
        ) from error


def _first_line(error: BaseException) -> str:
    """The kind of an error, and the first line of what it says."""
    return f"{type(error).__name__}: " + str(error).strip().partition("\n")[0]


@contextmanager
def _graph_errors(kind: str) -> Iterator[None]:
    """Turn what hinders a network from becoming a graph into one line; silence PyTorch's warnings about itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # whatever the network's own code raises when it is traced
        raise UserError(
            f"the network cannot be written as {kind} ({_first_line(error.__cause__ or error)}): its forward must not "
            "depend on the values of its input"
        ) from error
    finally:
        logger.setLevel(level)


def _check(kind: str, network: nn.Module, example: Tensor, run: Callable[[Tensor], Tensor]) -> None:
    """Raise UserError unless a program gives what the network gives, for batches of several sizes."""
    draws = generator(0, "check of an export")
    for size in (1, 2, 5):
        batch = example[torch.arange(size) % len(example)]
        batch = batch + batch.std() * torch.randn(batch.shape, generator=draws)
        with torch.inference_mode():
            expected, actual = network(batch), run(batch)
        error = float((actual - expected).abs().max()) / max(1.0, float(expected.abs().max()))
        if not error <= TOLERANCE:
            raise UserError(
                f"{kind} gives outputs that differ from PyTorch's by {error:.1e} of the largest for {size} inputs: "
                "nothing was written; export another format"
            )


def _strip(model: Any) -> None:
    """Take out of an ONNX model which lines of code its nodes come from, as paths of this machine."""
    parts = [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, *model.functions]
    for part in (*parts, *(node for function in model.functions for node in function.node)):
        part.ClearField("metadata_props")
        if hasattr(part, "doc_string"):
            part.ClearField("doc_string")
    model.graph.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
