"""The benchmark for a GPU runs on a CPU in small, and what it says follows from its rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu

ROOT = Path(__file__).parents[1]


def test_every_row_but_the_slow_ones_is_measured_on_a_cpu() -> None:
    for label, measure in gpu.measurements(gpu.TINY):
        if any(slow in label for slow in ("pooling", "sharing", "common", "deterministic")):
            continue
        row = measure()
        assert row["images_per_second"] > 0
        assert 0 < row.get("loss", 1.0) < 10


@pytest.mark.slow
def test_the_cost_of_equal_bytes_is_measured_in_a_process_of_its_own() -> None:
    (measure,) = [measure for label, measure in gpu.measurements(gpu.TINY) if "deterministic" in label]
    assert measure()["images_per_second"] > 0
    assert not torch.are_deterministic_algorithms_enabled()


def test_ratios_compare_equal_networks_precisions_and_batches() -> None:
    rows = {
        "vgg16 limit bfloat16 128": {"images_per_second": 50.0},
        "vgg16 launched bfloat16 128": {"images_per_second": 20.0},
        "vgg16 ours bfloat16 128": {"images_per_second": 40.0},
        "vgg16 deterministic bfloat16 128": {"images_per_second": 30.0},
        "vgg16 compiled bfloat16 128": {"images_per_second": 20.0},
        "vgg16 ours bfloat16 512": {"images_per_second": 45.0},
        "vgg16 common float32 128": {"images_per_second": 10.0},
        "vgg16 pooling best": {"seconds": 2.0},
    }
    assert list(gpu.ratios(rows)) == [
        "vgg16 ours bfloat16 128: 0.80 of limit",
        "vgg16 ours bfloat16 128: 2.00 of launched",
        "vgg16 ours bfloat16 128: 4.00 of common",
        "vgg16 deterministic bfloat16 128: 0.75 of ours",
        "vgg16 compiled bfloat16 128: 0.50 of ours",
    ]


def test_a_row_that_fails_stops_no_other_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.jsonl"
    measured: list[str] = []

    def broken() -> dict[str, float]:
        measured.append("broken")
        raise RuntimeError("out of memory")

    def whole() -> dict[str, float]:
        measured.append("whole")
        return {"images_per_second": 5.0}

    monkeypatch.setattr(gpu, "measurements", lambda setting: iter([("a limit 1", broken), ("b limit 1", whole)]))
    monkeypatch.setattr("sys.argv", ["gpu", "--tiny", "--out", str(out)])
    for _ in range(2):
        with pytest.raises(SystemExit, match="1"):
            gpu.main()
    assert measured == ["broken", "whole", "broken"]
    assert [json.loads(line)["row"] for line in out.read_text(encoding="utf-8").splitlines()] == ["b limit 1"]
    assert "a limit 1: failed (out of memory)" in capsys.readouterr().out


@pytest.mark.parametrize("network", ["vgg16", "resnet18"])
def test_the_committed_rows_reach_the_goals(network: str) -> None:
    lines = (ROOT / "docs/results/gpu.jsonl").read_text(encoding="utf-8").splitlines()
    speeds = {row["row"]: row.get("images_per_second") for row in map(json.loads, lines)}
    ours = speeds[f"{network} ours bfloat16 128"]
    assert ours >= 0.9 * speeds[f"{network} limit bfloat16 128"]
    if network == "resnet18":
        assert ours >= 2.4 * speeds["resnet18 common float32 128"]
