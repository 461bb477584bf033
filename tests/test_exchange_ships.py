"""What the demo's pool is exported to runs where this package is not, and is right as often as the report says."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lottery_pools.cli import commands
from lottery_pools.config import toml
from lottery_pools.data import sources
from lottery_pools.experiment import report as reports
from lottery_pools.experiment import stages
from lottery_pools.pooling.methods import DEFAULT
from lottery_pools.runs.folder import RunFolder
from tests.test_stages import ONE

ALONE = """
import sys
sys.modules["lottery_pools"] = None  # an import of it fails
import numpy as np
samples, labels = np.load("samples.npy"), np.load("labels.npy")
"""
COUNTED = "\nprint(int((np.asarray(logits).argmax(1) == labels).sum()))\n"
LEVEL = 2


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, made short, in `run`; its test samples beside it."""
    folder = tmp_path_factory.mktemp("shipped")
    demo = toml.preset("demo")
    config = dataclasses.replace(
        demo,
        seeds=(0,),
        data=dataclasses.replace(demo.data, train=500, validation=300, test=1000),
        training=dataclasses.replace(demo.training, epochs=6),
        pruning=dataclasses.replace(demo.pruning, levels=LEVEL, rewind=1),
        pooling=dataclasses.replace(demo.pooling, methods=("interpolation",), coefficients=(0.3, 0.6)),
    )
    stages.run(config, folder / "run", ONE)
    dataset = sources.load(config.data)
    np.save(folder / "samples.npy", dataset.test.images.numpy())
    np.save(folder / "labels.npy", dataset.test.labels.numpy())
    return folder


def correct(code: str, folder: Path) -> int:
    """How many test samples the code, which leaves `logits`, predicts correctly in a process without this package."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE + code + COUNTED], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def export(folder: Path, to: str, out: str, *options: str) -> Path:
    pooled = folder / f"run/pools/interpolation/level_{LEVEL:02d}.safetensors"
    commands.dispatch(["export", str(pooled), "--to", to, "--out", str(folder / out), *options])
    return folder / out


def reported(folder: Path) -> int:
    """How many test samples the pool predicts correctly, by the report's rows."""
    wanted = ("interpolation", LEVEL, "test", "none", 0)
    (row,) = (row for row in reports.read(folder / "run")[1] if row.key == wanted)
    assert row.n == 1000
    assert row.accuracy > 0.2  # it has learned something: chance is 0.1
    return row.correct


def test_an_onnx_file_has_the_accuracy_of_the_report(shipped: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    export(shipped, "onnx", "demo.onnx", "--normalise")
    code = "import onnxruntime\nlogits = onnxruntime.InferenceSession('demo.onnx').run(None, {'input': samples})[0]"
    assert correct(code, shipped) == reported(shipped)


def test_a_torch_export_program_has_the_accuracy_of_the_report(shipped: Path) -> None:
    export(shipped, "torch-export", "demo.pt2", "--normalise")
    code = "import torch\nlogits = torch.export.load('demo.pt2').module()(torch.from_numpy(samples)).detach()"
    assert correct(code, shipped) == reported(shipped)


def test_a_hub_folder_has_the_accuracy_of_the_report_and_its_card_says_so(shipped: Path) -> None:
    card = (export(shipped, "hub", "hub", "--licence", "mit") / "README.md").read_text(encoding="utf-8")
    for name in ("samples.npy", "labels.npy"):
        (shipped / "hub" / name).write_bytes((shipped / name).read_bytes())
    code = card.split("```python\n")[1].split("```")[0]
    tensors = "import torch\nsamples = torch.from_numpy(samples)\n"
    count = correct(f"{tensors}{code}\nlogits = logits.detach()", shipped / "hub")
    assert count == reported(shipped)
    assert f"| accuracy on 1,000 test samples | {count / 10:.2f} % |" in card
    assert 'license: "mit"' in card
    settings = json.loads((shipped / "hub/config.json").read_text())["lottery_pools"]
    assert settings["preprocessing"]["stored_shape"] == [1, 40]


@pytest.mark.slow
def test_the_demo_itself_ships_with_the_accuracy_of_its_report(tmp_path: Path) -> None:
    """All of the preset but three of its four seeds."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    config = toml.preset("demo").of_seed(4)
    stages.run(config, tmp_path / "run", ONE)
    test = sources.load(config.data).test
    for folder in (tmp_path, tmp_path / "hub"):
        folder.mkdir(exist_ok=True)
        np.save(folder / "samples.npy", test.images.numpy())
        np.save(folder / "labels.npy", test.labels.numpy())
    last = config.pruning.levels
    wanted = (DEFAULT, last, "test", "none", 0)
    (row,) = (row for row in reports.read(tmp_path / "run")[1] if row.key == wanted)
    assert row.n == len(test) == 5_000
    assert row.accuracy > 0.5
    pooled = str(RunFolder(tmp_path / "run").pool(DEFAULT, last))
    commands.dispatch(["export", pooled, "--to", "onnx", "--normalise", "--out", str(tmp_path / "demo.onnx")])
    code = "import onnxruntime\nlogits = onnxruntime.InferenceSession('demo.onnx').run(None, {'input': samples})[0]"
    assert correct(code, tmp_path) == row.correct
    commands.dispatch(["export", pooled, "--to", "hub", "--out", str(tmp_path / "hub")])
    card = (tmp_path / "hub/README.md").read_text(encoding="utf-8")
    code = card.split("```python\n")[1].split("```")[0]
    tensors = "import torch\nsamples = torch.from_numpy(samples)\n"
    assert correct(f"{tensors}{code}\nlogits = logits.detach()", tmp_path / "hub") == row.correct
    assert f"| accuracy on 5,000 test samples | {row.correct / 50:.2f} % |" in card
