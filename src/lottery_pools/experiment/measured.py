"""What a run measured of one of its networks, as the figures of a model card."""

from __future__ import annotations

from pathlib import Path

from lottery_pools.evaluation.intervals import proportion_interval
from lottery_pools.exchange.card import Figure
from lottery_pools.runs import results
from lottery_pools.runs.folder import RunFolder
from lottery_pools.runs.rows import Row, clean
from lottery_pools.tickets import files


def figures(file: Path) -> tuple[Figure, ...]:
    """The figures of a classifier in a file of a run's folder, on test samples; none if it was not measured.

    The interval of the accuracy is Wilson's, over test samples. Expected calibration error and loss have none.

    Args:
        file: RUN/tickets/level_NN.safetensors, or RUN/pools/METHOD/level_NN.safetensors.

    Example:
        ```python
        figures(Path("runs/demo/seed_0/pools/interpolation/level_03.safetensors"))[0].cells()
        ```
    """
    if files.read_metadata(file)["origin"].get("task") is not None:
        return ()
    place = file.resolve()
    row = next((row for run in place.parents[1:3] for row in _rows(RunFolder(run), place)), None)
    if row is None:
        return ()
    low, high = (100 * end for end in proportion_interval(row.correct, row.n))
    on = f"on {row.n:,} test samples"
    return (
        Figure(f"accuracy {on}", 100 * row.accuracy, (low, high)),
        Figure(f"expected calibration error {on}", 100 * row.ece),
        Figure(f"mean negative log-likelihood {on}", row.loss, unit="nats"),
    )


def _rows(folder: RunFolder, file: Path) -> list[Row]:
    """The rows, one or none, of the network of that file on test samples without corruption."""
    rows = clean(results.read(folder.results)) if folder.results.exists() else []
    return [row for row in rows if _file(folder, row) == file]


def _file(folder: RunFolder, row: Row) -> Path:
    """The file of the network that a row measured."""
    return folder.ticket(row.level) if row.method == "ticket" else folder.pool(row.method, row.level)
