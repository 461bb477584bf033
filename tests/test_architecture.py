"""The layer rule of docs/architecture.md: what each wing may import, and what must import without torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/lottery_pools"
GROUND = {"errors", "version"}
LAYERS = (
    "cli",
    "experiment",
    "reporting",
    "exchange",
    "deploy",
    "evaluation",
    "pooling",
    "tickets",
    "data",
    "models",
    "runs",
    "config",
)
"""Top to bottom: a wing may import those after it, itself, and the ground."""
NARROWER = {
    "reporting": {"evaluation.intervals", "pooling.method", "pooling.methods", "runs", "config"},
    "exchange": {
        "tickets",
        "data.dataset",
        "data.npy",
        "data.preprocessing",
        "data.record",
        "models",
        "runs",
        "config",
    },
    "deploy": {"tickets", "models", "runs", "config"},
    "pooling": {"tickets", "runs.seeds", "config"},
    "models": {"runs.seeds"},
    "runs": {"config"},
    "config": set[str](),
}
"""Wings that may import less than what stands below them: whole wings, or single modules."""
APART = {"deploy"}
"""Wings that nothing but the command line imports."""
WITHOUT_TORCH = ("cli", "config", "pooling/methods", "reporting", "runs")


def modules(wing: str = "") -> list[Path]:
    return sorted((SOURCE / wing).rglob("*.py"))


def dotted(path: Path) -> str:
    """The module's name below the package: `pooling.search`, `cli` for a package's own file."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module of ours that a module imports, wherever in it, below the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lottery_pools":
            below = (node.module or "").removeprefix("lottery_pools").removeprefix(".")
            for alias in node.names:
                inner = SOURCE / below.replace(".", "/") / alias.name
                module = inner.is_dir() or inner.with_suffix(".py").exists()
                yield f"{below}.{alias.name}".strip(".") if module else below
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "lottery_pools":
                    yield alias.name.removeprefix("lottery_pools").removeprefix(".")


def forbidden(importer: str, source: str) -> list[str]:
    """What the module `importer` with this source imports and may not."""
    wing = importer.split(".")[0]
    if wing not in LAYERS:
        return []
    below = NARROWER.get(wing, set(LAYERS[LAYERS.index(wing) :]) - (APART - {wing} if wing != "cli" else set()))
    allowed = below | GROUND | {wing}
    names = set(imports(ast.parse(source)))
    return sorted(n for n in names if not any(n == each or n.startswith(f"{each}.") for each in allowed))


@pytest.mark.parametrize("path", [path for wing in LAYERS for path in modules(wing)], ids=dotted)
def test_no_module_imports_what_its_wing_may_not(path: Path) -> None:
    names = forbidden(dotted(path), path.read_text(encoding="utf-8"))
    assert names == [], f"{path.relative_to(ROOT)} imports {names}: see the layer rule in docs/architecture.md"


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("tickets.imp", "from lottery_pools.pooling.search import greedy"),
        ("data.sources", "def late():\n    from lottery_pools import experiment"),
        ("reporting.page", "from lottery_pools.tickets import files"),
        ("reporting.page", "import lottery_pools.evaluation.metrics"),
        ("exchange.hub", "from lottery_pools.pooling import pool"),
        ("exchange.hub", "from lottery_pools.data import sources"),
        ("config.schema", "from lottery_pools.runs import folder"),
        ("experiment.stages", "from lottery_pools.deploy import compiled"),
        ("deploy.compiled", "from lottery_pools.pooling import methods"),
    ],
)
def test_the_rule_finds_an_import_that_runs_up(importer: str, line: str) -> None:
    assert forbidden(importer, line)


def test_every_wing_has_its_place_in_the_rule() -> None:
    wings = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert wings == set(LAYERS)


def test_what_needs_no_torch_does_not_import_it() -> None:
    paths = [path for wing in WITHOUT_TORCH for path in modules(wing)]
    code = "import importlib, sys\n" + "".join(
        f"importlib.import_module('lottery_pools.{dotted(path)}')\nassert 'torch' not in sys.modules, '{path.name}'\n"
        for path in paths
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_on_architecture_names_every_file() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    tree = page.split("```\nsrc/lottery_pools/\n")[1].split("```")[0]
    for path in modules():
        if path.name not in ("__init__.py", "__main__.py"):
            assert path.name in tree, f"docs/architecture.md lacks {path.relative_to(SOURCE)}"
    wings = [word.removesuffix("/") for word in re.findall(r"^  (\w+/)", tree, re.MULTILINE)]
    assert [wing for wing in wings if wing in LAYERS] == list(LAYERS)
