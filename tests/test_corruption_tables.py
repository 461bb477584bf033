"""Tables of corrupted samples, and the mean corruption error."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lottery_pools.errors import UserError
from lottery_pools.reporting import corruption_tables, names
from lottery_pools.runs.rows import Row
from tests.test_tables import MANY, ORDER, make_rows, make_shifted


def test_corruptions_and_severities_hold_differences_from_the_recalibrated_ticket() -> None:
    rows = make_rows(MANY) + make_shifted()
    table = corruption_tables.by_corruption(rows)
    assert table.columns == ("Corruption", "Recalibrated", *(names.label(m) for m in ORDER if m != "recalibrated"))
    assert table.rows == (
        ("Gaussian noise", "38.20", "−1.00", "+2.00", "+3.00", "+1.00", "+4.00"),
        ("Fog", "32.70", "−0.50", "+1.00", "+1.50", "+0.50", "+2.00"),
        ("JPEG compression", "28.20", "−1.00", "+2.00", "+3.00", "+1.00", "+4.00"),
    )
    assert corruption_tables.by_severity(sorted(rows, key=lambda row: -row.severity)).rows == (
        ("1", "38.20", "−1.00", "+2.00", "+3.00", "+1.00", "+4.00"),
        ("2", "27.87", "−0.67", "+1.33", "+2.00", "+0.67", "+2.67"),
    )


def test_differences_compare_only_what_both_were_measured_on() -> None:
    rows = [row for row in make_shifted() if row.method != "recalibrated" or (row.level, row.seed) == (2, 1)]
    assert corruption_tables.differences(rows, lambda row: row.severity)["interpolation", 1] == pytest.approx(3.0)
    assert (
        corruption_tables.differences([row for row in rows if row.method != "recalibrated"], lambda row: row.method)
        == {}
    )


def test_mce_is_the_mean_of_ratios_of_summed_errors() -> None:
    def row(corruption: str, severity: int, accuracy: float, seed: int = 0) -> Row:
        average = make_rows(("average",), 1, 1)[0]
        return replace(average, corruption=corruption, severity=severity, seed=seed, accuracy=accuracy)

    measured = [row("fog", 1, 0.9), row("fog", 2, 0.7), row("snow", 1, 0.5, seed=0), row("snow", 1, 0.7, seed=1)]
    reference = [row("fog", 1, 0.8), row("fog", 2, 0.4), row("snow", 1, 0.2)]
    assert corruption_tables.mce(measured, reference, "average", 0) == pytest.approx(100 * (0.4 / 0.8 + 0.4 / 0.8) / 2)
    assert corruption_tables.mce(measured[:2], reference, "average", 0) == pytest.approx(50)
    table = corruption_tables.mce_by_level(measured, reference, "AlexNet")
    assert table.title == "mCE by level (%, reference: AlexNet)"
    assert table.rows == (("Average", "50.00"),)
    with pytest.raises(UserError, match="no row for snow at severity 1"):
        corruption_tables.mce(measured, reference[:2], "average", 0)
    with pytest.raises(UserError, match="average at level 3 was not measured"):
        corruption_tables.mce(measured, reference, "average", 3)
    with pytest.raises(UserError, match="makes no error under fog"):
        corruption_tables.mce(measured[:1], [row("fog", 1, 1.0)], "average", 0)


def test_means_over_all_levels_are_over_what_all_have_and_say_so() -> None:
    rows = [row for row in make_shifted() if row.method != "average" or (row.level, row.seed) == (2, 1)]
    rows = [row for row in rows if row.method != "swa" or row.corruption != "jpeg_compression"]
    table = corruption_tables.by_corruption(rows)
    assert table.title.endswith("means over the 1 level, 1 of 2 seeds, 4 of 6 corruptions and severities that all have")
    assert table.rows == (
        ("Gaussian noise", "40.40", "−1.00", "+2.00", "+3.00", "+1.00", "+4.00"),
        ("Fog", "34.90", "−0.50", "+1.00", "+1.50", "+0.50", "+2.00"),
    )
