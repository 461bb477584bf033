"""A sparse network as one C header, weights and all, to be embedded in any C program."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lottery_pools.deploy.graph import Network
from lottery_pools.deploy.library import alone
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
    It holds the weights twice, in the order for 16 samples side by side and in that for one; with `single` only the
    latter, for programs that have one sample at a time. `name` begins its names. All it needs is a C compiler of the
    GNU kind, with `-O2` and the flags of the processor, and `-lm`. How to call it is said at its end.

    Raises UserError where the module needs PyTorch for a part, or a weight, the name or the target will not do.

    Example:

        Path("net.h").write_text(header(model, (3, 32, 32), name="net"), encoding="utf-8")
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise UserError(f"{name!r} cannot begin a name in C: give letters, digits and underscores")
    if target not in SUMS:
        raise unknown("target", target, SUMS)
    traced = trace(module, torch.zeros(1, *shape))
    if traced.fallbacks or len(traced.steps) != 1:
        needed = ", ".join(traced.fallbacks) or "all of it"
        raise UserError(f"{type(module).__name__} needs PyTorch for {needed}: C files cannot have that; "
                        "lp.compile computes it in Python")  # fmt: skip
    (network,) = traced.steps
    assert isinstance(network, Network)
    sources = [write(network, True, target, f"{name}_one")]
    if not single:
        sources.append(write(network, False, target, f"{name}_many"))
    if not np.isfinite(sources[0].floats).all():
        raise UserError(f"{type(module).__name__} has weights that are not finite: C has no numbers for them")
    return "\n".join(_lines(name, sources)) + "\n"


def _lines(name: str, sources: list[Source]) -> Iterator[str]:
    yield f"#ifndef {name.upper()}_H"
    yield f"#define {name.upper()}_H"
    for source in sources:
        text = source.text.replace("#ifndef PUBLIC\n#define PUBLIC\n#endif\n", "")
        yield text.replace("PUBLIC int", "static int")
        yield from _array(f"static const float {source.name}_floats", source.floats)
        yield from _array(f"static const int32_t {source.name}_integers", source.integers)
    ins, outs = sources[0].inputs[0], sources[0].outputs[0]
    yield f"""
#define {name}_INPUTS {ins} /* floats of a sample, and of what is predicted for it */
#define {name}_OUTPUTS {outs}
#define {name}_WORKSPACE ({" + ".join(f"{source.name}_WORKSPACE" for source in sources)})

/* Predict for `batch` samples of {ins} floats each, in PyTorch's order: {outs} floats each. `workspace` has
   {name}_WORKSPACE floats, all zero before the first call: allocate it with calloc. Returns 0; anything else says that
   a pointer is null or `batch` is out of range. */
static inline int {name}_run(const float *input, float *output, int64_t batch, float *workspace)
{{
    if (!input || !output || !workspace || batch < 0 || batch > INT32_MAX)
        return 1;"""
    whole = "0"
    for source in reversed(sources[1:]):
        whole = "whole"
        lanes = f"{source.name}_LANES"
        few = alone(source.lanes)
        yield f"    /* {source.lanes} at a time; of the last ones, {few} and fewer are faster one at a time */"
        yield f"    const int64_t whole = batch % {lanes} > {few} ? batch : batch - batch % {lanes};"
        yield from _call(source, name, "0", "whole", "workspace")
    yield from _call(sources[0], name, whole, f"batch - {whole}",
                     f"workspace + {sources[1].name}_WORKSPACE" if sources[1:] else "workspace")  # fmt: skip
    yield "    return 0;"
    yield "}"
    yield "#endif"


def _call(source: Source, name: str, first: str, count: str, workspace: str) -> Iterator[str]:
    """The call of one source for samples `first` to `first + count`."""
    yield f"    if ({count} > 0) {{"
    yield f"        const float *from = input + ({first}) * {name}_INPUTS;"
    yield f"        float *to = output + ({first}) * {name}_OUTPUTS;"
    yield f"        const int64_t ins = ({count}) * {name}_INPUTS, outs = ({count}) * {name}_OUTPUTS;"
    yield f"        const int code = {source.name}_predict(&from, &ins, &to, &outs, {count}, {workspace},"
    yield f"            {source.name}_WORKSPACE, {source.name}_floats, {source.name}_integers, 1);"
    yield "        if (code)"
    yield "            return code;"
    yield "    }"


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
