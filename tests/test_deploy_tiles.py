"""Tiles: within registers and grid, and chosen by density."""

from __future__ import annotations

import numpy as np
import pytest

from lottery_pools.deploy.graph import Convolution
from lottery_pools.deploy.tiles import SUMS, Grid, Reach, choose


def layer(density: float, channels: int = 64) -> Convolution:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(channels, channels, 3, 3)) * (
        generator.random((channels, channels, 3, 3)) < density
    )
    return Convolution("y", "x", weight.astype(np.float32), np.zeros(channels, np.float32), padding=(1, 1))


GRID = Grid(8, 8, 1, (160, 16), (160, 16))
REACH = Reach(0, 0, 16, (3, 3), (1, 1), (1, 1))


@pytest.mark.parametrize("target", SUMS)
@pytest.mark.parametrize("density", [0.0, 0.02, 0.3, 1.0])
def test_a_tile_fits_its_registers_and_its_grid(density: float, target: str) -> None:
    tile = choose(layer(density), GRID, REACH, target)
    assert tile.rows * tile.columns * tile.together <= SUMS[target]
    assert tile.rows <= GRID.rows
    assert tile.columns <= GRID.columns
    assert 1 <= tile.chains <= 4
    assert 1 <= tile.block <= 64


def test_dense_layers_share_their_inputs_between_outputs_and_sparse_ones_do_not() -> None:
    assert choose(layer(1.0), GRID, REACH, "avx512").together == 2
    assert choose(layer(0.3), GRID, REACH, "avx512").together == 1


def test_many_weights_take_smaller_blocks_than_few() -> None:
    many, few = (choose(layer(density, 256), GRID, REACH, "avx512") for density in (0.3, 0.005))
    assert many.block < few.block


def test_one_position_is_added_up_in_several_chains() -> None:
    assert choose(layer(0.1), Grid(1, 1, 1, (0, 16), (0, 16)), REACH, "avx512").chains == 4
