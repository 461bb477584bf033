"""Dense engines that compute one batch: PyTorch, ONNX Runtime and OpenVINO, each where it is installed."""

from __future__ import annotations

import argparse
import copy
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

Engine = Callable[[], object]
"""Computes the batch for which it was made."""


def dense_engines(model: nn.Module, x: Tensor, options: argparse.Namespace) -> dict[str, Engine]:
    """Every dense engine at hand, ready to compute the batch x."""
    ready: dict[str, Engine] = {"torch eager": lambda: model(x)}
    if x.ndim == 4:
        last = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        nhwc = x.contiguous(memory_format=torch.channels_last)
        ready["torch channels-last"] = lambda: last(nhwc)
    if options.torch_compile:
        inductor = torch.compile(copy.deepcopy(model))
        ready["torch compile"] = lambda: inductor(x)
    if options.only_torch:
        return ready
    with suppress(ModuleNotFoundError):
        ready["onnxruntime"] = onnxruntime_engine(model, x, options.threads)
    with suppress(ModuleNotFoundError):
        ready["openvino"] = openvino_engine(model, x, options.threads)
    return ready


def onnxruntime_engine(model: nn.Module, x: Tensor, threads: int) -> Engine:
    """Dense ONNX Runtime."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = f"{folder}/model.onnx"
        torch.onnx.export(model, (x,), path, dynamo=False, input_names=["x"])
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    array = x.numpy()
    return lambda: session.run(None, {"x": array})


def openvino_engine(model: nn.Module, x: Tensor, threads: int) -> Engine:
    """Dense OpenVINO, in float32."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    converted = openvino.convert_model(model, example_input=x, input=[tuple(x.shape)])
    request = openvino.compile_model(converted, "CPU", settings).create_infer_request()
    array = x.numpy()
    return lambda: request.infer({0: array})
