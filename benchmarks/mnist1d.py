"""Samples a second of the MNIST-1D generator, against one sample at a time in NumPy and SciPy."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lottery_pools.config.schema import Difficulty
from lottery_pools.data import mnist1d


def one_by_one(n: int, difficulty: Difficulty, random: np.random.Generator) -> NDArray[np.float64]:
    """`n` samples (n, length), each made on its own."""
    digits, points = mnist1d.templates().double().numpy(), 12 + difficulty.padding[1]
    grid, slope = np.linspace(0, 1, points), np.linspace(-0.5, 0.5, points)
    finished = np.linspace(0, 1, difficulty.final_seq_length)
    samples = []
    for i in range(n):
        padding = random.integers(difficulty.padding[0], difficulty.padding[1] + 1)
        padded = np.concatenate([digits[i % 10] + 1e-8, np.zeros(padding)])
        signal = np.interp(grid, np.linspace(0, 1, len(padded)), padded)
        signal *= 1 + difficulty.scale_coeff * (random.random() - 0.5)
        signal = np.roll(signal, random.integers(difficulty.max_translation))
        noise = gaussian_filter(difficulty.corr_noise_scale * random.standard_normal(points), 2)
        signal = np.where(signal != 0, signal, noise) + difficulty.iid_noise_scale * random.standard_normal(points)
        signal -= difficulty.shear_scale * (random.random() - 0.5) * slope
        samples.append(np.interp(finished, grid, signal))
    return np.stack(samples)


def rate(n: int, make: Callable[[], object]) -> float:
    """Samples a second, the best of three."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        make()
        seconds.append(time.perf_counter() - start)
    return n / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    n, difficulty = parser.parse_args().samples, Difficulty()
    ours = rate(n, lambda: mnist1d.generate(n, 0, difficulty))
    few = max(n // 20, 1)
    loop = rate(few, lambda: one_by_one(few, difficulty, np.random.default_rng(0)))
    print(f"generate    {ours:>12,.0f} samples/s on {torch.get_num_threads()} threads, {n:,} samples")
    print(f"one by one  {loop:>12,.0f} samples/s in NumPy and SciPy, {few:,} samples")
    print(f"ratio       {ours / loop:>12,.0f}")


if __name__ == "__main__":
    main()
