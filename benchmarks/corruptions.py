"""How much faster the batched corruptions are than NumPy, SciPy and PIL code that takes one image at a time.

`python -m benchmarks.corruptions [--images 500] [--parquet cifar100/test.parquet] [--common]`: every corruption and
severity on the same images, both sides in this one run and on as many threads; a table with the ratio by corruption
and in total. Exit code 1 if the total is below `--least`.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from benchmarks.reference_corruptions import Array, NumpyDraws
from benchmarks.reference_corruptions import corrupt as corrupt_one
from lottery_pools.data.corruptions import SEVERITIES, corrupt, names
from lottery_pools.data.corruptions.constants import CIFAR


def smooth_images(count: int) -> Array:
    """Random images (n, 32, 32, 3) uint8, smooth as photographs are."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((count, 32, 32, 3)), (0, 3, 3, 0))
    return np.asarray(np.clip(noise / noise.std() * 60 + 120, 0, 255).astype(np.uint8))


def parquet_images(path: Path, count: int) -> Array:
    """The first images of a parquet file of encoded 32 × 32 images."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    column = next(name for name in table.column_names if name.startswith("im"))
    encoded = table.column(column).slice(0, count).to_pylist()
    return np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in encoded])


def seconds_of_reference(images: Array, name: str, severity: int) -> float:
    drawn = NumpyDraws(np.random.default_rng(severity))
    start = time.perf_counter()
    for image in images:
        corrupt_one(image, name, CIFAR[name][severity - 1], drawn)
    return time.perf_counter() - start


def seconds_of_batched(images: torch.Tensor, name: str, severity: int) -> float:
    start = time.perf_counter()
    corrupt(images, name, severity, seed=0)
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--parquet", type=Path, help="take the images from here, not at random")
    parser.add_argument("--common", action="store_true", help="the 15 common corruptions only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--least", type=float, default=10.0, help="the total ratio below which this fails")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = (
        parquet_images(arguments.parquet, arguments.images) if arguments.parquet else smooth_images(arguments.images)
    )
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(arguments.device)

    print(f"{len(images)} images of 32 x 32, 5 severities, {arguments.device}, {arguments.threads} thread(s)")
    print(f"{'':20}{'one by one':>12}{'batched':>12}{'ratio':>8}{'batched images/s':>19}")
    total_reference = total_batched = 0.0
    chosen = names(extra=not arguments.common)
    for name in chosen:
        seconds_of_batched(batch[:8], name, 1)  # the first call also makes tables
        batched = sum(seconds_of_batched(batch, name, severity) for severity in SEVERITIES)
        reference = sum(seconds_of_reference(images, name, severity) for severity in SEVERITIES)
        total_reference += reference
        total_batched += batched
        print(line(name, reference, batched, len(images) * 5), flush=True)
    print(line("total", total_reference, total_batched, len(images) * 5 * len(chosen)))
    return int(total_reference < arguments.least * total_batched)


def line(name: str, reference: float, batched: float, count: int) -> str:
    return f"{name:20}{reference:>10.2f} s{batched:>10.3f} s{reference / batched:>8.1f}{count / batched:>19,.0f}"


if __name__ == "__main__":
    raise SystemExit(main())
