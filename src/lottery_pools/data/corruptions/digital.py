"""Digital: what storing and editing do to an image."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lottery_pools.data.corruptions import linear
from lottery_pools.data.corruptions.constants import Constants
from lottery_pools.data.corruptions.draws import Draws


def contrast(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Each channel drawn towards its mean; constant: the share of its contrast that is left."""
    mean = x.mean((2, 3), keepdim=True)
    return torch.lerp(mean, x, constants[0])


def saturate(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """The saturation of HSV changed, hue and value kept; constants: factor, summand.

    A pixel's channels lie below its value by fixed shares (its hue) of value · saturation. Grey has hue 0, red, as in
    the published code: adding saturation reddens it. Images of one channel have no saturation and stay as they are.
    """
    if x.shape[1] == 1:
        return x
    value, lowest = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    spread = value - lowest
    saturation = (spread / value.clamp(min=1) * constants[0] + constants[1]).clamp_(0, 1)
    shares = torch.where(spread > 0, (value - x) / spread.clamp(min=1), x.new_tensor([0.0, 1, 1]).view(3, 1, 1))
    return value * (1 - saturation * shares)


def pixelate(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Made smaller and larger again by PIL's box filter, equal to it; constant: the smaller side's share. Whole values.

    PIL resizes columns, then rows, and rounds after each.
    """
    sides = x.shape[2:]
    small = [int(side * constants[0]) for side in sides]
    for before, after in ((sides, small), (small, sides)):
        x = _round(x @ torch.from_numpy(linear.resize(before[1], after[1])).to(x.dtype).to(x.device).T)
        x = _round(torch.from_numpy(linear.resize(before[0], after[0])).to(x.dtype).to(x.device) @ x)
    return x


def elastic_transform(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """A random affine map, then a random smooth displacement; constants, in pixels: amount and σ of the latter, jitter.

    The jitter moves the three points that define the affine map. Both read bilinearly; the affine map mirrors the edge,
    the displacement reflects it, as SciPy's `map_coordinates`. Old versions of OpenCV, by which the published code
    maps affinely, round positions to 1/32 pixel; version 5 and this do not.
    """
    size, sigma, jitter = constants
    h, w = x.shape[2:]
    columns, rows = (
        torch.arange(w, device=x.device, dtype=x.dtype),
        torch.arange(h, device=x.device, dtype=x.dtype)[:, None],
    )
    # Three points (x, y) and where they go; the middle is (h, w) // 2 in that order, as published.
    a, b, reach = h // 2, w // 2, min(h, w) // 3
    points = x.new_tensor([[a + reach, b + reach], [a + reach, b - reach], [a - reach, b - reach]])
    moved = points + (draws.uniform(3, 2, stream=1) * 2 - 1) * jitter
    # A place is its shares of the two edges of the moved triangle; it is read at the same shares of the first one's.
    (px, py), (qx, qy) = (moved[:, k].sub(moved[:, 0]).T[..., None, None] for k in (1, 2))
    zx, zy = columns - moved[:, 0, 0, None, None], rows - moved[:, 0, 1, None, None]
    area = px * qy - py * qx
    p, q = (zx * qy - zy * qx) / area, (px * zy - py * zx) / area
    from_x, from_y = (
        points[0, k] + p * (points[1, k] - points[0, k]) + q * (points[2, k] - points[0, k]) for k in (0, 1)
    )
    x = linear.read_at(x, from_x, from_y, "mirror")
    if size == 0:
        return x
    smooth = [linear.gaussian(side, sigma, "reflect", 3) for side in (h, w)]
    dx, dy = (linear.separable(draws.uniform(2, h, w) * 2 - 1, *smooth) * size).unbind(1)
    return linear.read_at(x, columns + dx, rows + dy, "reflect")


LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""Steps of quantisation at quality 50: JPEG (ITU-T T.81), annex K."""


TRANSFORM = (
    (8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260),
    (10703, 4433, -4433, -10703),
    (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633),
    (4433, -10704, 10704, -4433),
    (2260, -6436, 9633, -11363),
)
"""Left half of the cosine transform in 13-bit fixed point, multiplied out from libjpeg's accurate integer algorithm;
the right half is its mirror image, negative in odd rows."""


def jpeg_compression(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Through JPEG and back, as PIL writes and reads it with libjpeg-turbo; constant: the quality. Whole values.

    The same whole-number steps: YCbCr in 16-bit fixed point, chroma halved (4:2:0) with alternating bias, the integer
    cosine transform, tables scaled by quality, the triangle filter that doubles chroma again. Only entropy coding,
    which loses nothing, is left out. One channel is coded as a grey image.
    """
    quality = int(constants[0])
    h, w = x.shape[2:]
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luminance, chrominance = (
        np.clip((np.array(table) * scale + 50) // 100, 1, 255) for table in (LUMINANCE, CHROMINANCE)
    )
    if x.shape[1] == 1:
        return _code(x, luminance)
    red, green, blue = F.pad(x, (0, -w % 16, 0, -h % 16), mode="replicate").int().unbind(1)
    y = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    cb = (-11059 * red - 21709 * green + 32768 * blue + (128 << 16) + 32767) >> 16
    cr = (32768 * red - 27439 * green - 5329 * blue + (128 << 16) + 32767) >> 16
    chroma = torch.stack([cb, cr], 1)
    four = chroma[..., ::2, ::2] + chroma[..., 1::2, ::2] + chroma[..., ::2, 1::2] + chroma[..., 1::2, 1::2]
    bias = torch.arange(four.shape[3], device=x.device, dtype=torch.int32) % 2 + 1
    y = _code(y[:, None].float(), luminance)[:, 0, :h, :w].int()
    halved = _code(((four + bias) >> 2).float(), chrominance)[..., : math.ceil(h / 2), : math.ceil(w / 2)]
    cb, cr = (_double(halved.int())[..., :h, :w] - 128).unbind(1)
    red, blue = ((factor * c + 32768) >> 16 for factor, c in ((91881, cr), (116130, cb)))
    green = (-22554 * cb - 46802 * cr + 32768) >> 16
    return torch.stack([y + red, y + green, y + blue], 1).clamp_(0, 255).float()


def _code(x: Tensor, steps: NDArray[np.int64]) -> Tensor:
    """Blocks of 8 × 8 transformed, quantised by `steps`, and transformed back, (n, c, h, w) → same."""
    h, w = x.shape[2:]
    x = F.pad(x, (0, -w % 8, 0, -h % 8), mode="replicate") - 128
    left = np.array(TRANSFORM)
    forward = np.hstack([left, np.where(np.arange(8) % 2, -1, 1)[:, None] * left[:, ::-1]])
    coefficients = _transform(_transform(x, forward, 11).mT, forward, 15).mT  # eight times those of JPEG
    table = torch.from_numpy(np.tile(steps, (x.shape[2] // 8, x.shape[3] // 8))).to(x.dtype).to(x.device)
    quantised = ((coefficients.abs() + 4 * table) / (8 * table)).floor_() * coefficients.sign() * table
    pixels = _transform(_transform(quantised.mT, forward.T, 11).mT, forward.T, 18)
    return (pixels + 128).clamp_(0, 255)[..., :h, :w]


def _transform(x: Tensor, matrix: NDArray[np.int64], shift: int) -> Tensor:
    """`matrix` (8, 8) times each run of eight columns, divided by 2^shift and rounded, in whole numbers.

    float32 holds whole numbers of 24 bits, so the matrix goes in two parts of 7 bits.
    """
    high, low = (torch.from_numpy(part).to(x.dtype).to(x.device).T for part in np.divmod(matrix, 128))
    runs = x.reshape(-1, 8)
    product = (runs @ high).int().mul_(128).add_((runs @ low).int())
    return product.add_(1 << (shift - 1)).bitwise_right_shift_(shift).float().view(x.shape)


def _double(x: Tensor) -> Tensor:
    """Twice as many rows and columns, each pixel 9/16, 3/16, 3/16, 1/16 of its four nearest; whole numbers."""
    around = linear.pad(x, 1, 1, "nearest")
    middle = 3 * around[..., 1:-1, :]
    tall = torch.stack([middle + around[..., :-2, :], middle + around[..., 2:, :]], 3).flatten(2, 3)
    middle = 3 * tall[..., 1:-1]
    wide = torch.stack([middle + tall[..., :-2] + 8, middle + tall[..., 2:] + 7], 4)
    return wide.flatten(3) >> 4


def _round(x: Tensor) -> Tensor:
    return x.add(0.5).floor_()
