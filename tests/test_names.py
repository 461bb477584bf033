"""Names: what methods are called, which kind they are, which come first."""

from __future__ import annotations

from lottery_pools.pooling import methods
from lottery_pools.pooling.methods import RETIRED_METHODS
from lottery_pools.reporting import names
from lottery_pools.runs.rows import BASELINES, CONTROLS, ENSEMBLE, TUNED
from lottery_pools.tickets.trained_baselines import TRAINED_BASELINES


def test_recipes_are_read_as_their_methods_write_them() -> None:
    in_turn = (
        *("average", "interpolation", "interpolation-likelihood", "interpolation-agreement", "swa"),
        *("swa-unguarded", "ema", "ema-unguarded", "ema-as-published", "slerp", *CONTROLS),
    )
    assert [
        name for name in (*methods.METHODS, *RETIRED_METHODS, *CONTROLS, "mine", "ticket") if names.mixes_in_turn(name)
    ] == [*in_turn]


def test_methods_are_shown_in_the_order_of_their_tables() -> None:
    ours = [*BASELINES, *methods.METHODS, *RETIRED_METHODS, *TRAINED_BASELINES, *CONTROLS, ENSEMBLE]
    assert sorted([*reversed(ours), "mine"], key=names.place) == [*ours[:-3], "mine", *ours[-3:]]
    assert names.pooled(reversed(ours)) == ours[len(BASELINES) :]
    assert tuple(TRAINED_BASELINES) == names.TRAINED_BASELINES
    rewound = ("learning-rate-rewinding", *(f"learning-rate-rewinding+{m}" for m in ("interpolation", "trimmed-soup")))
    of_retired = "held-out-training+consensus-soup-training"
    assert sorted([of_retired, "held-out-training+ties"], key=names.place)[-1] == of_retired
    assert names.instead(of_retired)
    assert sorted([*reversed(rewound), *TUNED, "longer"], key=names.place) == [*rewound, "longer", *TUNED]
    assert names.label(rewound[1]) == "Learning-rate rewinding: Interpolation"
    assert all(map(names.instead, (*TRAINED_BASELINES, *TUNED, *names.RETIRED, *rewound)))
    assert not any(map(names.instead, (*BASELINES, *methods.METHODS, *RETIRED_METHODS, *CONTROLS, "mine+average")))
    assert (*CONTROLS, ENSEMBLE) == names.APART


def test_of_many_methods_the_papers_are_featured_and_controls_never() -> None:
    assert names.featured(("ema", "ensemble", "interpolation", "swa", "ticket", "average"), 2) == [
        *("average", "interpolation")
    ]
    assert names.featured(("ema", "other-seed", "swa", "ties", "average"), 3) == ["average", "swa", "ema"]
    assert names.featured(("ensemble", "ticket"), 4) == []


def test_what_is_drawn_against_density_is_the_papers_ours_and_what_was_trained() -> None:
    many = (*BASELINES, *methods.METHODS, *TRAINED_BASELINES, *CONTROLS)
    assert names.drawn(many) == ["interpolation", "balanced-soup", "fading-soup", "trimmed-soup", *TRAINED_BASELINES]
    assert names.drawn(("longer", "uniform-soup", "average", "best")) == ["average", "best", "longer"]
    assert names.drawn(("ema", "swa", "slerp", "interpolation", "average")) == [
        *("average", "interpolation", "swa", "ema")
    ]
    assert names.drawn(("ties", "uniform-soup", "ensemble", "ticket")) == ["uniform-soup", "ties"]


def test_methods_have_names_for_people_and_unknown_ones_their_own() -> None:
    assert list(map(names.label, RETIRED_METHODS)) == [
        *("Best (ours, retired)", "Consensus soup on training inputs (ours, retired)"),
        *("Fading soup with labels (ours, retired)", "SLERP (retired)", "DARE (retired)"),
    ]
    called = [*("ema-as-published", "learned-soup-layers", "other-seed", "mine"), "admissible"]
    assert list(map(names.label, called)) == [
        *("EMA as published (inverted weight)", "Learned soup, by layer", "Pool of another seed (control)", "Mine"),
        "Best admissible",
    ]
    shifts = ("gaussian_noise", "fog", "jpeg_compression")
    assert list(map(names.kind, shifts)) == ["Gaussian noise", "Fog", "JPEG compression"]


def test_a_figure_has_a_colour_for_each_line_and_always_the_control() -> None:
    lines = names.trained((*TRAINED_BASELINES, *TUNED))
    assert len(lines) == names.TRAINED_LINES
    assert lines[-1] == "held-out-training"
    assert names.trained(("longer", "ticket", "best")) == ["longer"]
