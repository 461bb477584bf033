"""Settings as TOML: the same through it, identified by content, mistakes named."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.config import toml
from lottery_pools.config.schema import Config, Data, Evaluation, Model, Pooling, Pruning, Training
from lottery_pools.errors import UserError


@pytest.mark.parametrize("name", toml.presets())
def test_every_preset_is_read_and_survives_toml(name: str) -> None:
    preset = toml.preset(name)
    assert preset.name == name
    assert toml.from_dict(Config, tomllib.loads(toml.to_toml(preset))) == preset


@given(
    st.builds(
        Config,
        seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True).map(tuple),
        data=st.builds(Data, size=st.none() | st.integers(1, 64), crop=st.integers(0, 9), flip=st.booleans()),
        model=st.builds(
            Model,
            name=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=9),
            arguments=st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), st.integers() | st.booleans()),
        ),
        training=st.builds(Training, clip_norm=st.none() | st.floats(0.1, 9)),
        pooling=st.builds(Pooling, recalibration=st.just("all") | st.integers(0, 9999)),
    )
)
def test_any_settings_survive_toml(config: Config) -> None:
    reread = toml.from_dict(Config, tomllib.loads(toml.to_toml(config)))
    assert reread == config
    assert toml.identity(reread) == toml.identity(config)


def test_identities_are_frozen() -> None:
    # Names of existing runs hang on these: a change here needs a new format version and a line in the CHANGELOG.
    assert toml.identity(Pruning(levels=8)) == "aedd5b1e8c973b8a"
    assert toml.identity((Model(), Training(lr=0.4))) == "9726db12b627b039"


def test_identity_tells_any_setting_apart() -> None:
    seen = {toml.identity(Training())}
    for changed in ({"epochs": 3}, {"lr": 0.2}, {"keep": "last"}, {"clip_norm": 1.0}, {"milestones": (5.0,)}):
        seen.add(toml.identity(dataclasses.replace(Training(), **changed)))
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nepoch = 3", "'epoch': did you mean 'epochs'"),
        ("[training]\nepochs = '3'", "training: epochs is '3': give int"),
        ("[training]\nepochs = true", "epochs is True: give int"),
        ("[training]\noptimizer = 'adam'", "give sgd, adamw"),
        ("[training]\nprecision = 'float16'", "precision is 'float16': give float32, bfloat16"),
        ("[data.difficulty]\npadding = [1]", "padding has 1 values: give 2"),
        ("seeds = 3", "seeds is 3"),
        ("seeds = [", "is not TOML"),
    ],
)
def test_a_bad_file_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        toml.preset(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_setting_is_read_by_its_former_name(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('name = "old"\n[evaluation]\ncompetitors = ["sms", "longer"]\nbatch = 7\n')
    config = toml.of_folder(tmp_path)
    assert config == Config("old", evaluation=Evaluation(trained_baselines=("sms", "longer"), batch=7))
    assert "competitors" not in toml.to_toml(config)
    path.write_text('[evaluation]\ncompetitors = ["sms"]\ntrained_baselines = ["longer"]\n')
    with pytest.raises(UserError, match=r"has both evaluation.trained_baselines and .*: remove evaluation.competitors"):
        toml.read_toml(path)


def test_former_names_stand_for_settings_of_now() -> None:
    for former, now in toml.RENAMED.items():
        part, setting = now.split(".")
        assert setting in toml.to_dict(Config())[part]
        assert former.split(".")[0] == part
        assert former.split(".")[1] not in toml.to_dict(Config())[part]


def test_a_whole_number_is_a_float() -> None:
    assert toml.from_dict(Training, {"lr": 1, "milestones": [3]}) == Training(lr=1.0, milestones=(3.0,))


def test_unknown_preset_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown preset 'dmeo': did you mean 'demo'"):
        toml.preset("dmeo")
    with pytest.raises(UserError, match="cannot read"):
        toml.preset(str(tmp_path / "none.toml"))


def test_difference_names_the_first_setting() -> None:
    default, changed = Config(), Config(training=Training(epochs=5), pruning=Pruning(rewind=1))
    assert toml.difference(default, changed) == "training.epochs = 182, not 5"
    assert toml.difference(default, Config(seeds=(1,))) == "seeds = [0], not [1]"
    assert toml.difference(default, Config(data=Data(size=8))) == "data.size = none, not 8"
    assert toml.difference(default, default) == "none"


def test_what_has_no_effect_is_not_relevant() -> None:
    assert toml.relevant(Config()) == toml.to_dict(Config())
    values = toml.to_dict(Config(data=Data("cifar10")))
    del values["data"]["difficulty"]
    assert toml.relevant(Config(data=Data("cifar10"))) == values


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml")
    with pytest.raises(UserError, match=r"config\.toml is a pipe, which may never end"):
        toml.of_folder(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_and_windows_ends_of_line_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes("name = 'é'\r\n[training]\r\nepochs = 200\r\n".encode(encoding))
    config = toml.read_toml(path)
    assert (config.name, config.training.epochs) == ("é", 200)
