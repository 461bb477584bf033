"""The benchmark of inference: its pages have what its rows say, and a run adds rows that its tables show."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import inference, inference_rows
from benchmarks.inference_rows import TABLES, Row, markdown, read, render

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "docs/results/inference.jsonl"
PAGES = [ROOT / "docs/results/benchmarks.md", ROOT / "docs/howto/compile.md"]

ROW = Row(
    model="resnet20",
    density=0.05,
    batch=64,
    threads=1,
    ticket="pruned by layer",
    milliseconds={"compiled": 2.0, "auto": 2.01, "torch eager": 12.0, "torch channels-last": 10.0, "onnxruntime": 11.0},
    times={"torch eager": 6.0, "torch channels-last": 5.0, "onnxruntime": 5.5},
    spread={"torch eager": [5.9, 6.1], "torch channels-last": [4.9, 5.1], "onnxruntime": [5.4, 5.62]},
    auto=0.2,
    bound=1.0,
    work=0.05,
    error=1e-7,
    rounds=7,
    processor="a processor",
    date="2026-11-26",
)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_pages_have_what_the_rows_say(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<!-- table: " in text
    assert render(text, read(ROWS)) == text, "run python -m benchmarks.inference_rows as its docstring says"


def test_no_row_is_there_twice_and_outputs_are_pytorchs() -> None:
    rows = read(ROWS)
    assert len({row.key for row in rows}) == len(rows) > 40
    assert all(row.error < 1e-4 for row in rows)


def test_tables() -> None:
    (line,) = list(TABLES["every"]([ROW]))[1:]
    assert line == ["ResNet-20", "by layer", "5.0%", "5.0%", "64", "2", "5.5 (5.4–5.6)", "", "5.0", "50%"]
    (line,) = list(TABLES["summary"]([ROW, replace(ROW, density=0.1)]))[1:]
    assert line[-3:] == ["5.5", "", "5.0"]
    alone = replace(ROW, batch=1, auto=1.01, times={"torch eager": 6.0}, spread={"torch eager": [5.9, 6.1]})
    assert list(TABLES["every"]([alone]))[1:] == [], "not measured beside ONNX Runtime"
    assert list(TABLES["never slower"]([ROW, alone])) == [
        ["network", "pruned", "density", "batch 1", "batch 64"],
        ["ResNet-20", "by layer", "5.0%", "1.01", "0.20"],
    ]
    inductor = replace(ROW, milliseconds={**ROW.milliseconds, "torch compile": 9.0})
    assert inductor.key != ROW.key
    assert list(TABLES["torch.compile"]([ROW, inductor]))[1:] == [
        ["ResNet-20", "5.0%", "64", "2", "2.01", "12", "10", "9"]
    ]
    assert len(list(TABLES["never slower"]([inductor]))) == 1, "the heading alone"
    assert markdown(TABLES["never slower"]([ROW])) == (
        "| network | pruned | density | batch 64 |\n| --- | --- | ---: | ---: |\n| ResNet-20 | by layer | 5.0% | 0.20 |"
    )


def test_rendering_replaces_a_table_and_nothing_else() -> None:
    page = "before\n\n<!-- table: summary -->\nold\n<!-- table ends -->\n\nafter"
    made = render(page, [ROW])
    assert made.startswith("before\n\n<!-- table: summary -->\n\n| network |")
    assert made.endswith("5.0 |\n\n<!-- table ends -->\n\nafter")
    assert render(made, [ROW]) == made


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
def test_a_run_adds_rows_and_does_not_measure_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(inference, "AT_LEAST", 0.0)
    options = argparse.Namespace(
        models=["mlp"], densities=[1.0, 0.1], batches=[3], tickets=[], scope="layer", threads=1, rounds=2,
        torch_compile=False, only_torch=True, minutes=9.0, prepare=False, out=tmp_path / "rows.jsonl",
    )  # fmt: skip
    rows = inference.run(options)
    assert [(row.density, row.batch, row.rounds) for row in rows] == [(1.0, 3, 2), (0.1, 3, 2)]
    assert all(row.error < 1e-4 and row.auto > 0 and row.bound > 0 for row in rows)
    assert [row.work for row in rows] == [1.0, 0.1]
    text = options.out.read_text(encoding="utf-8")
    assert inference.run(options) == rows == read(options.out)
    assert options.out.read_text(encoding="utf-8") == text
    assert json.loads(text.splitlines()[0]) == asdict(rows[0])
    assert inference_rows.read(tmp_path / "none.jsonl") == []
    capsys.readouterr()
