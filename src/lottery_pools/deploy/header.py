"""A sparse network as one C header, weights and all, to be embedded in any C program."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lottery_pools.deploy.graph import Network
from lottery_pools.deploy.source import Source, write
from lottery_pools.deploy.tiles import SUMS
from lottery_pools.deploy.trace import trace
from lottery_pools.errors import UserError, unknown

A_LINE = 8
"""Numbers in a line of an array."""


def header(
    module: nn.Module, shape: tuple[int, ...], *, name: str, target: str = "avx512", single: bool = False
) -> str:
    """The text of a C header that predicts as `module` does, for samples of `shape`; the same module, the same bytes.

    The header is correct C for any processor; `target` ("avx512", "avx2", "neon", "plain") says for which it is fast.
    It computes 16 samples side by side, or with `single` one at a time. `name` begins its names. All it needs is a C
    compiler of the GNU kind, with `-O3` and the flags of the processor, and `-lm`. How to call it is said at its end.

    Raises UserError where the module needs PyTorch for a part, or a weight, the name or the target will not do.

    Example:

        Path("net.h").write_text(header(model, (3, 32, 32), name="net"), encoding="utf-8")
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise UserError(f"{name!r} cannot begin a name in C: give letters, digits and underscores")
    if target not in SUMS:
        raise unknown("target", target, SUMS)
    traced = trace(module, torch.zeros(1, *shape))
    if traced.fallbacks or len(traced.steps) != 1:
        needed = ", ".join(traced.fallbacks) or "all of it"
        raise UserError(f"{type(module).__name__} needs PyTorch for {needed}: a header cannot have that")
    (network,) = traced.steps
    assert isinstance(network, Network)
    source = write(network, single, target, name)
    if not np.isfinite(source.floats).all():
        raise UserError(f"{type(module).__name__} has weights that are not finite: C has no numbers for them")
    return "\n".join(_lines(source)) + "\n"


def _lines(source: Source) -> Iterator[str]:
    name = source.name
    yield f"#ifndef {name.upper()}_H"
    yield f"#define {name.upper()}_H"
    yield source.text.replace("PUBLIC int", "static int").replace("#ifndef PUBLIC\n#define PUBLIC\n#endif\n", "")
    yield from _array(f"static const float {name}_floats", source.floats)
    yield from _array(f"static const int32_t {name}_integers", source.integers)
    yield f"""
/* Predict for `batch` samples of {source.inputs[0]} floats each, in PyTorch's order: {source.outputs[0]} floats
   each. `workspace` has {name}_WORKSPACE floats, all zero before the first call: allocate it with calloc.
   Returns 0; anything else says that a pointer is null or `batch` is out of range. */
static inline int {name}_run(const float *input, float *output, int64_t batch, float *workspace)
{{
    const int64_t ins = batch * {source.inputs[0]}, outs = batch * {source.outputs[0]};
    return {name}_predict(&input, &ins, &output, &outs, batch, workspace, {name}_WORKSPACE, {name}_floats,
                          {name}_integers, 1);
}}
#endif"""


def _array(declaration: str, values: NDArray[np.float32] | NDArray[np.int32]) -> Iterator[str]:
    """A C array of numbers, floats with as many digits as bring back the same float."""
    yield f"{declaration}[{len(values)}] = {{"
    whole = values.dtype == np.int32
    texts = [str(value) if whole else f"{value:.9g}" for value in values.tolist()]
    if not whole:
        texts = [text + ("f" if "." in text or "e" in text else ".0f") for text in texts]
    for begin in range(0, len(texts), A_LINE):
        yield f"    {', '.join(texts[begin : begin + A_LINE])},"
    yield "};"
