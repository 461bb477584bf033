"""The commands `import`, `export` and `predict`, as people type them, on a folder as the paper's own code leaves it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as untyped_prune

import lottery_pools as lp
from lottery_pools.cli import commands, exchange_options
from lottery_pools.config import toml
from lottery_pools.config.trust import NOT_RUN
from lottery_pools.errors import Notice, UserError
from lottery_pools.exchange.export import FORMATS
from lottery_pools.experiment import measured
from lottery_pools.experiment import report as reports
from lottery_pools.runs import engine
from lottery_pools.tickets import files

images = pytest.importorskip("tests.image_sets")
prune: Any = untyped_prune

NETWORK = """
import torch
from torch import nn


class Normalize(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]))
        self.register_buffer("std", torch.tensor([0.2, 0.25, 0.3]))

    def forward(self, x):
        return (x - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.normalize = Normalize()
        self.conv1 = nn.Conv2d(3, 8, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        x = self.bn1(self.conv1(self.normalize(x))).relu()
        return self.fc(self.bn2(self.conv2(x)).relu().mean((2, 3)))


def build(classes=3):
    return Net(classes)
"""
LINES = """
lottery-pools import theirs --data.name photos --data.size 8 --model.name papernet:build --out runs/theirs
lottery-pools pool runs/theirs --trust-model --workers 1
lottery-pools evaluate runs/theirs --trust-model --workers 1
lottery-pools diagnose runs/theirs --trust-model --points 3 --workers 1
lottery-pools report runs/theirs
"""


def typed(line: str) -> None:
    words = shlex.split(line)
    assert words[0] == "lottery-pools"
    commands.dispatch(words[1:])


def train(network: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    network.train()
    for _ in range(6):
        optimizer.zero_grad()
        loss: Any = nn.functional.cross_entropy(network(inputs), labels)
        loss.backward()
        optimizer.step()
    network.eval()


def write_papers_folder(folder: Path, network: nn.Module, inputs: Tensor, labels: Tensor, tickets: int) -> None:
    """Iterative pruning as the paper's code does it, with masks and originals in the state_dict of each checkpoint."""
    folder.mkdir()
    rewind = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for state in range(tickets):
        train(network, inputs, labels)
        for name in ("checkpoint", "model_SA_best"):
            saved = {
                "state": state, "result": {"train_ta": [50.0]}, "epoch": 6, "state_dict": network.state_dict(),
                "best_sa": 50.0, "optimizer": {"param_groups": [{"lr": 0.1}]}, "init_weight": rewind,
            }  # fmt: skip
            torch.save(saved, folder / f"{state}{name}.pth.tar")
        layers = [network.get_submodule(name) for name in ("conv1", "conv2")]
        prune.global_unstructured([(layer, "weight") for layer in layers], prune.L1Unstructured, amount=0.2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `papernet.py`, the checkpoints `theirs` and the images `photos`."""
    folder = tmp_path_factory.mktemp("paper")
    images.image_folder(folder / "photos", "ant", "bee", "cow", n=14)
    (folder / "papernet.py").write_text(NETWORK)
    names: dict[str, Any] = {}
    exec(NETWORK, names)
    torch.manual_seed(0)
    files_of = [sorted((folder / "photos/train" / name).iterdir()) for name in ("ant", "bee", "cow")]
    pixels = [torch.from_numpy(np.asarray(images.Image.open(path)).copy()) for paths in files_of for path in paths]
    inputs = torch.stack(pixels).permute(0, 3, 1, 2) / 255
    labels = torch.arange(3).repeat_interleave(14)
    write_papers_folder(folder / "theirs", names["build"](), inputs, labels, 6)
    return folder


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(engine, "cores", lambda: 1)
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(place / "cache"))


@pytest.fixture(scope="module")
def run(place: Path, request: pytest.FixtureRequest) -> Path:
    """The run that the five lines leave."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "path", [*sys.path, str(place)])
        patch.setattr(engine, "cores", lambda: 1)
        patch.setenv("LOTTERY_POOLS_CACHE", str(place / "cache"))
        for number, line in enumerate(LINES.strip().splitlines()):
            if number:
                typed(line)
            else:
                with pytest.warns(Notice, match="has 'normalize.mean' and 'normalize.std', so it normalises samples"):
                    typed(line)
    return place / "runs/theirs"


def test_five_lines_of_shell_make_a_report_of_the_papers_checkpoints(run: Path) -> None:
    config = toml.of_folder(run, NOT_RUN)
    assert (config.data.mean, config.data.std) == ((0.0,), (1.0,))
    assert config.model.prunable == "convolutions"
    assert [round(density, 2) for density in config.pruning.schedule()] == [1.0, 0.8, 0.64, 0.51, 0.41, 0.33]
    assert (run / "report.html").exists()
    assert (run / "diagnosis_3.json").exists()
    typed("lottery-pools replay runs/theirs/pools/interpolation/level_03.safetensors --trust-model")


def test_imported_tickets_predict_what_their_own_code_predicts(run: Path) -> None:
    """Above all: the images are not normalised twice, once here and once in the network."""
    names: dict[str, Any] = {}
    exec(NETWORK, names)
    rows = {row.level: row for row in reports.read(run)[1] if row.method == "ticket" and row.split == "test"}
    paths = [path for name in ("ant", "bee", "cow") for path in sorted(Path("photos/test", name).iterdir())]
    pixels = torch.stack([torch.from_numpy(np.asarray(images.Image.open(path)).copy()) for path in paths])
    labels = torch.arange(3).repeat_interleave(14)
    for level in range(6):
        saved = torch.load(f"theirs/{level}model_SA_best.pth.tar", weights_only=True)["state_dict"]
        network = names["build"]()
        if level:
            for layer in (network.conv1, network.conv2):
                prune.identity(layer, "weight")
        network.load_state_dict(saved)
        with torch.inference_mode():
            logits = network.eval()(pixels.permute(0, 3, 1, 2) / 255)
        assert rows[level].correct == int((logits.argmax(1) == labels).sum())
        loss = nn.functional.cross_entropy(logits, labels)
        assert rows[level].loss == pytest.approx(float(loss), rel=1e-4)
        ready = lp.load_model(run / f"tickets/level_{level:02d}.safetensors", trust=True)
        with torch.inference_mode():
            torch.testing.assert_close(ready(ready.preprocess(paths)), logits)  # type: ignore[operator]


def test_import_of_checkpoints_of_another_network_says_which_the_settings_name(place: Path) -> None:
    with pytest.raises(UserError, match=r"\(the settings name the network 'resnet20': --model.name or"):
        typed("lottery-pools import theirs --data.name photos --data.size 8 --out runs/none")
    assert not (place / "runs/none").exists()


def test_import_says_what_it_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = LINES.strip().splitlines()[0].replace("runs/theirs", "runs/again")
    with pytest.warns(Notice, match="it is given images from 0 to 1"):
        typed(f"{line} --json")
    printed = json.loads(capsys.readouterr().out)
    assert printed["folder"] == "runs/again"
    assert [entry["file"] for entry in printed["tickets"]][:2] == [f"theirs/{n}model_SA_best.pth.tar" for n in range(2)]
    assert "masks in the checkpoint: conv1.weight, conv2.weight" in printed["tickets"][3]["notes"]
    with pytest.warns(Notice):
        typed(line.replace("again", "shown"))
    shown = capsys.readouterr().out
    assert "5model_SA_best.pth.tar" in shown
    assert "(all levels)" in shown
    assert "- assumed: the networks were trained on samples of 3×" in shown
    assert "- assumed: they were not trained on the validation samples (15% of the training set, drawn), which" in shown
    assert shown.endswith("Run: runs/shown; go on with `lottery-pools pool runs/shown --trust-model`\n")
    with pytest.warns(Notice):
        typed(line.replace("import theirs", "import theirs/3model_SA_best.pth.tar").replace("again", "single"))
    assert "a pool needs two or more, imported in one call" in capsys.readouterr().out
    assert (
        files.load(Path("runs/again/tickets/level_03.safetensors")).kept
        == files.load(run / "tickets/level_03.safetensors").kept
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "import needs checkpoints"),
        ("nowhere --data.name photos", "there is no checkpoint"),
        ("theirs --data.name nowhere", "unknown data set 'nowhere'"),
        ("theirs --data.name photos --model.name papernet:biuld", "did you mean 'build'"),
        ("theirs --data.name photos --data.size 8", "lack|is .* in the tensors of"),
        ("theirs --data.name photos --data.size 8 --model.name papernet:build --seeds 0 1", "has one seed"),
        (
            "theirs --data.name photos --data.size 8 --model.name papernet:build --out runs/theirs",
            "holds a run already",
        ),
        (
            "theirs --data.name photos --data.size 8 --model.name papernet:build --masks a.pt",
            "6 checkpoints and 1 masks",
        ),
        (
            "theirs --data.name photos --data.size 8 --model.name papernet:build --rewind a.pt",
            "there is no checkpoint a",
        ),
        ("theirs --data.name photos --data.size 8 --model.name papernet:build --model.prunable fc.*", "is not among"),
        ("theirs --mask a", "import has no option --mask: did you mean --masks?"),
    ],
)
@pytest.mark.usefixtures("run")
@pytest.mark.filterwarnings("ignore::lottery_pools.errors.Notice")
def test_a_mistake_in_import_is_one_line_and_nothing_is_written(options: str, message: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*") if path.is_file()}
    out = "" if "--out" in options else " --out runs/refused"
    with pytest.raises(UserError, match=message) as error:
        typed(f"lottery-pools import {options}{out if options else ''}")
    assert "\n" not in str(error.value)
    assert before == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*") if path.is_file()}
    assert not Path("runs/refused").exists()


def test_masks_prefix_and_tensors_to_leave_out_can_be_given() -> None:
    saved = torch.load("theirs/2model_SA_best.pth.tar", weights_only=True)["state_dict"]
    masks = {name: mask for name, mask in saved.items() if name.endswith("_mask")}
    weights = {f"student.{name.removesuffix('_orig')}": tensor for name, tensor in saved.items() if name not in masks}
    torch.save({**weights, "teacher.weight": torch.ones(2), "student.extra": torch.ones(3)}, "distilled.pt")
    torch.save(masks, "masks.pt")
    with pytest.warns(Notice, match="normalises samples itself"):
        typed(
            "lottery-pools import distilled.pt --masks masks.pt --prefix student. --leave-out extra --data.name photos "
            "--data.size 8 --model.name papernet:build --out runs/distilled --train-images 99"
        )
    ticket = files.load(Path("runs/distilled/tickets/level_00.safetensors"))
    assert ticket.density == pytest.approx(0.64, abs=0.01)
    assert ticket.origin["train_images"] == 99


# -- out


@pytest.mark.parametrize("to", get_args(exchange_options.Format))
def test_export_writes_every_format(to: str, run: Path, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    if to == "compiled" and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler")
    ticket = run / "pools/interpolation/level_02.safetensors"
    options = f"--to {to} --model.name papernet:build --out {tmp_path / 'out'}"
    typed(f"lottery-pools export {ticket} {options}" + (" --normalise" if to in ("onnx", "torch-export") else ""))
    assert (tmp_path / "out").exists()
    card = tmp_path / "out/README.md"
    assert to != "hub" or "on 42 test samples" in card.read_text()


def test_the_command_lines_formats_are_those_of_the_library() -> None:
    assert get_args(exchange_options.Format) == (*FORMATS, "compiled"), "C is written by the wing `deploy`"


def test_a_networks_code_runs_only_if_the_user_names_it(run: Path) -> None:
    ticket = run / "pools/interpolation/level_02.safetensors"
    lines = (f"export {ticket} --to torch-export", f"predict {ticket} photos/test", f"compile {ticket}")
    for line in (*lines, f"export {ticket} --to compiled", f"predict {ticket} photos/test --compiled"):
        with pytest.raises(UserError, match="names the network 'papernet:build', whose code would run"):
            typed(f"lottery-pools {line}")


def test_predict_names_classes_with_probabilities(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticket, image = run / "pools/interpolation/level_02.safetensors", "photos/test/bee/3.png"
    options = "--model.name papernet:build --top 2"
    typed(f"lottery-pools predict {ticket} {image} photos/test/ant {options} --json")
    predictions = json.loads(capsys.readouterr().out)["predictions"]
    assert [entry["sample"] for entry in predictions[:2]] == [image, "photos/test/ant/0.png"]
    assert len(predictions) == 15
    wanted = lp.predict(ticket, [image], trust=True).top(2)[0]
    assert [entry["class"] for entry in predictions[0]["classes"]] == [name for name, _ in wanted]
    probabilities = [entry["probability"] for entry in predictions[0]["classes"]]
    assert probabilities == pytest.approx([probability for _, probability in wanted])  # of a batch of another size
    typed(f"lottery-pools predict {ticket} {image} {options}")
    (name, chance), (second, _) = wanted
    assert capsys.readouterr().out.startswith(f"{image}: {name} {chance:.1%}, {second} ")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("", "predict needs images"),
        ("nowhere.png", "there is no file nowhere.png"),
        ("papernet.py", "cannot read papernet.py: cannot identify image file"),
        ("runs", "runs has no images"),
        ("photos --top 0", "--top is 0"),
        ("photos --batch 0", "batch is 0"),
    ],
)
def test_a_mistake_in_predict_is_one_line(inputs: str, message: str, run: Path) -> None:
    ticket = run / "tickets/level_02.safetensors"
    with pytest.raises(UserError, match=message):
        typed(f"lottery-pools predict {ticket} {inputs} --model.name papernet:build")


def test_the_figures_of_a_card_are_the_runs_rows(run: Path, tmp_path: Path) -> None:
    (row,) = (row for row in reports.read(run)[1] if (*row.key[:3], row.severity) == ("interpolation", 2, "test", 0))
    accuracy, *_ = measured.figures(run / "pools/interpolation/level_02.safetensors")
    assert accuracy.value == 100 * row.accuracy
    assert accuracy.interval is not None
    assert accuracy.interval[0] < accuracy.value < accuracy.interval[1]
    assert len(measured.figures(run / "tickets/level_02.safetensors")) == 3
    lp.save(files.load(run / "tickets/level_02.safetensors"), tmp_path / "level_02.safetensors")
    assert measured.figures(tmp_path / "level_02.safetensors") == ()


def test_exit_codes_of_the_three_commands(run: Path) -> None:
    for words in (["import"], ["export", "nowhere.safetensors"], ["predict", str(run), "x.png"]):
        done = subprocess.run([sys.executable, "-m", "lottery_pools", *words], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("lottery-pools: ")
        assert done.stderr.count("\n") == 1
