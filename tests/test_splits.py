"""Names of splits."""

from __future__ import annotations

import pytest

from lottery_pools.data.splits import held_out, split_of, training
from lottery_pools.errors import UserError


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("TRAINING", "training"),
        ("test-00000-of-00003", "test"),
        ("val2017", "val"),
        ("Valid_images", "valid"),
        ("dev.1", "dev"),
        ("trains", None),
        ("testament", None),
        ("evaluated", None),
        ("1train", None),
        ("", None),
    ],
)
def test_a_split_is_known_by_the_first_word(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_the_test_split_reports_before_all_others() -> None:
    assert held_out(["dev", "val", "train", "test", "other"]) == ["test", "val", "dev"]
    assert held_out(["train"]) == []


def test_one_training_split_is_needed() -> None:
    assert training({"training": 1, "test": 2}, "set") == ("training", 1)
    with pytest.raises(UserError, match="set has no train split: give"):
        training({"test": 2}, "set")
    with pytest.raises(UserError, match="set has train and training: give"):
        training({"train": 1, "training": 2}, "set")
