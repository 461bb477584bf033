"""Tables from synthetic rows: the right numbers in the right cells, gaps shown, the same every time."""

from __future__ import annotations

from dataclasses import replace

from lottery_pools.config.schema import Config, Data
from lottery_pools.reporting import corruption_tables, names, tables
from lottery_pools.reporting.words import DASH
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
    assert corruption_tables.mce_by_level(shifted, make_shifted(levels=1), "r").rows[4][2] == DASH


def test_baselines_come_first_and_unknown_methods_follow_in_order_of_appearance() -> None:
    rows = make_rows(("ema", "ticket", "mine"), seeds=1, levels=1)
    assert tables.by_level(rows, []).columns[2:] == (
        *("Ticket", "EMA (neighbours), guarded", "EMA (neighbours), guarded: gain", "Mine", "Mine: gain"),
    )


def test_costs_are_means_with_the_share_of_the_search() -> None:
    assert tables.costs(make_rows()).rows[4] == ("Interpolation", "2.50 M", "8,000", "0.320 %", "5.00 M")
    untrained = [Row(**{**vars(row), "train_images": 0}) for row in make_rows(seeds=1)]
    assert tables.costs(untrained).rows[4] == ("Interpolation", "0", "8,000", DASH, "5.00 M")


def test_overall_lists_only_gains_over_all_levels() -> None:
    shifted = Gain("average", "ticket", None, None, "all", -0.25, -0.5, 0.0, 3, 10_000)
    table = tables.overall([make_gain(level=1), make_gain(), shifted])
    assert table.rows == (
        ("Interpolation", "Recalibrated", "Clean", "+1.00 [+0.50, +1.50]", "1", "2", "1,000"),
        ("Average", "Ticket", "All corruptions", "−0.25 [−0.50, +0.00]", "0", "3", "10,000"),
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
    assert table.rows[4] == ("SWA (neighbours), guarded", "52.20", DASH, "56.20")
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


def test_the_summary_holds_gains_over_both_baselines_and_cost() -> None:
    gains = [
        *(make_gain(), replace(make_gain(gain=-1.0), corruption="all"), replace(make_gain(gain=9.0), against="ticket")),
        *(replace(make_gain(gain=0.25), against="admissible"), replace(make_gain("admissible", gain=2.0))),
    ]
    methods = (*MANY, "admissible")
    rows = make_rows(methods, levels=3)
    table = tables.summary(rows + make_shifted(methods), gains)
    assert table.title.endswith("(means over the 3 levels that all have)")
    shown = {line[0]: dict(zip(table.columns, line, strict=True)) for line in table.rows}
    assert shown["Interpolation"] == {
        "Method": "Interpolation",
        "Over recalibrated": "+1.00 [+0.50, +1.50]",
        "Over best admissible": "+0.25 [−0.25, +0.75]",
        "Over recalibrated, corrupted": "−1.00 [−1.50, −0.50]",
        "Training images": "2.00 M",
        "Search images": "8,000",
        "Search / training": "0.400 %",
        "Multiply-adds": "5.00 M",
    }
    assert shown["Best admissible"]["Over recalibrated"] == "+2.00 [+1.50, +2.50]"
    assert {shown[name]["Over best admissible"] for name in ("Ticket", "Recalibrated", "Best admissible")} == {DASH}
    assert all(table.numeric[1:])
    assert sorted(place for group in table.groups for place in group) == list(range(len(table.columns)))
    assert not [column for column in tables.summary(rows, gains).columns if "corrupted" in column]


def test_likelihood_and_calibration_are_told_clean_and_corrupted() -> None:
    rows = make_rows(MANY, levels=3)
    table = tables.calibration(rows + make_shifted())
    assert dict(zip(table.columns, table.rows[3], strict=True)) == {
        "Method": "Interpolation",
        "Accuracy (%)": "56.20",
        "NLL (nats)": "0.6000",
        "Calibration error (%)": "5.00",
        "Accuracy, corrupted (%)": "35.53",  # 56.2 - 5 - 15 - 4 / 6
        "Calibration error, corrupted (%)": "8.00",
    }
    assert not [column for column in tables.calibration(rows).columns if "corrupted" in column]


def test_the_main_table_says_where_tickets_improve_with_sparsity() -> None:
    assert tables.by_level(make_rows(), []).note.startswith("A sign of under-training: tickets improve with")
    assert tables.by_level(make_rows(levels=2), []).note == ""


def test_every_column_of_the_main_table_has_its_place_when_there_is_little_room() -> None:
    methods = ("ticket", "recalibrated", "admissible", "interpolation", "trimmed-soup")
    assert tables.by_level(make_rows(methods), []).groups == ((0, 1, 3, 7, 8), (2, 4), (5, 6))
    assert tables.by_level(make_rows(("ticket", "average")), []).groups == ((0, 1, 3, 4), (2,))
    assert tables.by_level([], []).groups == ((0, 1),)


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
        *(corruption_tables.by_corruption([]), corruption_tables.by_severity([])),
        corruption_tables.mce_by_level([], [], "r"),
    ):
        assert table.rows == ()
        assert not any(table.numeric)


def test_the_summary_counts_cells_that_lose_and_weights_that_are_not_zero() -> None:
    rows = [replace(row, nonzero=row.density / 2 if row.method == "average" else row.density) for row in make_rows()]
    gains = [replace(make_gain("average"), cells=8, losses=3), replace(make_gain(level=1), cells=2, losses=2)]
    table = tables.summary(rows, gains)
    shown = {line[0]: dict(zip(table.columns, line, strict=True)) for line in table.rows}
    assert shown["Average"]["Cells that lose"] == "3 of 8"
    assert shown["Interpolation"]["Cells that lose"] == DASH
    assert (shown["Average"]["Density"], shown["Average"]["Density of non-zeros"]) == ("73.8 %", "36.9 %")
    assert (shown["Interpolation"]["Density"], shown["Interpolation"]["Density of non-zeros"]) == ("73.8 %", "73.8 %")
    mixed = [replace(row, nonzero=None) if row.method == "average" else row for row in rows]
    assert tables.costs(mixed).rows[3][-2:] == ("73.8 %", DASH), "of a version that did not count them"
    assert all(table.numeric[1:])
    assert sorted(place for group in table.groups for place in group) == list(range(len(table.columns)))


def test_claims_of_levels_are_explained_where_there_are_any() -> None:
    sure = replace(make_gain(level=2), error=0.0001)
    assert "Holm" in tables.by_level(make_rows(), [sure]).note
    assert "Holm" in tables.gains_by_level("t", [sure], "none").note
    assert tables.gains_by_level("t", [make_gain(level=2)], "none").note == ""


def test_controls_on_the_held_out_samples_stand_beside_the_pools_with_what_pooling_is_for() -> None:
    rows = make_rows((*METHODS, "tuned-pool", "held-out-training"))
    table = tables.by_level(rows, [])
    assert table.columns[-2:] == ("Trained on held-out too (control)", "Trimmed soup tuned on held-out (control)")
    assert table.rows[0][-2:] == ("56.20", "55.20")
    assert table.note.startswith("Pooling is for tickets that are there, where training is not wanted")
    assert sorted(place for group in table.groups for place in group) == list(range(len(table.columns)))
    assert "Pooling is for" not in tables.by_level(make_rows(), []).note
