"""Corruptions by storing and editing: contrast, saturation, elastic deformation, fewer pixels, JPEG.

The package's docstring describes the arguments of all corruptions.
"""

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
    """Move each channel towards its mean. Constant: the share of the contrast that remains."""
    mean = x.mean((2, 3), keepdim=True)
    return torch.lerp(mean, x, constants[0])


def saturate(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Change the saturation of HSV; hue and value stay. Constants: factor, and a number that is added.

    In HSV, a channel is value · (1 - saturation · share), where the share of each channel follows from the hue. Grey
    has the hue of red, as in the published code, so that more saturation makes it red. Images of one channel have no
    saturation and stay as they are.
    """
    if x.shape[1] == 1:
        return x
    value, lowest = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    spread = value - lowest
    saturation = (spread / value.clamp(min=1) * constants[0] + constants[1]).clamp_(0, 1)
    shares = torch.where(spread > 0, (value - x) / spread.clamp(min=1), x.new_tensor([0.0, 1, 1]).view(3, 1, 1))
    return value * (1 - saturation * shares)


def pixelate(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Make the image smaller and larger again with Pillow's box filter. Constant: the factor of the sides.

    The values are whole, and equal to Pillow's: both resize columns, then rows, and round after each.
    """
    height, width = x.shape[2:]
    small = [int(side * constants[0]) for side in (height, width)]
    for before, after in (((height, width), small), (small, (height, width))):
        x = _round(x @ _matrix(linear.resize(before[1], after[1]), x).T)
        x = _round(_matrix(linear.resize(before[0], after[0]), x) @ x)
    return x


def elastic_transform(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Deform by a random affine map, then by a random smooth displacement of each pixel.

    Constants, in pixels: amount of the displacement, σ of its smoothing, jitter of the affine map (`_affine_places`).
    Both read between pixels by bilinear interpolation. Beyond the edge, the affine map mirrors the image, and the
    displacement reflects it, as SciPy's `map_coordinates` does. The published code makes the affine map with OpenCV,
    whose old versions round places to 1/32 pixel; version 5 and this function do not.
    """
    amount, sigma, jitter = constants
    h, w = x.shape[2:]
    columns = torch.arange(w, device=x.device, dtype=x.dtype)
    rows = torch.arange(h, device=x.device, dtype=x.dtype)[:, None]
    x = linear.read_at(x, *_affine_places(columns, rows, (draws.uniform(3, 2, stream=1) * 2 - 1) * jitter), "mirror")
    if amount == 0:
        return x
    smoothing = [linear.gaussian(side, sigma, "reflect", 3) for side in (h, w)]
    dx, dy = (linear.separable(draws.uniform(2, h, w) * 2 - 1, *smoothing) * amount).unbind(1)
    return linear.read_at(x, columns + dx, rows + dy, "reflect")


def _affine_places(columns: Tensor, rows: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor]:
    """The places that each pixel is read from under the affine map which moves three points by `shifts`.

    The pixel is expressed by its shares of two edges of the moved triangle, and read at the same shares of the edges of
    the original one.

    Args:
        columns: Column of each pixel, (w,).
        rows: Row of each pixel, (h, 1).
        shifts: By how much each point of the triangle is moved, (n, 3, 2): x and y.

    Returns:
        Columns and rows of the places, (n, h, w) each.
    """
    h, w = len(rows), len(columns)
    # The published code takes (h, w) // 2 for the centre (x, y), in that order.
    centre_x, centre_y, reach = h // 2, w // 2, min(h, w) // 3
    points = shifts.new_tensor(
        [
            [centre_x + reach, centre_y + reach],
            [centre_x + reach, centre_y - reach],
            [centre_x - reach, centre_y - reach],
        ]
    )
    moved = points + shifts
    (px, py), (qx, qy) = (moved[:, k].sub(moved[:, 0]).T[..., None, None] for k in (1, 2))
    zx, zy = columns - moved[:, 0, 0, None, None], rows - moved[:, 0, 1, None, None]
    area = px * qy - py * qx
    p, q = (zx * qy - zy * qx) / area, (px * zy - py * zx) / area
    from_x, from_y = (
        points[0, k] + p * (points[1, k] - points[0, k]) + q * (points[2, k] - points[0, k]) for k in (0, 1)
    )
    return from_x, from_y


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
"""The steps of quantisation at quality 50, from annex K of the JPEG standard (ITU-T T.81)."""


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
"""The left half of the cosine transform, in 13-bit fixed point: the accurate integer algorithm of libjpeg, multiplied
out. The right half is its mirror image, with the opposite sign in odd rows."""


def jpeg_compression(x: Tensor, constants: Constants, draws: Draws) -> Tensor:
    """Code as JPEG and decode, as Pillow does with libjpeg-turbo. Constant: the quality, 1 to 100.

    The values are whole, and equal to Pillow's, because all steps are those of libjpeg in whole numbers: YCbCr in
    16-bit fixed point, chroma at half the resolution (4:2:0), integer cosine transform, and tables of quantisation
    scaled by the quality. Only the entropy coding is left out, which loses nothing. Images of one channel are coded as
    grey images.
    """
    quality = int(constants[0])
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luminance, chrominance = (
        np.clip((np.array(table) * scale + 50) // 100, 1, 255) for table in (LUMINANCE, CHROMINANCE)
    )
    if x.shape[1] == 1:
        return _code(x, luminance)
    h, w = x.shape[2:]
    y, chroma = _ycc_from_rgb(F.pad(x, (0, -w % 16, 0, -h % 16), mode="replicate").int())
    y = _code(y.float(), luminance)[..., :h, :w].int()
    halved = _code(_halved(chroma).float(), chrominance)[..., : math.ceil(h / 2), : math.ceil(w / 2)]
    return _rgb_from_ycc(y, _doubled(halved.int())[..., :h, :w])


def _ycc_from_rgb(x: Tensor) -> tuple[Tensor, Tensor]:
    """Luma (n, 1, h, w) and chroma (n, 2, h, w) of images (n, 3, h, w), whole numbers, in 16-bit fixed point."""
    red, green, blue = x.unbind(1)
    y = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    cb = (-11059 * red - 21709 * green + 32768 * blue + (128 << 16) + 32767) >> 16
    cr = (32768 * red - 27439 * green - 5329 * blue + (128 << 16) + 32767) >> 16
    return y[:, None], torch.stack([cb, cr], 1)


def _rgb_from_ycc(y: Tensor, chroma: Tensor) -> Tensor:
    """Images (n, 3, h, w) float32 from 0 to 255: the reverse of `_ycc_from_rgb`."""
    y, (cb, cr) = y[:, 0], (chroma - 128).unbind(1)
    red, blue = ((factor * c + 32768) >> 16 for factor, c in ((91881, cr), (116130, cb)))
    green = (-22554 * cb - 46802 * cr + 32768) >> 16
    return torch.stack([y + red, y + green, y + blue], 1).clamp_(0, 255).float()


def _halved(x: Tensor) -> Tensor:
    """The means of blocks of 2 × 2 pixels, whole numbers: like libjpeg, rounded by a bias that alternates by column."""
    total = x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]
    bias = torch.arange(total.shape[3], device=x.device, dtype=torch.int32) % 2 + 1
    return (total + bias) >> 2


def _doubled(x: Tensor) -> Tensor:
    """Twice as many rows and columns: each pixel is 9/16, 3/16, 3/16, 1/16 of its four nearest; whole numbers."""
    padded = linear.pad(x, 1, 1, "nearest")
    middle = 3 * padded[..., 1:-1, :]
    tall = torch.stack([middle + padded[..., :-2, :], middle + padded[..., 2:, :]], 3).flatten(2, 3)
    middle = 3 * tall[..., 1:-1]
    wide = torch.stack([middle + tall[..., :-2] + 8, middle + tall[..., 2:] + 7], 4)
    return wide.flatten(3) >> 4


def _code(x: Tensor, steps: NDArray[np.int64]) -> Tensor:
    """Transform each block of 8 × 8 pixels, quantise it by `steps` (8, 8), and transform it back; (n, c, h, w)."""
    h, w = x.shape[2:]
    x = F.pad(x, (0, -w % 8, 0, -h % 8), mode="replicate") - 128
    left = np.array(TRANSFORM)
    forward = np.hstack([left, np.where(np.arange(8) % 2, -1, 1)[:, None] * left[:, ::-1]])
    coefficients = _transform(_transform(x, forward, 11).mT, forward, 15).mT  # eight times the coefficients of JPEG
    table = _matrix(np.tile(steps, (x.shape[2] // 8, x.shape[3] // 8)), x)
    quantised = ((coefficients.abs() + 4 * table) / (8 * table)).floor_() * coefficients.sign() * table
    pixels = _transform(_transform(quantised.mT, forward.T, 11).mT, forward.T, 18)
    return (pixels + 128).clamp_(0, 255)[..., :h, :w]


def _transform(x: Tensor, matrix: NDArray[np.int64], shift: int) -> Tensor:
    """Multiply each run of eight columns by `matrix` (8, 8), divide by 2^shift and round, all in whole numbers.

    float32 holds whole numbers of 24 bits only, so that the matrix is split into two parts of 7 bits.
    """
    high, low = (_matrix(half, x).T for half in np.divmod(matrix, 128))
    runs = x.reshape(-1, 8)
    product = (runs @ high).int().mul_(128).add_((runs @ low).int())
    return product.add_(1 << (shift - 1)).bitwise_right_shift_(shift).float().view(x.shape)


def _matrix(values: NDArray[np.generic], like: Tensor) -> Tensor:
    """A matrix of the type and on the device of `like`."""
    return torch.from_numpy(values).to(like.dtype).to(like.device)


def _round(x: Tensor) -> Tensor:
    """Round to whole numbers, halves up."""
    return x.add(0.5).floor_()
