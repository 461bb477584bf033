"""Claims about single levels: corrected for their number, and cells that lose counted."""

from __future__ import annotations

from dataclasses import replace

from lottery_pools.reporting import claims
from lottery_pools.reporting.table import Table
from lottery_pools.reporting.words import DASH
from tests.test_tables import make_gain


def test_of_many_levels_a_single_p_value_below_5_percent_is_no_claim() -> None:
    """Student's p of t = 4 with 4 degrees of freedom is 0.016: enough for one level, not for nine."""
    sure, unsure = (replace(make_gain(level=2, gain=gain), seeds=5, error=0.25) for gain in (1.0, 0.1))
    assert claims.claimed([sure]) == [sure]
    assert claims.claimed([sure, *[unsure] * 8]) == []
    very_sure = replace(sure, error=0.05, level=4)
    assert claims.claimed([sure, very_sure, *[unsure] * 7]) == [very_sure]
    assert claims.claimed([make_gain(level=2)]) == [], "its error is not known"


def test_cells_are_those_of_a_baseline_and_claims_have_a_sign() -> None:
    sure = replace(make_gain(level=2), seeds=5, error=0.01)
    gains = [
        *(sure, replace(sure, level=3, error=5.0), replace(sure, level=None)),
        *(replace(sure, against="ticket"), replace(sure, method="average", corruption="all")),
    ]
    cells = claims.cells_by_level(gains, "recalibrated", "none")
    assert cells == {
        ("interpolation", 2): "+1.00 [+0.50, +1.50] *",
        ("interpolation", 3): "+1.00 [+0.50, +1.50]",
    }
    assert Table("t", ("Gain",), tuple((cell,) for cell in cells.values())).numeric == (True,)


def test_losing_cells_are_counted_where_they_are_known() -> None:
    assert claims.losing_cells(replace(make_gain(), cells=27, losses=1)) == "1 of 27"
    assert claims.losing_cells(make_gain()) == DASH
    assert Table("t", ("Cells",), (("1 of 27",), (DASH,))).numeric == (True,)
