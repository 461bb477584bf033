"""Nothing that a file names is run, by whichever command and on whichever way it comes in."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch

import lottery_pools as lp
from lottery_pools.cli import commands
from lottery_pools.cli.marks import walk
from lottery_pools.cli.options import OPTIONS
from lottery_pools.config import toml
from lottery_pools.config.fields import NamesCode
from lottery_pools.config.schema import Config, Data, Model, Pooling, Pruning, Training
from lottery_pools.config.trust import NOT_RUN, NOTHING, Trust, check, settings_naming_code, untrusted
from lottery_pools.errors import UserError
from lottery_pools.models import registry
from lottery_pools.tickets import files
from lottery_pools.tickets.ticket import Ticket

MARK = "it_ran"
"""A file that the stranger's code leaves."""
STRANGERS = f"""
import pathlib
pathlib.Path({MARK!r}).touch()
from lottery_pools.models.small import conv1d
def build(classes, input_shape, width=4):
    return conv1d(classes, input_shape, width=width)
class Nested:
    build = staticmethod(build)
"""
WAYS_IN = {
    "system": Model("os:system", {"command": f"touch {MARK}"}),
    "popen": Model("subprocess:Popen", {"args": f"touch {MARK}", "shell": True}),
    "pickle": Model("torch:load", {"f": "evil.pt", "weights_only": False}),
    "package of torch": Model("torch.hub:load", {"repo_or_dir": ".", "model": "evil", "source": "local"}),
    "builtin": Model("builtins:exec", {"source": f"open({MARK!r}, 'w')"}),
    "nested attribute": Model("strangers:Nested.build"),
    "dots for a colon": Model("strangers:__builtins__.open", {"file": MARK, "mode": "w"}),
    "module in the folder": Model("strangers:build"),
    "relative module": Model(".strangers:build"),
    "path": Model("./strangers.py:build"),
    "checkpoint of timm": Model("timm:resnet18", {"checkpoint_path": "evil.pt"}),
    "weights of torchvision": Model("torchvision:resnet18", {"weights": "IMAGENET1K_V1"}),
    "hub of timm": Model("timm:hf-hub:someone/evil", {"pretrained": True}),
}
PUBLISHED = Path(__file__).parents[1] / "docs/results/cifar10-longer"
POOLED = "seed_0/pools/average/level_01.safetensors"
COMMANDS = {
    "run": ["run", "--preset", "stranger/config.toml", "--out", "out"],
    "run, to be planned": ["run", "--preset", "stranger/config.toml", "--out", "out", "--dry-run"],
    "run, the same name for another setting": ["run", "--preset", "stranger/config.toml", "--name", "strangers:build"],
    "run in the folder": ["run", "--preset", "stranger/config.toml", "--out", "stranger"],
    "run, limited": ["run", "--preset", "stranger/config.toml", "--out", "out", "--limit", "20"],
    "tickets": ["tickets", "--preset", "stranger/config.toml", "--out", "out"],
    "tickets, to be planned": ["tickets", "--preset", "stranger/config.toml", "--out", "out", "--dry-run"],
    "pool": ["pool", "stranger"],
    "pool, to be planned": ["pool", "stranger", "--dry-run"],
    "evaluate": ["evaluate", "stranger"],
    "evaluate, to be planned": ["evaluate", "stranger", "--dry-run"],
    "evaluate, one seed": ["evaluate", "stranger/seed_0"],
    "diagnose": ["diagnose", "stranger"],
    "replay": ["replay", f"stranger/{POOLED}"],
    "replay, without the search": ["replay", f"stranger/{POOLED}", "--no-search"],
    "sweep": ["sweep", "--presets", "demo", "stranger/config.toml", "--out", "out"],
    "sweep, to be planned": ["sweep", "--presets", "stranger/config.toml", "--set", "training.lr=1,2", "--dry-run"],
    "sweep, one run": ["sweep", "--presets", "stranger/config.toml", "--out", "out", "--only", "0"],
    "import": ["import", f"stranger/{POOLED}", "--preset", "stranger/config.toml", "--out", "out"],
    "predict": ["predict", f"stranger/{POOLED}", "samples.npy"],
    "predict, compiled": ["predict", f"stranger/{POOLED}", "samples.npy", "--compiled"],
    "predict, by an exported folder": ["predict", "hub", "samples.npy"],
    "predict, by a compressed folder": ["predict", "compressed", "samples.npy"],
    "export as ONNX": ["export", f"stranger/{POOLED}", "--out", "out"],
    "export by torch.export": ["export", f"stranger/{POOLED}", "--to", "torch-export", "--out", "out"],
    "export as C": ["export", f"stranger/{POOLED}", "--to", "compiled", "--out", "out"],
    "compile": ["compile", f"stranger/{POOLED}", "--out", "out"],
}
"""Commands that would build the network that a stranger's file names: all are refused, and leave nothing behind."""
ONLY_READ = {
    "help": ["run", "--preset", "stranger/config.toml", "--help-all"],
    "help of an import": ["import", "--preset", "stranger/config.toml", "--help"],
    "presets": ["presets", "stranger/config.toml"],
    "completion": ["completion", "bash"],
    "inspect": ["inspect", f"stranger/{POOLED}"],
    "report": ["report", "stranger"],
    "report that publishes": ["report", "published", "--publish", "shared"],
    "report by a reference": ["report", "own", "--reference", "published"],
    "comparison": ["report", "published", "stranger", "--out", "both.html"],
    "pool of our own": ["pool", "own", "--candidates-from", "stranger/seed_0", "--allow-other-run"],
    "import of a pickle": ["import", "evil.pt", "--preset", "demo", "--out", "imported"],
    "import of a folder": ["import", "stranger/seed_0/tickets", "--preset", "demo", "--out", "imported"],
    "predict by a pickle": ["predict", "evil.pt", "samples.npy"],
    "predict a pickled array": ["predict", f"own/{POOLED}", "evil.npy"],
    "export for the hub": ["export", f"stranger/{POOLED}", "--to", "hub", "--out", "card"],
    "export of weights": ["export", f"stranger/{POOLED}", "--to", "state-dict", "--out", "weights.pt"],
    "export of a bitmask": ["export", f"stranger/{POOLED}", "--to", "compressed-tensors", "--out", "bitmask"],
}
"""Commands that have no need of that network, or are given other files of a stranger's."""


def test_every_command_is_tried() -> None:
    tried = {arguments[0] for arguments in (*COMMANDS.values(), *ONLY_READ.values())}
    assert tried == set(commands.COMMANDS)


def test_every_command_that_may_be_told_to_trust_a_file_is_tried() -> None:
    trusting = {name for name, kind in OPTIONS.items() if any(option.name == "--trust-model" for option in walk(kind))}
    assert {arguments[0] for arguments in COMMANDS.values()} >= trusting


def settings(model: Model) -> Config:
    return Config(
        name="stranger",
        seeds=(0, 1),
        data=Data(train=100, validation=50, test=50),
        model=model,
        training=Training(epochs=1, batch=50),
        pruning=Pruning(levels=1, rewind=0),
        pooling=Pooling(methods=("average",)),
    )


@pytest.fixture
def strangers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which a stranger's module and files lie."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "strangers", raising=False)
    (tmp_path / "strangers.py").write_text(STRANGERS)
    torch.save({"model": EvilPickle()}, tmp_path / "evil.pt")
    np.save(tmp_path / "evil.npy", np.array([EvilPickle()], object), allow_pickle=True)
    np.save(tmp_path / "samples.npy", np.zeros((2, 1, 40), np.float32))
    return tmp_path


class EvilPickle:
    """Leaves the mark if it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (MARK, "w")


def run_folder(folder: Path, model: Model) -> None:
    """A folder as a run leaves it, with tickets and a pool of some network, whose settings name `model`."""
    config = settings(model)
    network = registry.build("conv1d", {"width": 4}, 10, (1, 40), 0)
    weights = dict(network.state_dict())
    mask = {
        name: torch.ones_like(weights[name], dtype=torch.bool) for name in registry.prunable(network, "convolutions")
    }
    described = {"name": model.name, "arguments": dict(model.arguments), "classes": 10, "input_shape": [1, 40]}
    for seed in config.seeds:
        run = folder / f"seed_{seed}"
        origin = {"seed": seed, "model": described, "config": "0" * 16, "data": "mnist1d", "train_images": 1}
        for level in (0, 1):
            files.save(Ticket(weights, mask, level, origin), run / f"tickets/level_{level:02}.safetensors")
        pooled = {**origin, "recipe": [[0, 0.5]], "parents": {}, "candidates": ".", "target": 1, "device": "cpu"}
        pooled |= {"threads": 1, "method": "average", "search_images": 1, "density": 1.0}
        files.save(Ticket(weights, mask, 1, pooled), run / "pools/average/level_01.safetensors")
        (run / "config.toml").write_text(toml.to_toml(dataclasses.replace(config, seeds=(seed,))))
        # What `compile` leaves beside a ticket, and what Python and its tools look for in a folder.
        (run / "pools/average/level_01.compiled").mkdir()
        (run / "pools/average/level_01.compiled/network.so").write_bytes(b"\x7fELF")
        for name in ("sitecustomize.py", "conftest.py", "network.py", "__init__.py"):
            (run / name).write_text(STRANGERS)
    (folder / "config.toml").write_text(toml.to_toml(config))


def exported_folder(folder: Path, to: str, model: Model) -> None:
    """An exported network whose settings name `model`, beside code of its own."""
    described = {"name": model.name, "arguments": dict(model.arguments), "classes": 10, "input_shape": [1, 40]}
    ticket = files.load(Path("own") / POOLED)
    lp.export(ticket, to, folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["lottery_pools"]["model"] = described
    settings["auto_map"] = {"AutoModel": "network.build"}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "network.py").write_text(STRANGERS)


def published_folder(folder: Path, model: Model) -> None:
    """A run as `report --publish` leaves it, with settings and rows of a stranger's."""
    shutil.copytree(PUBLISHED, folder)
    config = toml.of_folder(folder, NOT_RUN)
    (folder / "config.toml").write_text(toml.to_toml(dataclasses.replace(config, model=model)))
    pools = [json.loads(line) for line in (folder / "pools.jsonl").read_text().splitlines()]
    lines = [json.dumps({**pool, "method": model.name, "scored_by": "strangers:build"}) for pool in pools]
    (folder / "pools.jsonl").write_text("\n".join(lines) + "\n")


QUICK = ("system", "pickle", "module in the folder")
"""The ways in that `make test` tries with commands that only read; `make test-all` tries all."""


@pytest.mark.parametrize("way", WAYS_IN)
def test_no_command_runs_what_a_file_names(way: str, strangers_folder: Path) -> None:
    run_folder(Path("stranger"), WAYS_IN[way])
    run_folder(Path("own"), Model(arguments={"width": 4}))
    for folder, to in (("hub", "hub"), ("compressed", "compressed-tensors")):
        exported_folder(Path(folder), to, WAYS_IN[way])
    before = {path: path.read_bytes() for path in everything(strangers_folder)}
    for command, arguments in COMMANDS.items():
        with pytest.raises(UserError) as refused:
            commands.dispatch(arguments)
        assert "\n" not in str(refused.value), command
        assert re.search(r"names the (code|network)|gives the network the argument", str(refused.value)), command
        assert re.search(r"--trust-model|--model\.name", str(refused.value)), command
    assert not Path("out").exists()
    assert {path: path.read_bytes() for path in everything(strangers_folder)} == before


def everything(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


@pytest.mark.parametrize("way", [way if way in QUICK else pytest.param(way, marks=pytest.mark.slow) for way in WAYS_IN])
def test_commands_that_only_read_run_nothing(
    way: str, strangers_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder(Path("stranger"), WAYS_IN[way])
    run_folder(Path("own"), Model(arguments={"width": 4}))
    published_folder(Path("published"), WAYS_IN[way])
    for arguments in ONLY_READ.values():
        with contextlib.suppress(UserError, SystemExit):  # help ends the process; a report needs rows
            commands.dispatch(arguments)
    assert not (strangers_folder / MARK).exists()
    assert not {"strangers", "network", "sitecustomize"} & {
        name for name, module in sys.modules.items() if str(strangers_folder) in str(getattr(module, "__file__", ""))
    }


@pytest.mark.parametrize("way", [way for way in WAYS_IN if way != "module in the folder"])
def test_some_ways_are_closed_even_to_those_who_trust(way: str, strangers_folder: Path) -> None:
    if WAYS_IN[way].name.startswith(("timm:", "torchvision:")):
        return  # these packages open the file by their own means
    run_folder(Path("stranger"), WAYS_IN[way])
    for trusting in (["--trust-model"], ["--model.name", WAYS_IN[way].name]):
        with pytest.raises(UserError, match=r"no such functions|importable|defined in"):
            commands.dispatch([*COMMANDS["run"], *trusting])
    assert not (strangers_folder / MARK).exists()


@pytest.mark.parametrize("trusting", [["--trust-model"], ["--model.name", "strangers:build"]])
def test_code_that_the_user_names_or_trusts_is_run(
    trusting: list[str], strangers_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder(Path("stranger"), Model("strangers:build", {"width": 3}))
    commands.dispatch([*COMMANDS["tickets, to be planned"], *trusting])
    assert "strangers:build (width 3)" in capsys.readouterr().out
    assert (strangers_folder / MARK).exists()


def test_a_factory_that_is_only_imported_by_the_module_is_refused(strangers_folder: Path) -> None:
    (strangers_folder / "strangers.py").write_text(
        "from os import system\nfrom functools import partial\nf = partial(print)"
    )
    for name, home in (("system", "posix|nt"), ("f", "functools")):
        with pytest.raises(UserError, match=rf"is defined in ({home}): name that module"):
            registry.build(f"strangers:{name}", {}, 10, (1, 40), 0)


def test_arguments_that_the_user_gives_are_the_users() -> None:
    config = Config(model=Model("timm:resnet18", {"pretrained": True, "in_chans": 3}))
    assert untrusted(config, NOTHING) == "gives the network the argument 'pretrained', which may read other files"
    assert untrusted(config, Trust(names=frozenset({"timm:resnet18"}))) is not None
    assert untrusted(config, Trust(arguments=frozenset({"pretrained"}))) is None
    check(config, "a.toml", Trust(everything=True))


def test_arguments_on_the_command_line_replace_those_of_the_file(strangers_folder: Path) -> None:
    run_folder(Path("stranger"), Model("timm:resnet18", {"pretrained": True}))
    arguments = ["--model.arguments.pretrained", "False"]
    with pytest.raises(UserError) as stop:  # of a network that does not fit the data, or because timm is not there
        commands.dispatch([*COMMANDS["run"], *arguments])
    assert "pretrained" not in str(stop.value)


def test_another_network_on_the_command_line_leaves_nothing_of_the_files(
    strangers_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder(Path("stranger"), WAYS_IN["system"])
    commands.dispatch([*COMMANDS["tickets, to be planned"], "--model.name", "conv1d"])
    assert "conv1d on mnist1d" in capsys.readouterr().out


def test_every_setting_that_says_it_may_name_code_is_guarded() -> None:
    guarded = dict(settings_naming_code(Config))
    text = (Path(__file__).parents[1] / "docs/cli.md").read_text()
    documented = [
        name for name, said in re.findall(r"^\| `(\S+)` \| .* \| (.*) \|$", text, re.MULTILINE) if ":f" in said
    ]
    assert "model.name" in documented
    assert [name for name in documented if name not in guarded] == []


@dataclasses.dataclass(frozen=True)
class WithMetrics(Config):
    """Settings that have a list of names of code."""

    metrics: Annotated[tuple[str, ...], NamesCode()] = ()


def test_lists_of_names_are_guarded_too() -> None:
    config = WithMetrics(metrics=("accuracy", "own:metric", "timm:metric"))
    assert untrusted(config, NOTHING) == "names the code 'own:metric' as metrics, which would run"
    assert untrusted(config, Trust(names=frozenset({"own:metric"}))) == (
        "names the code 'timm:metric' as metrics, which would run"  # timm has networks, no metrics
    )
    assert untrusted(config, Trust(names=frozenset({"own:metric", "timm:metric"}))) is None
