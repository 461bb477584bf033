"""Rows of the benchmark of inference, and the tables that the pages of documentation have of them.

    python -m benchmarks.inference_rows docs/results/inference.jsonl docs/results/benchmarks.md docs/howto/compile.md

writes the tables of the pages anew: each stands between `<!-- table: NAME -->`, where NAME is a key of `TABLES`, and
`<!-- table ends -->`. tests/test_inference_rows.py checks that the pages have what the rows say.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NAMES = {"resnet20": "ResNet-20", "resnet18": "ResNet-18", "vgg16": "VGG-16", "conv1d": "1-D CNN", "mlp": "MLP"}
PRUNED = {"pruned by layer": "by layer", "pruned by global": "over all"}
"""How initial weights were pruned; anything else is the file of a ticket."""


@dataclass(frozen=True)
class Row:
    """One network at one density and batch size."""

    model: str
    density: float
    batch: int
    threads: int
    ticket: str
    """The file, or how initial weights were pruned."""
    milliseconds: dict[str, float]
    """Engine → median time of a batch. "compiled" is compiled code, "auto" the faster of it and PyTorch."""
    times: dict[str, float]
    """Engine → how many times as long as the compiled network it takes, the median over rounds."""
    spread: dict[str, list[float]]
    """Engine → the lowest and the highest of these ratios."""
    auto: float
    """How many times as long as PyTorch at its fastest `engine="auto"` takes, the median over rounds."""
    bound: float
    """Milliseconds that the roofline allows."""
    work: float
    """Multiply-adds of kept weights, of all."""
    error: float
    """Largest difference from PyTorch, over the largest output."""
    rounds: int
    processor: str
    date: str

    @property
    def torch(self) -> float:
        """Times as long as the compiled network, of PyTorch at its fastest."""
        return min(value for name, value in self.times.items() if name.startswith("torch"))

    @property
    def key(self) -> tuple[object, ...]:
        """What no two rows share."""
        return (self.model, self.density, self.batch, self.threads, self.ticket, self.torch_compile)

    @property
    def torch_compile(self) -> bool:
        """Whether torch.compile was measured too, which takes minutes."""
        return "torch compile" in self.milliseconds

    @property
    def pruned(self) -> str:
        """How it was pruned, in a word."""
        return PRUNED.get(self.ticket, "ticket")


def read(path: Path | None) -> list[Row]:
    """The rows of a file, if it is there."""
    if path is None or not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def every(rows: Sequence[Row]) -> Iterator[list[str]]:
    """All rows that were measured beside ONNX Runtime."""
    yield ["network", "pruned", "density", "multiply-adds", "batch", "compiled, ms", "× ONNX Runtime", "× OpenVINO",
           "× PyTorch", "of the roofline"]  # fmt: skip
    for row in rows:
        if "onnxruntime" in row.times:
            low, high = row.spread["onnxruntime"]
            yield [
                *(NAMES[row.model], row.pruned, f"{row.density:.1%}", f"{row.work:.1%}", str(row.batch)),
                f"{row.milliseconds['compiled']:.3g}",
                f"{row.times['onnxruntime']:.1f} ({low:.1f}–{high:.1f})",
                *(f"{row.times['openvino']:.1f}" if "openvino" in row.times else "", f"{row.torch:.1f}"),
                f"{row.bound / row.milliseconds['compiled']:.0%}",
            ]


def summary(rows: Sequence[Row]) -> Iterator[list[str]]:
    """Densities of 20 % and 5 %, and tickets."""
    yield ["network", "pruned", "density", "batch", "compiled, ms", "times as fast as ONNX Runtime", "as OpenVINO",
           "as PyTorch"]  # fmt: skip
    for row in rows:
        if "onnxruntime" in row.times and (row.density in (0.2, 0.05) or row.pruned == "ticket"):
            yield [
                *(NAMES[row.model], row.pruned, f"{row.density:.1%}", str(row.batch)),
                f"{row.milliseconds['compiled']:.3g}",
                f"{row.times['onnxruntime']:.1f}",
                *(f"{row.times['openvino']:.1f}" if "openvino" in row.times else "", f"{row.torch:.1f}"),
            ]


def never_slower(rows: Sequence[Row]) -> Iterator[list[str]]:
    """What `engine="auto"` takes beside PyTorch at its fastest: for each network and density, by batch size."""
    batches = sorted({row.batch for row in rows if not row.torch_compile})
    yield ["network", "pruned", "density", *(f"batch {batch}" for batch in batches)]
    rows = [row for row in rows if not row.torch_compile]
    kinds = dict.fromkeys((row.model, row.ticket, row.density) for row in rows)
    for model, ticket, density in kinds:
        of_kind = [row for row in rows if (row.model, row.ticket, row.density) == (model, ticket, density)]
        cells = {row.batch: f"{row.auto:.2f}" for row in of_kind}
        yield [NAMES[model], of_kind[0].pruned, f"{density:.1%}", *(cells.get(batch, "") for batch in batches)]


def torch_compile(rows: Sequence[Row]) -> Iterator[list[str]]:
    """The three ways to run PyTorch beside compiled code: milliseconds."""
    engines = ("compiled", "auto", "torch eager", "torch channels-last", "torch compile")
    yield ["network", "density", "batch", *(f"{name}, ms" for name in engines)]
    for row in rows:
        if row.torch_compile:
            times = (f"{row.milliseconds[name]:.3g}" if name in row.milliseconds else "" for name in engines)
            yield [NAMES[row.model], f"{row.density:.1%}", str(row.batch), *times]


TABLES: Mapping[str, Callable[[Sequence[Row]], Iterator[list[str]]]] = {
    "every": every,
    "summary": summary,
    "never slower": never_slower,
    "torch.compile": torch_compile,
}


def markdown(lines: Iterator[list[str]]) -> str:
    """A table of a heading and further lines: the cells of numbers stand at the right."""
    heading, *body = lines
    number = re.compile(r"[\d.]+(%| \(.*\))?")
    right = [all(number.fullmatch(line[column]) or not line[column] for line in body) for column in range(len(heading))]
    rule = ["---:" if is_right else "---" for is_right in right]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heading, rule, *body))


def render(page: str, rows: Sequence[Row]) -> str:
    """The page with its tables made anew."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n\n{markdown(TABLES[match[2]](rows))}\n\n<!-- table ends -->"

    return re.sub(r"(<!-- table: ([\w. ]+) -->).*?<!-- table ends -->", table, page, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("rows", type=Path, help="the file of rows")
    parser.add_argument("pages", type=Path, nargs="+", help="pages whose tables are written anew")
    options = parser.parse_args()
    rows = read(options.rows)
    for page in options.pages:
        page.write_text(render(page.read_text(encoding="utf-8"), rows), encoding="utf-8")


if __name__ == "__main__":
    main()
