"""The values of the data wing: what is held where, and how samples are looked at."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.data.dataset import Dataset, Split
from lottery_pools.runs.seeds import generator

ROWS = torch.tensor([7, 2, 2, 9, 0])


def split(n: int = 10, side: int = 4) -> Split:
    images = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator(0, "pixels"))
    return Split(images, torch.arange(n))


def dataset(resized_crop: int | None = None) -> Dataset:
    samples = split(side=8)
    moments = torch.tensor([100.0, 110.0, 120.0]), torch.tensor([50.0, 60.0, 70.0])
    return Dataset(samples, samples, samples, samples, ("a", "b"), *moments, 0, False, resized_crop)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(1, 6))
def test_a_split_by_rows_is_the_split_of_these_samples(chosen: list[int], size: int) -> None:
    whole, indices = split(), torch.tensor(chosen)
    by_rows = whole.take(ROWS, large=0)
    copied = whole.take(ROWS)
    assert by_rows.stored is whole.stored
    assert copied.rows is None
    assert len(by_rows) == len(copied) == 5
    assert by_rows.nbytes == copied.nbytes == copied.stored.nbytes
    assert torch.equal(by_rows.images, copied.images)
    for chosen_split in (by_rows, copied):
        assert torch.equal(chosen_split.labels, ROWS)
        assert torch.equal(chosen_split.batch(indices), whole.images[ROWS[indices]])
        assert torch.equal(torch.cat(list(chosen_split.batches(size))), whole.images[ROWS])
        for large in (0, 10**6):
            subset = chosen_split.take(indices, large)
            assert torch.equal(subset.images, whole.images[ROWS[indices]])
            assert torch.equal(subset.labels, ROWS[indices])


@pytest.mark.parametrize(("large", "moved"), [(5 * 48, True), (5 * 48 - 1, False)])
def test_only_splits_up_to_a_size_move_whole_and_the_labels_always(large: int, moved: bool) -> None:
    whole = split()
    elsewhere = whole.take(ROWS, large=0).to("meta", large)
    assert elsewhere.labels.device.type == "meta"
    assert elsewhere.stored.device.type == ("meta" if moved else "cpu")
    assert len(elsewhere.stored) == (5 if moved else 10)
    assert elsewhere.batch(torch.tensor([1, 2])).device.type == "meta"
    assert [len(part) for part in elsewhere.batches(2)] == [2, 2, 1]


def test_a_dataset_moves_its_moments_and_keeps_one_split_for_both_choices() -> None:
    elsewhere = dataset().to("meta", large=0)
    assert elsewhere.epochs is elsewhere.validation
    assert elsewhere.device.type == elsewhere.train.labels.device.type == "meta"
    assert elsewhere.train.stored.device.type == "cpu"


def test_the_middle_is_looked_at_and_what_has_the_size_is_passed_on() -> None:
    plain, cropped = dataset(), dataset(6)
    images = plain.test.images
    assert plain.view(images) is images
    assert plain.input_shape == (3, 8, 8)
    assert cropped.input_shape == (3, 6, 6)
    assert torch.equal(cropped.view(images), images[:, :, 1:7, 1:7])
    assert torch.equal(cropped.view(cropped.view(images)), cropped.view(images))
    assert cropped.augment(images, cropped.draws(10, generator(0, "augment"))).shape == (10, 3, 6, 6)
