"""What a report concludes: cautions first, no more claimed than the intervals allow, under-training told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lottery_pools.reporting import verdict
from lottery_pools.runs.rows import Gain
from tests.test_tables import make_gain, make_rows


def beside(gain: float, half: float = 0.5, method: str = "interpolation") -> Gain:
    """A gain over the best admissible ticket."""
    return replace(make_gain(method, gain=gain, half=half), against="admissible", seeds=3)


def over_ticket(gain: float = 1.0, half: float = 0.5, seeds: int = 3) -> Gain:
    return replace(make_gain(gain=gain, half=half), seeds=seeds)


@pytest.mark.parametrize(
    ("methods", "first", "second"),
    [
        (("average", "interpolation", "swa", "other-seed", "ensemble"), "interpolation", "average"),
        (("interpolation", "trimmed-soup"), "trimmed-soup", "interpolation"),
        (("average", "interpolation", "trimmed-soup", "balanced-soup"), "balanced-soup", "interpolation"),
        (("interpolation", "trimmed-soup", "fading-soup", "balanced-soup"), "balanced-soup", "interpolation"),
        (("trimmed-soup", "fading-soup"), "fading-soup", "trimmed-soup"),
        (("average", "swa"), "average", "swa"),
    ],
)
def test_the_headline_is_our_default_else_the_papers_rule(methods: tuple[str, ...], first: str, second: str) -> None:
    """Whatever they gain: here our method loses."""
    gains = [make_gain(method, gain=-1.0 if method.endswith("-soup") else 1.0) for method in methods]
    assert [gain.method for gain in verdict.headlines(gains)] == [first, second]
    assert verdict.headline(gains) == verdict.headlines(gains)[0]


def test_controls_are_no_headline() -> None:
    assert verdict.headline([make_gain("other-seed"), make_gain("ensemble")]) is None


def test_the_headline_is_over_all_levels_on_clean_samples() -> None:
    last = make_gain("average", gain=0.3)
    changed = [
        Gain(**{**vars(last), **change})
        for change in ({"method": "admissible"}, {"against": "ticket"}, {"corruption": "all"}, {"level": 3})
    ]
    assert verdict.headline([*changed, last]) == last
    assert verdict.headlines([last, make_gain("swa"), make_gain("trimmed-soup")])[0].method == "trimmed-soup"
    assert verdict.headline(changed) is None


@pytest.mark.parametrize(
    ("gain", "half", "words", "firm"),
    [
        (1.0, 0.5, "predicts 1.00 more correctly than the recalibrated ticket of the same density.", True),
        (0.4, 0.5, "No gain shown: the 95 % interval includes zero, so Interpolation may be no better than", False),
        (0.5, 0.5, "No gain shown", False),
        (-1.0, 0.5, "predicts 1.00 fewer correctly", True),
    ],
)
def test_a_verdict_claims_no_more_than_its_interval(gain: float, half: float, words: str, firm: bool) -> None:
    measured = over_ticket(gain, half)
    single = replace(measured, seeds=3)
    judged = verdict.judge(single, [single])
    assert words in verdict.verdict(single, [single]).replace(", averaged over 3 seeds", "")
    assert judged.firm == firm


def test_the_gain_over_the_best_admissible_ticket_is_told_beside() -> None:
    gain, other = over_ticket(), beside(0.7)
    judged = verdict.judge(gain, [gain, other, beside(9.0, method="average")])
    assert judged.cautions == ()
    assert judged.firm
    assert judged.statement == (
        "Of 100 test samples, Interpolation predicts 1.00 more correctly than the recalibrated ticket of the same "
        "density and 0.70 more than the best admissible ticket, averaged over 3 seeds."
    )


@pytest.mark.parametrize(
    ("gain", "other", "first", "statement"),
    [
        (
            1.0,
            0.4,
            "Interpolation is not shown to beat the best admissible ticket",
            "1.00 more correctly than the recal",
        ),
        (1.0, -0.6, "Worse than the best admissible ticket: use that", "and 0.60 fewer than the best admissible"),
        (0.4, 0.4, "No gain shown: the 95 % interval includes zero", ""),
        (0.4, 0.6, "No gain shown: the 95 % interval includes zero", "predicts 0.60 more correctly than the best adm"),
    ],
)
def test_what_speaks_against_a_gain_comes_first(gain: float, other: float, first: str, statement: str) -> None:
    headline = over_ticket(gain)
    judged = verdict.judge(headline, [headline, beside(other)])
    assert judged.sentences[0].startswith(first)
    assert statement in judged.statement
    assert bool(judged.statement) == bool(statement)
    assert not judged.firm


def test_neither_baseline_beaten_is_one_sentence() -> None:
    gain = over_ticket(0.4)
    (sentence,) = verdict.judge(gain, [gain, beside(0.1)]).sentences
    assert sentence.endswith("of the same density, nor than the best admissible one.")


@pytest.mark.parametrize(("seeds", "words"), [(1, "Only 1 seed: "), (2, "Only 2 seeds: ")])
def test_fewer_than_three_seeds_are_told_first(seeds: int, words: str) -> None:
    gain = over_ticket(seeds=seeds)
    judged = verdict.judge(gain, [gain])
    assert judged.sentences[0].startswith(words)
    assert not judged.firm
    assert "1.00 more correctly" in judged.statement


@pytest.mark.parametrize(
    ("levels", "seeds", "words"),
    [(2, 2, ", averaged over 2 levels and 2 seeds."), (1, 3, ", averaged over 3 seeds."), (1, 1, "same density.")],
)
def test_a_verdict_says_over_what_it_is_averaged(levels: int, seeds: int, words: str) -> None:
    gain = over_ticket(seeds=seeds)
    assert verdict.verdict(gain, [gain, *(make_gain(level=level) for level in range(levels))]).endswith(words)


def test_nothing_compared_is_told() -> None:
    assert verdict.verdict(None, []) == "No pooling method has been compared with the recalibrated ticket yet."


def test_networks_whose_tickets_improve_with_sparsity_look_under_trained() -> None:
    """In these rows every level is 2 points better than the one before."""
    assert verdict.undertrained(make_rows(levels=2)) == ""
    text = verdict.undertrained(make_rows(levels=3))
    assert "from 50.20 % at level 0 to 54.20 % at level 2." in text
    worse = [replace(row, accuracy=1 - row.accuracy) for row in make_rows(levels=9)]
    assert verdict.undertrained(worse) == ""
    assert verdict.undertrained([]) == ""
    assert verdict.undertrained(make_rows(("average",))) == ""
    assert verdict.undertrained([replace(row, corruption="fog", severity=1) for row in make_rows()]) == ""
