"""Layouts: where channels, rows and columns lie, and what an unfolded source holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lottery_pools.deploy.layout import REGISTER, SETS, WAYS, Layout, Unfolded, bordered, rounded


def test_positions_count_borders() -> None:
    layout = Layout((2, 3, 4), unit=16, pitch=6, top=1, left=1, plane=30)
    assert layout.first == 7 * 16
    assert layout.position(1, 2, 3) == 30 + 3 * 6 + 4
    assert layout.position(0, -1, -1) == 0
    assert layout.floats == 2 * 30 * 16
    assert [rounded(n) for n in (0, 1, 16, 17)] == [0, 16, 16, 32]


@pytest.mark.parametrize("border", [(0, 0), (1, 1), (0, 2), (3, 1), (2, 0)])
@pytest.mark.parametrize("size", [(32, 32), (7, 5), (1, 40)])
def test_no_value_lies_in_the_border_of_another(size: tuple[int, int], border: tuple[int, int]) -> None:
    layout = bordered((5, *size), 16, border)
    rows, columns = (range(-edge, side + edge) for side, edge in zip(size, border, strict=True))
    all_places = {layout.position(c, y, x) for c in range(5) for y in rows for x in columns}
    inside = [layout.position(c, y, x) for c in range(5) for y in range(size[0]) for x in range(size[1])]
    assert len(set(inside)) == len(inside)
    assert min(all_places) >= 0
    assert (max(all_places) + 1) * 16 <= layout.floats
    outside = {
        layout.position(c, y, x)
        for c in range(5)
        for y in rows
        for x in columns
        if not (0 <= y < size[0] and 0 <= x < size[1])
    }
    assert not outside & set(inside)
    assert layout.has_zeros == (border != (0, 0))


@pytest.mark.parametrize("side", [32, 28, 16, 8, 7])
def test_a_tiles_inputs_do_not_crowd_in_some_of_the_caches_sets(side: int) -> None:
    layout = bordered((64, side, side), 16, (1, 1))
    lines = [layout.position(c, y, x) for c in range(16) for y in range(-1, 5) for x in range(-1, 5)]
    assert np.bincount(np.array(lines) % SETS).max() <= WAYS


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("size", [(4, 4), (9, 11)])
def test_taps_of_an_unfolded_source_do_not_meet(
    size: tuple[int, int], dilation: tuple[int, int], stride: tuple[int, int]
) -> None:
    padding, kernel = (1, 1), (3, 2)
    out = F.conv2d(torch.zeros(1, 1, *size), torch.zeros(1, 1, *kernel), None, stride, padding, dilation).shape[1:]
    unfolded = Unfolded((1, *size), (1, out[1], out[2]), kernel, stride, padding, dilation)
    taps = unfolded.taps()
    assert taps.shape == kernel
    assert unfolded.each == (out[1] * out[2] <= REGISTER)
    columns = np.sort(taps, axis=None).reshape(-1) if unfolded.each else taps[0]
    assert (np.diff(columns) >= out[1] * out[2]).all(), "each copy holds as much as the output"
    assert taps.max() + out[1] * out[2] <= unfolded.plane
