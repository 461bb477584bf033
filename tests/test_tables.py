"""Tables from synthetic rows: the right numbers in the right cells, gaps shown, the same every time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.config import Config
from lottery_pools.reporting import tables
from lottery_pools.reporting.tables import DASH, Table
from lottery_pools.runs.results import Gain, PoolRow, Row

METHODS = ("ticket", "recalibrated", "admissible", "average", "interpolation")


def make_rows(methods: tuple[str, ...] = METHODS, seeds: int = 2, levels: int = 4) -> list[Row]:
    """Clean test rows whose accuracy is 0.50 + 0.01 × place of the method + 0.02 × level + 0.004 × seed."""
    return [
        Row(
            run=f"seed-{seed}",
            seed=seed,
            method=method,
            level=level,
            density=0.8**level,
            split="test",
            corruption="none",
            severity=0,
            n=1000,
            correct=500 + 10 * place + 20 * level + 4 * seed,
            loss=1.0 - 0.1 * place,
            accuracy=0.5 + 0.01 * place + 0.02 * level + 0.004 * seed,
            ece=0.05,
            source=level,
            train_images=1_000_000 * (level + 1),
            search_images=2000 * place,
            hits="",
        )
        for seed in range(seeds)
        for place, method in enumerate(methods)
        for level in range(levels)
    ]


def make_gain(method: str = "interpolation", level: int | None = None, gain: float = 1.0, half: float = 0.5) -> Gain:
    density = None if level is None else 0.8**level
    return Gain(method, "recalibrated", level, density, "none", gain, gain - half, gain + half, 2, 1000)


def test_by_level_holds_means_over_seeds_and_gains() -> None:
    table = tables.by_level(make_rows(), [make_gain(level=2), make_gain("average", level=None)])
    assert table.columns == (
        "Level",
        "Density",
        "Ticket",
        "Recalibrated",
        "Best admissible",
        "Average",
        "Average: gain",
        "Interpolation",
        "Interpolation: gain",
    )
    assert table.rows[2] == (
        *("2", "64.0 %", "54.20", "55.20", "56.20", "57.20", DASH),
        *("58.20", "+1.00 [+0.50, +1.50]"),
    )
    assert [row[0] for row in table.rows] == ["0", "1", "2", "3"]


def test_by_level_reads_clean_test_rows_only() -> None:
    rows = make_rows(seeds=1, levels=1)
    other = [Row(**{**vars(row), "split": "validation", "accuracy": 0.0}) for row in rows]
    shifted = [Row(**{**vars(row), "corruption": "noise", "severity": 1, "accuracy": 0.0}) for row in rows]
    assert tables.by_level(rows + other + shifted, []) == tables.by_level(rows, [])


def test_a_pool_for_some_targets_only_leaves_dashes_and_shrinks_the_means_to_shared_levels() -> None:
    rows = [row for row in make_rows() if row.method != "average" or row.level == 2]
    by_level = tables.by_level(rows, [])
    assert [row[5] for row in by_level.rows] == [DASH, DASH, "57.20", DASH]
    calibration = tables.calibration(rows)
    assert calibration.title.endswith("(mean over the 1 level that all have)")
    assert calibration.rows[0] == ("Ticket", "54.20", "1.0000", "5.00")
    disjoint = [row for row in rows if row.method != "ticket" or row.level == 0]
    assert tables.calibration(disjoint).rows[0] == ("Ticket", DASH, DASH, DASH)
    assert tables.costs(disjoint).rows[0] == ("Ticket", DASH, DASH, DASH)


def test_baselines_come_first_and_unknown_methods_follow_in_order_of_appearance() -> None:
    rows = make_rows(("ema", "ticket", "TIES"), seeds=1, levels=1)
    assert tables.by_level(rows, []).columns[2:] == ("Ticket", "Ema", "Ema: gain", "TIES", "TIES: gain")


def test_costs_are_means_with_the_share_of_the_search() -> None:
    assert tables.costs(make_rows()).rows[4] == ("Interpolation", "2,500,000", "8,000", "0.320 %")
    untrained = [Row(**{**vars(row), "train_images": 0}) for row in make_rows(seeds=1)]
    assert tables.costs(untrained).rows[4] == ("Interpolation", "0", "8,000", DASH)


def test_overall_lists_only_gains_over_all_levels() -> None:
    shifted = Gain("average", "ticket", None, None, "all", -0.25, -0.5, 0.0, 3, 10_000)
    table = tables.overall([make_gain(level=1), make_gain(), shifted])
    assert table.rows == (
        ("Interpolation", "Recalibrated", "Clean", "+1.00 [+0.50, +1.50]", "2", "1,000"),
        ("Average", "Ticket", "All corruptions", "-0.25 [-0.50, +0.00]", "3", "10,000"),
    )


def test_recipes_name_level_and_coefficient() -> None:
    pools = [PoolRow(0, "average", 5, 0.8**5, ((4, 0.6), (6, 0.3)), 4000), PoolRow(1, "average", 0, 1.0, (), 0)]
    assert tables.recipes(pools).rows == (
        ("Average", "0", "5", "32.8 %", "4 (0.60), 6 (0.30)", "4,000"),
        ("Average", "1", "0", "100 %", "none taken", "0"),
    )


def test_settings_flatten_to_dotted_names() -> None:
    values = {row[0]: row[1] for row in tables.settings(Config(seeds=(0, 1))).rows}
    assert values["seeds"] == "0, 1"
    assert values["training.lr"] == "0.1"
    assert values["data.difficulty.padding"] == "36, 60"
    assert values["pruning.densities"] == DASH


def test_nothing_measured_gives_tables_without_lines() -> None:
    for table in (tables.by_level([], []), tables.calibration([]), tables.costs([]), tables.overall([])):
        assert table.rows == ()
        assert not any(table.numeric)


def test_numbers_are_told_from_words() -> None:
    rows = (("1", "4 (0.60)", "-0.25 [-0.50, +0.00]", "32.8 %"), ("2,000", "x", DASH, "1.5"))
    assert Table("t", ("a", "b", "c", "d"), rows).numeric == (True, False, True, True)


def test_markdown_aligns_and_escapes() -> None:
    text = tables.markdown(Table("Title", ("Name", "n"), (("a|b\nc", "1"),)))
    assert text == "### Title\n\n| Name | n |\n| --- | ---: |\n| a\\|b c | 1 |\n"


@given(st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_markdown_has_one_line_a_row_and_as_many_cells_as_columns(rows: list[tuple[str, str]]) -> None:
    lines = tables.markdown(Table("Title", ("a", "b"), tuple(rows))).rstrip("\n").split("\n")[2:]
    assert len(lines) == 2 + len(rows)
    assert all(line.count("|") - line.count("\\|") == 3 for line in lines)
