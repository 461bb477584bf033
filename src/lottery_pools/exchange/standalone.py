"""The Python code of this package's networks as one file that needs PyTorch alone."""

from __future__ import annotations

import ast
import inspect

from lottery_pools import errors
from lottery_pools.models import registry


def source(name: str) -> str | None:
    """The code of the network called `name`; None if it is not this package's, or needs more of the package.

    Example:
        ```python
        Path("network.py").write_text(source("conv1d"))  # from network import conv1d
        ```
    """
    if name not in registry.names():
        return None
    code = inspect.getsource(inspect.getmodule(registry.MODELS[name]))  # type: ignore[arg-type]
    from_package = [node for node in ast.parse(code).body if (_imported(node) or "").startswith("lottery_pools")]
    if any(_imported(node) != "lottery_pools.errors" for node in from_package):
        return None
    lines = code.splitlines()
    for node in from_package:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    return _with_definitions("\n".join(lines) + "\n", inspect.getsource(errors)) if from_package else code


def _with_definitions(code: str, definitions: str) -> str:
    """The code with what another module defines put after its imports, and that one's imports beside its own."""
    parts = ast.parse(definitions).body
    imports = [ast.unparse(node) for node in parts if _imported(node) not in (None, "__future__")]
    bodies = [ast.unparse(node) for node in parts if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    bodies = [body.replace("lottery_pools.errors.", "") for body in bodies]  # in docstrings
    lines = code.splitlines()
    last = max(node.end_lineno or 0 for node in ast.parse(code).body if _imported(node) is not None)
    return "\n".join([*lines[:last], *imports, "", "", *"\n\n\n".join(bodies).splitlines(), *lines[last:]]) + "\n"


def _imported(node: ast.stmt) -> str | None:
    """The module that a statement imports; None if it imports none."""
    if isinstance(node, ast.ImportFrom):
        return node.module
    return node.names[0].name if isinstance(node, ast.Import) else None
