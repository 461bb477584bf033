"""Settings: validated when built, the same through TOML, identified by content."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools import config
from lottery_pools.config import Config, Data, Model, Pooling, Pruning, Training
from lottery_pools.errors import UserError


@pytest.mark.parametrize("name", config.presets())
def test_every_preset_is_read_and_survives_toml(name: str) -> None:
    found = config.preset(name)
    assert found.name == name
    assert config.from_dict(Config, tomllib.loads(config.to_toml(found))) == found


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
def test_any_settings_survive_toml(settings: Config) -> None:
    again = config.from_dict(Config, tomllib.loads(config.to_toml(settings)))
    assert again == settings
    assert config.identity(again) == config.identity(settings)


def test_identities_are_frozen() -> None:
    # Names of existing runs hang on these: a change here needs a new format version and a line in the CHANGELOG.
    assert config.identity(Pruning(levels=8)) == "aedd5b1e8c973b8a"
    assert config.identity((Model(), Training(lr=0.4))) == "9726db12b627b039"


def test_identity_tells_any_setting_apart() -> None:
    seen = {config.identity(Training())}
    for changed in ({"epochs": 3}, {"lr": 0.2}, {"keep": "last"}, {"clip_norm": 1.0}, {"milestones": (5.0,)}):
        seen.add(config.identity(dataclasses.replace(Training(), **changed)))
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Pooling(coefficients=(0.5, 1.0)), "α = 1.0"),
        (lambda: Pooling(coefficients=(0.0,)), "α = 0.0"),
        (lambda: Pooling(coefficients=()), "empty"),
        (lambda: Pooling(candidates=0), "pooling.candidates is 0"),
        (lambda: Pooling(recalibration=-1), "pooling.recalibration is -1"),
        (lambda: Pruning(rate=1.0), "pruning.rate is 1.0"),
        (lambda: Pruning(levels=-1), "pruning.levels is -1"),
        (lambda: Pruning(densities=(0.5, 0.6)), "0.6 after 0.5"),
        (lambda: Pruning(densities=(1.2,)), "1.2 after 1"),
        (lambda: Pruning(densities=(0.5, 0.0)), "0.0 after 0.5"),
        (lambda: Pruning(rewind=-1), "pruning.rewind is -1"),
        (lambda: Data(validation=0), "data.validation is 0"),
        (lambda: Data(epoch_share=1.0), "data.epoch_share is 1.0"),
        (lambda: Data(train=0), "data.train is 0"),
        (lambda: Data(crop=-1), "data.crop is -1"),
        (lambda: Training(epochs=0), "training.epochs is 0"),
        (lambda: Training(lr=0.0), "training.lr is 0.0"),
        (lambda: Training(warmup=200.0), "training.warmup is 200.0"),
        (lambda: Training(label_smoothing=1.0), "training.label_smoothing is 1.0"),
        (lambda: Training(clip_norm=0.0), "training.clip_norm is 0.0"),
        (lambda: Training(optimizer="adamw", nesterov=True), "nesterov"),
        (lambda: Config(seeds=()), "seeds is empty"),
        (lambda: Config(seeds=(1, 1)), "twice"),
        (lambda: Config(pruning=Pruning(rewind=182)), "pruning.rewind is epoch 182"),
        (lambda: Config(pooling=Pooling(targets=(19,))), "levels 0 to 18"),
    ],
)
def test_bad_settings_are_refused_by_name(build: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_schedule_is_rate_or_the_given_densities() -> None:
    assert Pruning(rate=0.2, levels=2).schedule() == pytest.approx((1.0, 0.8, 0.64))
    assert Pruning(densities=(0.5, 0.1)).schedule() == (1.0, 0.5, 0.1)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[training]\nepoch = 3", "'epoch': did you mean 'epochs'"),
        ("[training]\nepochs = '3'", "training: epochs is '3': give int"),
        ("[training]\nepochs = true", "epochs is True: give int"),
        ("[training]\noptimizer = 'adam'", "give sgd, adamw"),
        ("[data.difficulty]\npadding = [1]", "padding has 1 values: give 2"),
        ("seeds = 3", "seeds is 3"),
        ("seeds = [", "is not TOML"),
    ],
)
def test_a_bad_file_names_the_key(tmp_path: Path, toml: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(toml)
    with pytest.raises(UserError, match=message) as caught:
        config.preset(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_number_is_a_float() -> None:
    assert config.from_dict(Training, {"lr": 1, "milestones": [3]}) == Training(lr=1.0, milestones=(3.0,))


def test_unknown_preset_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown preset 'dmeo': did you mean 'demo'"):
        config.preset("dmeo")
    with pytest.raises(UserError, match="cannot read"):
        config.preset(str(tmp_path / "none.toml"))


def test_difference_names_the_first_setting() -> None:
    one, other = Config(), Config(training=Training(epochs=5), pruning=Pruning(rewind=1))
    assert config.difference(one, other) == "training.epochs = 182, not 5"
