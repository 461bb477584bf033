"""The corruptions one image at a time in NumPy, SciPy and PIL: what the batched ones are tested and timed against.

Written for plainness from the published operations, in float64, and by another route than the package's wherever there
is one: HSV there and back, a loop over the pixels of the glass, SciPy's filters, zoom and map_coordinates, PIL's JPEG
and resize, components for Canny's hysteresis, all pairs of pixels for distances. Constants are the package's.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lottery_pools.data.corruptions.weather import ICE

Array = NDArray[Any]
Constants = tuple[float, ...]


class Draws(Protocol):
    """One image's random numbers; a shape is that of the numbers, a stream tells calls apart."""

    def uniform(self, *shape: int, stream: int = 0) -> Array: ...
    def normal(self, *shape: int, stream: int = 0) -> Array: ...
    def integers(self, low: int, high: int, *shape: int, stream: int = 0) -> Array: ...
    def poisson(self, means: Array) -> Array: ...


@dataclass(frozen=True)
class NumpyDraws:
    """Draws from NumPy's generator, as the published code has them."""

    rng: np.random.Generator

    def uniform(self, *shape: int, stream: int = 0) -> Array:
        return self.rng.random(shape)

    def normal(self, *shape: int, stream: int = 0) -> Array:
        return self.rng.standard_normal(shape)

    def integers(self, low: int, high: int, *shape: int, stream: int = 0) -> Array:
        return self.rng.integers(low, high, shape)

    def poisson(self, means: Array) -> Array:
        return self.rng.poisson(means)


def corrupt(image: Array, name: str, constants: Constants, draws: Draws) -> Array:
    """One image (h, w, 3) uint8 → the same, corrupted."""
    return np.clip(CORRUPTIONS[name](image, constants, draws) + 1e-9, 0, 255).astype(np.uint8)


def chw(draw: Array) -> Array:
    """Draws of shape (c, h, w) in the order of the image."""
    return draw.transpose(1, 2, 0)


def gaussian_noise(image: Array, c: Constants, draws: Draws) -> Array:
    x = image / 255
    return (x + c[0] * chw(draws.normal(3, *x.shape[:2]))) * 255


def shot_noise(image: Array, c: Constants, draws: Draws) -> Array:
    x = image.transpose(2, 0, 1) / 255
    return np.clip(chw(draws.poisson(x * c[0])) / c[0], 0, 1) * 255


def impulse_noise(image: Array, c: Constants, draws: Draws) -> Array:
    u = chw(draws.uniform(3, *image.shape[:2]))
    x = image / 255
    x[u < c[0]] = 0
    x[u < c[0] / 2] = 1
    return x * 255


def speckle_noise(image: Array, c: Constants, draws: Draws) -> Array:
    x = image / 255
    return (x + x * c[0] * chw(draws.normal(3, *x.shape[:2]))) * 255


def gaussian_blur(image: Array, c: Constants, draws: Draws) -> Array:
    return blurred(image / 255, c[0]) * 255


def blurred(x: Array, sigma: float) -> Array:
    return np.asarray(ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest"))


def glass_blur(image: Array, c: Constants, draws: Draws) -> Array:
    sigma, step, rounds = c[0], int(c[1]), int(c[2])
    h, w = image.shape[:2]
    x = (blurred(image / 255, sigma) * 255 + 1e-9).astype(np.uint8)
    shift = draws.integers(-step, step, rounds, 2, h, w)
    for k in range(rounds):
        for i in range(h - step, step, -1):
            for j in range(w - step, step, -1):
                dx, dy = shift[k, :, i, j]
                x[i, j], x[i + dy, j + dx] = x[i + dy, j + dx], x[i, j]  # views: what was published
    return blurred(x / 255, sigma) * 255


def defocus_blur(image: Array, c: Constants, draws: Draws) -> Array:
    radius, sigma = c
    reach, near = (8, 1) if radius <= 8 else (int(radius), 2)
    i, j = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (i**2 + j**2 <= radius**2).astype(float)
    kernel = ndimage.gaussian_filter(disk / disk.sum(), sigma, mode="mirror", radius=near)
    return (
        np.stack([ndimage.correlate(channel, kernel, mode="mirror") for channel in np.moveaxis(image / 255, 2, 0)], 2)
        * 255
    )


def smear(x: Array, radius: float, sigma: float, degrees: float) -> Array:
    """A Gaussian's half along a line, edges repeated, rounded: (h, w, c), 0 to 255."""
    width = 2 * int(np.ceil(radius)) + 1
    weights = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    rows, columns = np.mgrid[: x.shape[0], : x.shape[1]]
    total = np.zeros(x.shape)
    for k, weight in enumerate(weights):
        dx = int(np.ceil(k * np.cos(np.radians(degrees)) - 0.5))
        dy = int(np.ceil(k * np.sin(np.radians(degrees)) - 0.5))
        total += weight * x[np.clip(rows + dy, 0, x.shape[0] - 1), np.clip(columns + dx, 0, x.shape[1] - 1)]
    return np.floor(total + 0.5)


def motion_blur(image: Array, c: Constants, draws: Draws) -> Array:
    return smear(image, c[0], c[1], float(draws.uniform(1)[0]) * 90 - 45)


def clipped_zoom(x: Array, factor: float) -> Array:
    h = x.shape[0]
    inner = int(np.ceil(h / factor))
    top = (h - inner) // 2
    zoomed = ndimage.zoom(x[top : top + inner, top : top + inner], (factor, factor, 1), order=1)
    trim = (zoomed.shape[0] - h) // 2
    return np.asarray(zoomed[trim : trim + h, trim : trim + h])


def zoom_blur(image: Array, c: Constants, draws: Draws) -> Array:
    x = image / 255
    return (x + sum(clipped_zoom(x, factor) for factor in c)) / (len(c) + 1) * 255


def grey(x: Array) -> Array:
    return np.asarray(x @ np.array([0.299, 0.587, 0.114]))


def snow(image: Array, c: Constants, draws: Draws) -> Array:
    x = image / 255
    layer = clipped_zoom((c[0] + c[1] * draws.normal(1, *x.shape[:2])[0])[..., None], c[2])
    layer[layer < c[3]] = 0
    layer = np.floor(np.clip(layer, 0, 1) * 255)
    layer = smear(layer, c[4], c[5], float(draws.uniform(1, stream=1)[0]) * 90 - 135) / 255
    x = c[6] * x + (1 - c[6]) * np.maximum(x, grey(x)[..., None] * 1.5 + 0.5)
    return (x + layer + np.rot90(layer, 2)) * 255


def frost(image: Array, c: Constants, draws: Draws) -> Array:
    h, w = image.shape[:2]
    kind = ICE[int(c[2])][int(draws.integers(0, 5, 1, stream=1)[0])]
    i, j = np.meshgrid(np.fft.fftfreq(h), np.fft.fftfreq(w), indexing="ij")
    power = np.hypot(i, j)
    power[0, 0] = 1
    power = power**-kind.slope
    power[0, 0] = 0
    texture = np.fft.ifft2(np.fft.fft2(draws.normal(h, w)) * np.sqrt(power / power.mean())).real
    ice = (
        kind.mean + texture[..., None] * kind.deviation + np.array(kind.drift) * draws.normal(1, 1, 1, stream=2).ravel()
    )
    return np.asarray(c[0] * image + c[1] * np.floor(np.clip(ice, 0, 255)))


def plasma(u: Array, side: int, decay: float) -> Array:
    field = np.zeros((side, side))
    drawn, step, wobble = 0, side, 100.0

    def neighbours(i: Array, j: Array, steps: tuple[tuple[int, int], ...]) -> None:
        nonlocal drawn
        noise = u[drawn : drawn + i.size].reshape(i.shape) * 2 - 1
        drawn += i.size
        field[i, j] = sum(field[(i + a) % side, (j + b) % side] for a, b in steps) / 4 + noise * wobble * wobble

    while step >= 2:
        d = step // 2
        i, j = np.mgrid[0:side:step, 0:side:step]
        neighbours(i + d, j + d, ((d, d), (d, -d), (-d, d), (-d, -d)))
        neighbours(i, j + d, ((d, 0), (-d, 0), (0, d), (0, -d)))
        neighbours(i + d, j, ((d, 0), (-d, 0), (0, d), (0, -d)))
        step, wobble = d, wobble / decay
    field -= field.min()
    return np.asarray(field / field.max())


def fog(image: Array, c: Constants, draws: Draws) -> Array:
    x = image / 255
    h, w = x.shape[:2]
    side = 1
    while side < max(h, w):
        side *= 2
    brightest = x.max()
    x = x + c[0] * plasma(draws.uniform(side * side - 1), side, c[1])[:h, :w, None]
    return np.asarray(x * brightest / (brightest + c[0]) * 255)


def to_hsv(x: Array) -> tuple[Array, Array, Array]:
    value, low = x.max(2), x.min(2)
    spread = value - low
    safe = np.where(spread > 0, spread, 1)
    r, g, b = np.moveaxis(x, 2, 0)
    hue = np.where(value == b, 4 + (r - g) / safe, 0)
    hue = np.where(value == g, 2 + (b - r) / safe, hue)
    hue = np.where(value == r, (g - b) / safe, hue)
    hue = np.where(spread > 0, hue / 6 % 1, 0)
    return hue, np.where(spread > 0, spread / np.where(value > 0, value, 1), 0), value


def to_rgb(hue: Array, saturation: Array, value: Array) -> Array:
    sector = np.floor(hue * 6)
    f = hue * 6 - sector
    p, q, t = value * (1 - saturation), value * (1 - f * saturation), value * (1 - (1 - f) * saturation)
    choices = [(value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q)]
    which = sector.astype(int) % 6
    return np.stack([np.choose(which, [choice[k] for choice in choices]) for k in range(3)], 2)


def brightness(image: Array, c: Constants, draws: Draws) -> Array:
    hue, saturation, value = to_hsv(image / 255)
    return to_rgb(hue, saturation, np.clip(value + c[0], 0, 1)) * 255


def saturate(image: Array, c: Constants, draws: Draws) -> Array:
    hue, saturation, value = to_hsv(image / 255)
    return to_rgb(hue, np.clip(saturation * c[0] + c[1], 0, 1), value) * 255


def contrast(image: Array, c: Constants, draws: Draws) -> Array:
    x = image / 255
    means = x.mean(axis=(0, 1), keepdims=True)
    return np.asarray(((x - means) * c[0] + means) * 255)


def elastic_transform(image: Array, c: Constants, draws: Draws) -> Array:
    size, sigma, jitter = c
    x = image / 255
    h, w = x.shape[:2]
    centre, reach = np.array([h // 2, w // 2]), min(h, w) // 3
    points = centre + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = points + (draws.uniform(3, 2, stream=1) * 2 - 1) * jitter
    forth = np.linalg.solve(np.column_stack([points, np.ones(3)]), moved)  # [x y 1] @ forth = where (x, y) goes
    back = np.linalg.inv(np.column_stack([forth, [0, 0, 1]]))
    rows, columns = np.mgrid[:h, :w].astype(float)
    sources = np.stack([columns, rows, np.ones_like(rows)], -1) @ back
    x = np.stack(
        [
            ndimage.map_coordinates(ch, (sources[..., 1], sources[..., 0]), order=1, mode="mirror")
            for ch in np.moveaxis(x, 2, 0)
        ],
        2,
    )
    u = draws.uniform(2, h, w) * 2 - 1
    dx, dy = (ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3) * size for field in u)
    return (
        np.stack(
            [
                ndimage.map_coordinates(ch, (rows + dy, columns + dx), order=1, mode="reflect")
                for ch in np.moveaxis(x, 2, 0)
            ],
            2,
        )
        * 255
    )


def pixelate(image: Array, c: Constants, draws: Draws) -> Array:
    h, w = image.shape[:2]
    small = Image.fromarray(image).resize((int(w * c[0]), int(h * c[0])), Image.Resampling.BOX)
    return np.asarray(small.resize((w, h), Image.Resampling.BOX))


def jpeg_compression(image: Array, c: Constants, draws: Draws) -> Array:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(c[0]))
    return np.asarray(Image.open(file))


def canny(x: Array, low: int, high: int) -> Array:
    """Edges of an 8-bit image (h, w), bool."""
    x = x.astype(int)
    gx = ndimage.correlate1d(ndimage.correlate1d(x, [-1, 0, 1], 1, mode="nearest"), [1, 2, 1], 0, mode="nearest")
    gy = ndimage.correlate1d(ndimage.correlate1d(x, [-1, 0, 1], 0, mode="nearest"), [1, 2, 1], 1, mode="nearest")
    size = np.pad(np.abs(gx) + np.abs(gy), 1)
    kept = np.zeros(x.shape, bool)
    for i, j in np.argwhere(size[1:-1, 1:-1] > low):
        a, b = abs(int(gx[i, j])), abs(int(gy[i, j])) << 15
        m, around = size[i + 1, j + 1], size[i : i + 3, j : j + 3]
        if b < a * 13573:
            kept[i, j] = m > around[1, 0] and m >= around[1, 2]
        elif b > a * 13573 + (a << 16):
            kept[i, j] = m > around[0, 1] and m >= around[2, 1]
        else:
            s = -1 if (gx[i, j] < 0) != (gy[i, j] < 0) else 1
            kept[i, j] = m > around[0, 1 - s] and m > around[2, 1 + s]
    parts, _ = ndimage.label(kept, np.ones((3, 3)))
    strong = np.unique(parts[kept & (size[1:-1, 1:-1] > high)])
    return np.isin(parts, strong[strong > 0])


def chamfer(edge: Array) -> Array:
    """Distance to the nearest edge by steps of 1, 1.4 (diagonal) and 2.1969 (two and one), at most 20."""
    points = np.argwhere(edge)
    if not len(points):
        return np.full(edge.shape, 20.0)
    places = np.argwhere(np.ones_like(edge))
    apart = np.sort(np.abs(places[:, None] - points), axis=2)
    b, a = apart[..., 0], apart[..., 1]
    distance = np.where(a >= 2 * b, 2.1969 * b + (a - 2 * b), 2.1969 * (a - b) + 1.4 * (2 * b - a))
    return np.asarray(np.minimum(distance.min(axis=1), 20).reshape(edge.shape))


def equalise(x: Array) -> Array:
    counts = np.bincount(x.astype(int).ravel(), minlength=256)
    first = int(np.flatnonzero(counts)[0])
    if counts[first] == x.size:
        return x
    passed = counts.cumsum() - counts[first]
    return np.asarray(np.round(passed * (255 / (x.size - counts[first])))[x.astype(int)])


def spatter(image: Array, c: Constants, draws: Draws) -> Array:
    mean, deviation, sigma, threshold, strength, mud = c
    x = image / 255
    liquid = ndimage.gaussian_filter(mean + deviation * draws.normal(1, *x.shape[:2])[0], sigma, mode="nearest")
    if mud:
        cover = ndimage.gaussian_filter((liquid > threshold).astype(float), strength, mode="nearest")
        cover[cover < 0.8] = 0
        return np.asarray((x * (1 - cover[..., None]) + np.array([63, 42, 20]) / 255 * cover[..., None]) * 255)
    liquid[liquid < threshold] = 0
    liquid = np.floor(liquid * 255).astype(np.int64) % 256
    box = np.full((3, 3), 1 / 9)
    relief = np.floor(ndimage.correlate(chamfer(canny(liquid, 50, 150)), box, mode="mirror") + 1e-9)
    relief = ndimage.correlate(equalise(relief), np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]), mode="mirror")
    relief = np.round(ndimage.correlate(np.clip(relief, 0, 255), box, mode="mirror"))
    shade = liquid * relief
    if shade.max() > 0:
        shade = shade / shade.max()
    return np.asarray((x + strength * shade[..., None] * np.array([175, 238, 238]) / 255) * 255)


CORRUPTIONS: dict[str, Callable[[Array, Constants, Draws], Array]] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        frost,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
        speckle_noise,
        gaussian_blur,
        spatter,
        saturate,
    )
}
