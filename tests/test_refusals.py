"""A command that is refused leaves nothing behind: no settings, no folder, no lock, no half of a file."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lottery_pools.cli import commands
from lottery_pools.errors import UserError
from lottery_pools.experiment import stages
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket
from tests.test_stages import ONE, tiny

SMALL = "--preset demo --limit 40 --seeds 0 --pruning.levels 1"
NETWORK = "--model.arguments.width 8 --model.arguments.depth 2"
"""That of the runs below."""
POOLED = "own/pools/average/level_01.safetensors"
REFUSED = {
    # settings that do not go together, with each other, the data or the network
    f"run {SMALL} --out new --pooling.methods averge": "unknown method",
    f"run {SMALL} --out new --pooling.methods other-seed --data.draw once": "needs a second seed",
    f"run {SMALL} --out new --pooling.targets 7": "this run has levels 0 to 1",
    f"run {SMALL} --out new --pooling.budget 1": "pooling.budget is 1",
    f"run {SMALL} --out new --pruning.rewind 999": "rewind",
    f"run {SMALL} --out new --pruning.densities 1e-9": "keeps none",
    f"run {SMALL} --out new --model.name mlp": "matches no tensor",
    f"run {SMALL} --out new --model.name resnet20": "takes samples of 3 dimensions",
    f"run {SMALL} --out new --data.name ./nowhere": "there is no such folder",
    f"run {SMALL} --out new --evaluation.corruptions sheer": "unknown corruption",
    f"run {SMALL} --out new --evaluation.trained-baselines longr": "unknown trained baseline",
    f"run {SMALL} --out new --evaluation.metric nowhere:f": "nowhere",
    f"run {SMALL} --out new --training.loss nowhere:f": "nowhere",
    f"run {SMALL} --out new --device cuda:99": "cannot be used here",
    f"run {SMALL} --out new --workers 0": "workers",
    f"run {SMALL} --out new --threads 0": "threads",
    f"run {SMALL} --name a/b": "no name of a folder",
    f"tickets {SMALL} --out new --pruning.levels 2000000000": "levels",
    f"tickets {SMALL} --out new --training.batch 1 --model.name tests.test_refusals:flat": "batch",
    "sweep --presets demo nowhere.toml --out new --limit 40": "nowhere.toml",
    "sweep --presets demo --set training.lr=0.1,high --out new --limit 40": "--training.lr is 'high'",
    "sweep --presets demo --set pooling.methods=average,averge --out new --limit 40 --seeds 0": "unknown method",
    "sweep --presets demo --out new --limit 40 --seeds 0 --only 9": "the sweep has runs 0 to 0",
    # a folder that is something else
    f"run {SMALL} --out own": "holds a run with",
    f"run {SMALL} --out own/config.toml": "choose another folder with --out",
    f"tickets {SMALL} --out own/report.html/deep": "choose another folder with --out",
    "pool nowhere": "is no run folder",
    "pool half": "tickets: train them first",
    "pool own --methods averge": "unknown method",
    "pool own --methods other-seed": "needs a second seed",
    "pool own --budget 1": "pooling.budget is 1",
    "pool own --targets 9": "this run has levels",
    "pool own --candidates-from half --allow-other-run": "has no ticket of level",
    "pool own --allow-other-run": "name it with --candidates-from",
    "pool own --data.name ./nowhere": "nowhere",
    "evaluate half": "tickets: train them first",
    "evaluate own --corruptions sheer": "unknown corruption",
    "evaluate own --corruptions shear --severities 9": "severit",
    "evaluate own --severities 1": "add --corruptions",
    "evaluate own --corruptions shear --corrupted-from nowhere": "corrupted_from",
    "diagnose half": "has no results of all tickets yet",
    "diagnose own --points 1": "points",
    "report half": "has no results yet",
    "report half --out new/deep/page.html": "has no results yet",
    "report own --publish own": "publish into a folder of its own",
    "report own half --out new.html": "has no results yet",
    "report own --reference half": "has no results yet",
    "replay nowhere.safetensors --out new.safetensors": "no ticket file",
    "replay own/tickets/level_01.safetensors --out new.safetensors": "has no recipe",
    "replay alone.safetensors --out new.safetensors": "lies beside no run",
    "inspect broken.safetensors": "is truncated",
    # other software's files
    "import --out new": "import needs checkpoints",
    "import nowhere.pt --preset demo --out new": "there is no checkpoint nowhere.pt",
    "import broken.pt --preset demo --out new": "is damaged or no PyTorch checkpoint",
    "import alone.safetensors --preset demo --out own": "holds a run already",
    "import other.safetensors --preset demo --out new": "other.safetensors",
    f"import {POOLED} --preset demo {NETWORK} --rewind broken.pt --out new": "broken.pt is damaged",
    f"import {POOLED} {POOLED} --preset demo {NETWORK} --out new": "density",
    "export broken.safetensors --out new": "is truncated",
    f"export {POOLED} --to nothing --out new": "unknown value of --to",
    f"export {POOLED} --to hub --out alone.safetensors": "hub is written to a folder",
    f"export {POOLED} --to torch-export --out own": "is written to a file",
    f"export {POOLED} --to torch-export --model.name nowhere:f --out new": "cannot be imported",
    "export other.safetensors --to torch-export --out new.pt2": "does not say which network",
    "export other.safetensors --to compiled --out new": "does not say which network",
    f"predict {POOLED} broken.npy": "broken.npy",
    "predict other.safetensors broken.npy": "does not say which network",
    "compile other.safetensors --out new": "does not say which network",
    f"compile {POOLED} --target z80 --out new": "z80",
    "presets nowhere": "unknown preset",
    "completion csh": "shell",
}
"""What is typed → what is said of it."""


def flat(classes: int) -> torch.nn.Module:
    """A network that BatchNorm keeps from being trained with single samples."""
    pooled = torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(), torch.nn.BatchNorm1d(4)
    return torch.nn.Sequential(torch.nn.Conv1d(1, 4, 5), *pooled, torch.nn.Linear(4, classes))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, one that lacks tickets and rows, and files that are not what they should be."""
    folder = tmp_path_factory.mktemp("refusals")
    stages.run(tiny(), folder / "own", ONE)
    shutil.copytree(folder / "own", folder / "half")
    for path in ("tickets/level_01.safetensors", "results.jsonl"):
        (folder / "half" / path).unlink()
    shutil.copy(folder / POOLED, folder / "alone.safetensors")
    (folder / "broken.safetensors").write_bytes((folder / POOLED).read_bytes()[:-100])
    for name in ("broken.pt", "broken.npy"):
        (folder / name).write_bytes(b"nothing of the kind")
    weights = {"a.weight": torch.ones(3)}
    files.save(Ticket(weights, {"a.weight": torch.ones(3, dtype=torch.bool)}, 1), folder / "other.safetensors")
    return folder


def everything(folder: Path) -> Iterator[tuple[str, bytes | None]]:
    """Every path below a folder, with the content of files."""
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)), path.read_bytes() if path.is_file() else None


@pytest.mark.parametrize("line", REFUSED)
def test_a_refused_command_leaves_nothing_behind(line: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("LOTTERY_POOLS_CACHE", str(place / "cache"))
    before = dict(everything(place))
    with pytest.raises(UserError) as refused:
        commands.dispatch(shlex.split(line))
    assert REFUSED[line] in str(refused.value)
    assert "\n" not in str(refused.value)
    assert dict(everything(place)) == before


def test_every_command_is_refused_somehow() -> None:
    assert {line.split()[0] for line in REFUSED} == set(commands.COMMANDS)
