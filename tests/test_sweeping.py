"""The words of the command `sweep` become settings: every preset with every combination of values."""

from __future__ import annotations

from pathlib import Path

import pytest

from lottery_pools.cli import commands
from lottery_pools.cli.options import SweepOptions
from lottery_pools.cli.sweeping import variants
from lottery_pools.config import toml
from lottery_pools.config.schema import Config
from lottery_pools.errors import UserError


def made(*words: str, presets: tuple[str, ...] = ("demo",), seeds: tuple[int, ...] = ()) -> dict[str, Config]:
    return variants(SweepOptions(presets=presets, seeds=seeds, set=words), commands.sweep)


def test_every_preset_with_every_combination() -> None:
    settings = made(
        "training.lr=0.1,0.2", "pruning.levels=1,2", "training.epochs=5", presets=("demo", "cifar100-smoke")
    )
    assert list(settings)[:3] == [
        "demo,training.lr=0.1,pruning.levels=1",
        "demo,training.lr=0.1,pruning.levels=2",
        "demo,training.lr=0.2,pruning.levels=1",
    ]
    assert len(settings) == 8
    last = settings["cifar100-smoke,training.lr=0.2,pruning.levels=2"]
    assert (last.training.lr, last.pruning.levels, last.training.epochs) == (0.2, 2, 5)
    assert last.data == toml.preset("cifar100-smoke").data
    assert last.seeds == toml.preset("cifar100-smoke").seeds
    assert {config.seeds for config in made(seeds=(7, 8)).values()} == {(7, 8)}


def test_values_of_every_kind() -> None:
    settings = made("pooling.methods=average ties,swa", "data.flip=false", "training.clip-norm=none,1.5")
    assert [(config.pooling.methods, config.training.clip_norm) for config in settings.values()] == [
        (("average", "ties"), None),
        (("average", "ties"), 1.5),
        (("swa",), None),
        (("swa",), 1.5),
    ]
    assert next(iter(settings)) == "demo,pooling.methods=average+ties,training.clip_norm=none"
    assert not any(config.data.flip for config in settings.values())
    assert made("model.arguments.width=8")["demo"].model.arguments["width"] == 8


def test_a_preset_of_ones_own_is_called_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(toml.to_toml(toml.preset("demo")))
    assert list(made("training.lr=0.1,0.2", presets=(str(tmp_path / "mine.toml"),))) == [
        "mine,training.lr=0.1",
        "mine,training.lr=0.2",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("training.lrr=1",), "sweep has no option --training.lrr"),
        (("training.lr",), "is no setting: write NAME=VALUE"),
        (("training.lr=high",), "training.lr"),
        (("training.lr=0.1", "training.lr=0.2"), "names training.lr twice: give its values as training.lr=A,B"),
        (("training.lr=0.1,0.1",), "has demo,training.lr=0.1 twice"),
        (("seeds=0,1",), "sweep --set seeds is not a setting"),
        (("training.epochs=0,1",), "epochs"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        made(*words)
    assert "\n" not in str(caught.value)
