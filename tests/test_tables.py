"""Tables from synthetic rows: the right numbers in the right cells, gaps shown, the same every time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lottery_pools.config.schema import Config, Data
from lottery_pools.errors import UserError
from lottery_pools.reporting import names, tables
from lottery_pools.reporting.tables import DASH, Table
from lottery_pools.runs.rows import Gain, PoolRow, Row

METHODS = ("ticket", "recalibrated", "admissible", "average", "interpolation")
MANY = ("ticket", "recalibrated", "swa", "average", "interpolation", "ensemble")
ORDER = ("ticket", "recalibrated", "average", "interpolation", "swa", "ensemble")
"""That in which `MANY` are shown."""
SHIFTS = ("gaussian_noise", "fog", "jpeg_compression")


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
            flops=1_000_000 * (place + 1),
            hits="",
        )
        for seed in range(seeds)
        for place, method in enumerate(methods)
        for level in range(levels)
    ]


def make_shifted(methods: tuple[str, ...] = MANY, seeds: int = 2, levels: int = 3) -> list[Row]:
    """Corrupted test rows (3 corruptions at severities 1 and 2): the clean accuracy less 0.05 × place of the corruption
    and less 0.10 × severity, with a calibration error of 0.08; `fog` at severity 2 takes 0.01 more a place of the
    method."""
    rows = []
    for place, method in enumerate(methods):
        for row in (row for row in make_rows(methods, seeds, levels) if row.method == method):
            for index, corruption in enumerate(SHIFTS):
                for severity in (1, 2):
                    lost = 0.05 * index + 0.1 * severity + (0.01 * place if (index, severity) == (1, 2) else 0)
                    accuracy = row.accuracy - lost
                    rows.append(replace(row, corruption=corruption, severity=severity, accuracy=accuracy, ece=0.08))
    return rows


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
    assert tables.costs(disjoint).rows[0] == ("Ticket", DASH, DASH, DASH, DASH)


def test_means_over_fewer_seeds_or_corruptions_do_not_stand_beside_those_over_all() -> None:
    """The second seed of `average` and one corruption of `swa` are missing: at those levels they have no mean."""
    rows = [row for row in make_rows(MANY) if (row.method, row.seed, row.level) != ("average", 1, 2)]
    assert tables.accuracy_by_level("t", rows).rows[2] == ("Average", "53.20", "55.20", DASH, "59.20")
    assert [line[4] for line in tables.by_level(rows, []).rows] == ["53.20", "55.20", DASH, "59.20"]
    shifted = [r for r in make_shifted() if (r.method, r.level, r.corruption, r.severity) != ("swa", 1, "fog", 1)]
    assert [cell == DASH for cell in tables.accuracy_by_level("t", shifted).rows[4][1:]] == [False, True, False]
    assert tables.mce_by_level(shifted, make_shifted(levels=1), "r").rows[4][2] == DASH


def test_means_over_all_levels_are_over_what_all_have_and_say_so() -> None:
    rows = [row for row in make_shifted() if row.method != "average" or (row.level, row.seed) == (2, 1)]
    rows = [row for row in rows if row.method != "swa" or row.corruption != "jpeg_compression"]
    table = tables.by_corruption(rows)
    assert table.title.endswith("means over the 1 level, 1 of 2 seeds, 4 of 6 corruptions and severities that all have")
    assert table.rows == (
        ("Gaussian noise", "40.40", "-1.00", "+2.00", "+3.00", "+1.00", "+4.00"),
        ("Fog", "34.90", "-0.50", "+1.00", "+1.50", "+0.50", "+2.00"),
    )


def test_baselines_come_first_and_unknown_methods_follow_in_order_of_appearance() -> None:
    rows = make_rows(("ema", "ticket", "mine"), seeds=1, levels=1)
    assert tables.by_level(rows, []).columns[2:] == (
        *("Ticket", "EMA (neighbours)", "EMA (neighbours): gain", "Mine", "Mine: gain"),
    )


def test_costs_are_means_with_the_share_of_the_search() -> None:
    assert tables.costs(make_rows()).rows[4] == ("Interpolation", "2,500,000", "8,000", "0.320 %", "5,000,000")
    untrained = [Row(**{**vars(row), "train_images": 0}) for row in make_rows(seeds=1)]
    assert tables.costs(untrained).rows[4] == ("Interpolation", "0", "8,000", DASH, "5,000,000")


def test_overall_lists_only_gains_over_all_levels() -> None:
    shifted = Gain("average", "ticket", None, None, "all", -0.25, -0.5, 0.0, 3, 10_000)
    table = tables.overall([make_gain(level=1), make_gain(), shifted])
    assert table.rows == (
        ("Interpolation", "Recalibrated", "Clean", "+1.00 [+0.50, +1.50]", "1", "2", "1,000"),
        ("Average", "Ticket", "All corruptions", "-0.25 [-0.50, +0.00]", "0", "3", "10,000"),
    )


def test_recipes_name_level_and_coefficient() -> None:
    pools = [PoolRow(0, "average", 5, 0.8**5, ((4, 0.6), (6, 0.3)), 4000), PoolRow(1, "average", 0, 1.0, (), 0)]
    assert tables.recipes(pools).rows == (
        ("Average", "0", "5", "32.8 %", "4 (0.60), 6 (0.30)", "4,000"),
        ("Average", "1", "0", "100 %", "none taken", "0"),
    )


def test_of_many_methods_two_have_columns() -> None:
    columns = tables.by_level(make_rows(MANY), []).columns
    assert [name for name in columns if name.endswith(": gain")] == ["Average: gain", "Interpolation: gain"]


def test_all_methods_stand_against_levels() -> None:
    rows = [row for row in make_rows(MANY, levels=3) if (row.method, row.level) != ("swa", 1)]
    table = tables.accuracy_by_level("t", rows)
    assert [" ".join(name.split()) for name in table.columns[1:]] == [
        *("Level 0: 100 %", "Level 1: 80.0 %", "Level 2: 64.0 %")
    ]
    assert [row[0] for row in table.rows] == list(map(names.label, ORDER))
    assert table.rows[4] == ("SWA (neighbours)", "52.20", DASH, "56.20")
    assert all(table.numeric[1:])
    shifted = tables.accuracy_by_level("t", make_shifted())
    assert shifted.rows[1] == ("Recalibrated", "31.03", "33.03", "35.03")  # 51.2 - 5 - 15 - 1 / 6


def test_gains_by_level_are_those_over_the_recalibrated_ticket_on_the_samples_asked_for() -> None:
    other = replace(make_gain(level=1, gain=9.0), against="ticket")
    shifted = replace(make_gain("average", level=2, gain=2.0), corruption="all")
    gains = [make_gain(level=2), make_gain(level=0), other, shifted, make_gain()]
    table = tables.gains_by_level("t", gains, "none")
    assert table.columns == ("Method", "Level\u00a00: 100\u00a0%", "Level\u00a02: 64.0\u00a0%")
    assert table.rows == (("Interpolation", "+1.00 [+0.50, +1.50]", "+1.00 [+0.50, +1.50]"),)
    assert tables.gains_by_level("t", gains, "all").rows == (("Average", "+2.00 [+1.50, +2.50]"),)


def test_the_summary_holds_gains_quality_and_cost_clean_and_corrupted() -> None:
    gains = [make_gain(), replace(make_gain(gain=-1.0), corruption="all"), replace(make_gain(), against="ticket")]
    rows = make_rows(MANY, levels=3)
    table = tables.summary(rows + make_shifted(), gains)
    assert table.title.endswith("(means over the 3 levels that all have)")
    assert dict(zip(table.columns, table.rows[3], strict=True)) == {
        "Method": "Interpolation",
        "Gain [95 % interval]": "+1.00 [+0.50, +1.50]",
        "Gain, corrupted [95 % interval]": "-1.00 [-1.50, -0.50]",
        "Accuracy (%)": "56.20",
        "NLL (nats)": "0.6000",
        "Calibration error (%)": "5.00",
        "Accuracy, corrupted (%)": "35.53",  # 56.2 - 5 - 15 - 4 / 6
        "Calibration error, corrupted (%)": "8.00",
        "Training images": "2,000,000",
        "Search images": "8,000",
        "Search / training": "0.400 %",
        "Multiply-adds": "5,000,000",
    }
    assert table.rows[0][1:3] == (DASH, DASH)
    assert all(table.numeric[1:])
    assert not [column for column in tables.summary(rows, gains).columns if "corrupted" in column]


def test_corruptions_and_severities_hold_differences_from_the_recalibrated_ticket() -> None:
    rows = make_rows(MANY) + make_shifted()
    table = tables.by_corruption(rows)
    assert table.columns == ("Corruption", "Recalibrated", *(names.label(m) for m in ORDER if m != "recalibrated"))
    assert table.rows == (
        ("Gaussian noise", "38.20", "-1.00", "+2.00", "+3.00", "+1.00", "+4.00"),
        ("Fog", "32.70", "-0.50", "+1.00", "+1.50", "+0.50", "+2.00"),
        ("JPEG compression", "28.20", "-1.00", "+2.00", "+3.00", "+1.00", "+4.00"),
    )
    assert tables.by_severity(sorted(rows, key=lambda row: -row.severity)).rows == (
        ("1", "38.20", "-1.00", "+2.00", "+3.00", "+1.00", "+4.00"),
        ("2", "27.87", "-0.67", "+1.33", "+2.00", "+0.67", "+2.67"),
    )


def test_differences_compare_only_what_both_were_measured_on() -> None:
    rows = [row for row in make_shifted() if row.method != "recalibrated" or (row.level, row.seed) == (2, 1)]
    assert tables.differences(rows, lambda row: row.severity)["interpolation", 1] == pytest.approx(3.0)
    assert tables.differences([row for row in rows if row.method != "recalibrated"], lambda row: row.method) == {}


def test_mce_is_the_mean_of_ratios_of_summed_errors() -> None:
    def row(corruption: str, severity: int, accuracy: float, seed: int = 0) -> Row:
        average = make_rows(("average",), 1, 1)[0]
        return replace(average, corruption=corruption, severity=severity, seed=seed, accuracy=accuracy)

    own = [row("fog", 1, 0.9), row("fog", 2, 0.7), row("snow", 1, 0.5, seed=0), row("snow", 1, 0.7, seed=1)]
    reference = [row("fog", 1, 0.8), row("fog", 2, 0.4), row("snow", 1, 0.2)]
    assert tables.mce(own, reference, "average", 0) == pytest.approx(100 * (0.4 / 0.8 + 0.4 / 0.8) / 2)
    assert tables.mce(own[:2], reference, "average", 0) == pytest.approx(50)
    table = tables.mce_by_level(own, reference, "AlexNet")
    assert table.title == "mCE by level (%, reference: AlexNet)"
    assert table.rows == (("Average", "50.00"),)
    with pytest.raises(UserError, match="no row for snow at severity 1"):
        tables.mce(own, reference[:2], "average", 0)
    with pytest.raises(UserError, match="average at level 3 was not measured"):
        tables.mce(own, reference, "average", 3)
    with pytest.raises(UserError, match="makes no error under fog"):
        tables.mce(own[:1], [row("fog", 1, 1.0)], "average", 0)


def test_settings_flatten_to_dotted_names() -> None:
    values = {row[0]: row[1] for row in tables.settings(Config(seeds=(0, 1))).rows}
    assert values["seeds"] == "0, 1"
    assert values["training.lr"] == "0.1"
    assert values["data.difficulty.padding"] == "36, 60"
    assert values["pruning.densities"] == DASH
    images = [row[0] for row in tables.settings(Config(data=Data(name="cifar10"))).rows]
    assert not [name for name in images if "difficulty" in name]


def test_nothing_measured_gives_tables_without_lines() -> None:
    for table in (
        *(tables.by_level([], []), tables.calibration([]), tables.costs([]), tables.overall([])),
        *(tables.summary([], []), tables.accuracy_by_level("t", []), tables.gains_by_level("t", [], "none")),
        *(tables.by_corruption([]), tables.by_severity([]), tables.mce_by_level([], [], "r")),
    ):
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
