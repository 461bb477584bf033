"""How many multiply-adds a second a core of this machine reaches, where each loads its input from the nearest cache."""

from __future__ import annotations

import ctypes

import numpy as np

from lottery_pools.deploy import compiler, timing

PEAK = """
typedef float vec __attribute__((vector_size(64), aligned(4)));
__attribute__((visibility("default"))) float peak(const float *x, long rounds)
{
    x = (const float *)(((unsigned long)x + 63) & ~63ul); /* at the beginning of a cache line */
    vec sums[12] = {{0}}, w = *(const vec *)x;
    for (long round = 0; round < rounds; round++)
        for (int k = 0; k < 8; k++) {
            const float *p = x + 192 * k;
#pragma GCC unroll 12
            for (int i = 0; i < 12; i++)
                sums[i] += w * *(const vec *)(p + 16 * i);
            __asm__ volatile("" : "+m"(*(float *)x));
        }
#pragma GCC unroll 12
    for (int i = 1; i < 12; i++)
        sums[0] += sums[i];
    return sums[0][0];
}
"""
"""Loads of 16 floats, each multiplied and added to one of 12 sums: 8 · 12 · 16 multiply-adds a round."""


def rate() -> float:
    """Multiply-adds a second of one core, where each loads 16 floats from the nearest cache."""
    function = ctypes.CDLL(str(compiler.build(PEAK))).peak
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_long], ctypes.c_float
    x, rounds = np.zeros(2048, np.float32), 20_000
    spent = timing.in_turn({"peak": lambda: function(x.ctypes.data, rounds)}, 20)["peak"]
    return rounds * 8 * 12 * 16 / min(once.processor for once in spent)
