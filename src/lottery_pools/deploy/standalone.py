"""A sparse network as files for other programs: a C header with its weights, a C source, and a library."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lottery_pools.deploy import compiler
from lottery_pools.deploy.header import header
from lottery_pools.runs.disk import remove, write

NAME = "network"
"""What the files are called, and how the names in them begin."""

_SOURCE = """\
/* A library of one sparse network: {name}.h, to be called from any language. Compile it with

       {command}

   The caller's arrays need {ins} floats a sample and {outs} floats a sample, in PyTorch's order. */
#include <stdlib.h>
#include "{name}.h"

#ifndef PUBLIC
#define PUBLIC __attribute__((visibility("default")))
#endif

/* Floats of one sample, and of what is predicted for it. */
PUBLIC int64_t {name}_inputs(void) {{ return {name}_INPUTS; }}
PUBLIC int64_t {name}_outputs(void) {{ return {name}_OUTPUTS; }}

/* Predict for `batch` samples. Returns 0, or 1 for a null pointer or a batch out of range, 5 where memory is short.
   Several threads may call it at once. */
PUBLIC int {name}_predict(const float *input, float *output, int64_t batch)
{{
    float *workspace = calloc({name}_WORKSPACE, sizeof(float));
    if (!workspace)
        return 5;
    const int code = {name}_run(input, output, batch, workspace);
    free(workspace);
    return code;
}}
"""


@dataclass(frozen=True)
class Standalone:
    """What was written."""

    header: Path
    source: Path
    library: Path | None
    """None where the files are for a processor that this one is not."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return tuple(path for path in (self.header, self.source, self.library) if path is not None)


def write_standalone(module: nn.Module, shape: tuple[int, ...], out: Path, target: str | None = None) -> Standalone:
    """Write a network as `network.h`, `network.c` and, compiled for this machine, `network.so` into the folder `out`.

    The same network gives the same header and source for the same `target`, to the byte. Nothing else is needed to use
    them: neither Python nor this package.

    Args:
        module: The network, in evaluation mode.
        shape: The shape of one sample.
        out: The folder; it is created.
        target: "avx512", "avx2", "neon" or "plain", for which the code is tuned; by default what this processor has.
            There is no library for a target that this processor does not have.

    Raises:
        UserError: There is no C compiler, the network needs PyTorch for a part, or the folder cannot be written.

    Example:
        ```python
        files = write_standalone(model, (3, 32, 32), Path("compiled"))
        ctypes.CDLL(files.library).network_predict
        ```
    """
    c_compiler = compiler.find()
    target = target or c_compiler.target
    text = header(module, shape, name=NAME, target=target)
    with torch.no_grad():
        outputs = module(torch.zeros(1, *shape)).numel()
    flags = shlex.join([*compiler.FLAGS, "-march=native", "-shared", "-fPIC"])
    command = f"cc {flags} {NAME}.c -o {NAME}.so -lm"
    source = _SOURCE.format(name=NAME, command=command, ins=torch.Size(shape).numel(), outs=outputs)
    files = Standalone(out / f"{NAME}.h", out / f"{NAME}.c", out / f"{NAME}.so" if c_compiler.has(target) else None)
    write(files.header, text)
    write(files.source, source)
    if files.library is not None:
        whole = source.replace(f'#include "{NAME}.h"\n', text)
        write(files.library, compiler.build(whole, target).read_bytes())
    else:
        remove(out / f"{NAME}.so")  # of an earlier call, for this processor
    return files
