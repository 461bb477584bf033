"""The methods of pooling, one file each (or one a family): adding a method means adding a file here.

A file defines its search and `METHODS`, a tuple of `Method` values; it is found by being in this folder. Files import
torch, and what needs it, inside their functions: so the table of methods is there at once for `--help` and for reports.
"""

from __future__ import annotations

import importlib
import pkgutil

from lottery_pools.errors import unknown
from lottery_pools.pooling.method import Method

PAPERS_RULE = "interpolation"
"""The method of the paper, with every coefficient."""
DEFAULT = "trimmed-soup"


def _discover() -> dict[str, Method]:
    """Every method of every file in this folder, by name, in the order of their ranks."""
    files = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    methods: list[Method] = [method for file in files for method in file.METHODS]
    return {method.name: method for method in sorted(methods, key=lambda method: method.rank)}


METHODS: dict[str, Method] = _discover()
"""Every method by its name. A method of your own that is added here is known to experiments and reports too."""


def find(method: str | Method) -> Method:
    """The method of that name, or the method itself; raises UserError where no method has that name."""
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    return METHODS[method]
