"""Labels as they are published, and the classes that they become."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.data.labels import CELLS, Labels, numbered, numeric, parsed
from lottery_pools.errors import UserError


@given(st.sets(st.integers(0, 10**12), min_size=2, max_size=6), st.randoms())
def test_numbers_are_numbered_in_their_order_and_keep_their_names(values: set[int], random: object) -> None:
    labels = Labels(sorted(values) * 2)
    classes = numbered(labels, labels, "set")
    assert classes.names == tuple(str(value) for value in sorted(values))
    assert classes.train.tolist() == list(range(len(values))) * 2
    assert classes.test is not None
    assert classes.test.tolist() == classes.train.tolist()
    assert bool(classes.notes) == (sorted(values) != list(range(len(values))))


def test_names_are_numbered_in_alphabetical_order() -> None:
    classes = numbered(Labels(["wolf", "Ape", "emu", "wolf"]), None, "set")
    assert classes.names == ("Ape", "emu", "wolf")
    assert classes.train.tolist() == [2, 0, 1, 2]
    assert classes.test is None
    assert classes.notes == ()


def test_declared_names_keep_their_order_and_those_without_samples_are_left_out() -> None:
    declared = ("zebra", "ant", "bee", "cat")
    classes = numbered(Labels([3, 0, 0], declared), Labels([0, 3], declared), "set")
    assert classes.names == ("zebra", "cat")
    assert classes.train.tolist() == [1, 0, 0]
    assert classes.notes == ("2 of its 4 classes have no samples and are left out (ant, bee)",)
    assert numbered(Labels([0, 1], ("b", "a")), None, "set").names == ("b", "a")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (Labels([]), None, "set has no training samples"),
        (Labels(["a", "a"]), None, "set has one class only, 'a': give two or more"),
        (Labels([5, 5, 5]), None, "set has one class only, '5'"),
        (Labels(["a", "", "b"]), None, r"label '' in its train split: .* \(sample 1, from 0\)"),
        (Labels(["a", None, "b"]), None, r"label -1 in its train split: .* \(sample 1, from 0\)"),
        (Labels([1, 2]), Labels([2, 3]), r"label 3 in its test split: give labels 1, 2, as in train \(sample 1"),
        (Labels([10, 20, 30, 40]), Labels([50]), "label 50 in its test split: give labels 10, 20, 30, …, as in train"),
        (Labels(["a", "b"]), Labels(["a", "A"]), "label 'A' in its test split: give labels a, b, as in train"),
        (Labels([0, 1], ("a", "b")), Labels([1, 0], ("b", "a")), "other class names in its test split"),
        (
            Labels(["a", "b", "c"]),
            Labels(["c", "a"]),
            "3 classes in train, 2 in test: class 'b' is in one of them only",
        ),
        (Labels(list(range(100, 120))), None, "20 training samples and as many classes .* these are no classes"),
    ],
)
def test_labels_that_make_no_classes_are_refused(train: Labels, test: Labels | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        numbered(train, test, "set")
    assert "\n" not in str(caught.value)


def test_labels_are_hidden_where_none_is_known() -> None:
    assert not Labels([None, -1, ""]).present
    assert not Labels([]).present
    assert Labels([None, 0]).present == {0}


def test_several_numbers_a_sample() -> None:
    labels = Labels([f"1{CELLS}0.5", f"0{CELLS}-2e3"], columns=("a", "b"))
    assert parsed(labels, "set").tolist() == [[1, 0.5], [0, -2000]]
    with pytest.raises(
        UserError, match=r"set has labels 1, x \(sample 0, from 0\), which are no numbers: name the columns"
    ):
        parsed(Labels([f"1{CELLS}x"]), "set")


def test_several_labels_a_sample_are_checked() -> None:
    values = torch.tensor([[1.0, 0], [0, 2]])
    classes = numeric({"train": values, "test": values}, ("a", "b"), "regression", "set")
    assert classes.names == ("a", "b")
    assert classes.test is values
    with pytest.raises(UserError, match=r"set has b = 2 in its test split: give 0 or 1 .* \(sample 1, from 0\)"):
        numeric({"train": values.clamp(max=1), "test": values}, ("a", "b"), "multi-label", "set")
    with pytest.raises(UserError, match="set has a = inf in its train split: give finite numbers"):
        numeric({"train": values / 0.0 + 1}, ("a", "b"), "regression", "set")
    with pytest.raises(UserError, match="set has the same b in all samples of train: leave it out"):
        numeric({"train": values * torch.tensor([1, 0])}, ("a", "b"), "regression", "set")
