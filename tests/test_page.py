"""The page: complete, self-contained, escaped, honest, deterministic; and read without torch."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from lottery_pools.config.schema import Config, Data, Model, Training
from lottery_pools.evaluation.metrics import accuracies
from lottery_pools.reporting import page
from lottery_pools.reporting.content import Report
from lottery_pools.reporting.tables import Table
from lottery_pools.runs.rows import Gain, PoolRow
from tests.test_diagnosis import FOUND
from tests.test_figures import BINS
from tests.test_tables import MANY, make_gain, make_rows, make_shifted

POOLS = [PoolRow(0, "interpolation", 2, 0.64, ((1, 0.6),), 4000)]
GAINS = [make_gain(level=level) for level in range(4)] + [make_gain("average"), make_gain()]


def build(title: str = "A study", gains: list[Gain] = GAINS, config: Config | None = None) -> str:
    rows = make_rows()
    return page.render(Report(title, rows, gains, POOLS, config or Config(seeds=(0, 1)), accuracies=accuracies(rows)))


def build_wide() -> str:
    return page.render(wide())


def wide() -> Report:
    """With corruptions, methods beyond the two that are featured, bins of confidence, and a diagnosis."""
    gains = [
        Gain(**{**vars(make_gain(method, level)), "corruption": corruption})
        for corruption in ("none", "all")
        for method in MANY[2:]
        for level in (0, 1, 2, None)
    ]
    rows = [replace(row, bins=BINS) for row in make_rows(MANY, levels=3)] + make_shifted()
    mce = Table("mCE", ("a",), (("1",),))
    return Report("A study", rows, gains, POOLS, Config(seeds=(0, 1)), FOUND, [mce], gains, accuracies(rows))


class _Outline(HTMLParser):
    """Collects what a page would load, and checks that its elements nest."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str | None] = []
        self.ids: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "action", "data") or (name in ("href", "xlink:href") and tag != "a"):
                self.loads.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_the_same_to_the_byte() -> None:
    assert build() == build()
    assert build_wide() == build_wide()


@pytest.mark.parametrize("make", [build, build_wide])
def test_the_page_nests_has_unique_ids_and_loads_nothing(make: Callable[[], str]) -> None:
    text = make()
    outline = _Outline()
    outline.feed(text)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert all(load is not None and load.startswith(("#", "data:,")) for load in outline.loads)
    assert "@import" not in text
    assert set(re.findall(r"url\(['\"]?(.)", text)) <= {"#"}


def test_the_page_tells_its_story_in_order() -> None:
    text = build()
    marks = [
        *("+1.00", "Accuracy against density", "Gain by density", "Test accuracy by level", ">Methods: gain over"),
        *("Gain over all levels", ">Recipes<", ">Settings<", "rewind_unit", "How to read this"),
    ]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    assert "mean of 2 seeds" in text
    assert "1,000 samples" in text
    assert "orrupted" not in text
    assert "All methods" not in text


def test_corruptions_and_further_methods_bring_their_own_sections() -> None:
    text = build_wide()
    marks = [
        *("Accuracy against density", "The same under corruption: the mean over 3 corruptions at 2 severities."),
        *("Gain by density", "Gain by corruption and severity", "Interpolation: accuracy less"),
        *("Where the gain comes from", "What was mixed into what", ">Calibration<", "From ticket to ticket"),
        *(
            "Test accuracy by level",
            ">Methods: gain over",
            "All methods: clean test accuracy",
            "All methods: clean gain",
        ),
        *("Accuracy under corruption by level", "Gain under corruption by level", ">By corruption: ", ">By severity: "),
        *("Gain over all levels", ">Recipes<", ">Barrier between tickets, recalibrated", ">Naive ensemble", ">mCE<"),
        *("Other methods", "<dt>Ensemble", "<dt>Corrupted", "<dt>Barrier"),
    ]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    assert text.count("<svg") == 10
    assert "<dt>Pool of another seed" not in text


def test_the_glossary_explains_what_the_report_has_and_nothing_else() -> None:
    methods = ("ticket", "recalibrated", "interpolation", "trimmed-soup", "sms")
    text = page.render(Report("A study", make_rows(methods), GAINS, POOLS, Config()))
    assert all(f"<dt>{term}" in text for term in ("Trimmed soup", "Trained instead"))
    assert not any(f"<dt>{term}" in text for term in ("Best<", "Other methods", "Pool of another seed"))


def test_long_tables_are_cut_on_paper_and_say_so() -> None:
    note = "The first 40 of 41 rows"
    assert note not in page.render(Report("A study", make_rows(), GAINS, POOLS * 40, Config()))
    assert note in page.render(Report("A study", make_rows(), GAINS, POOLS * 41, Config()))


def test_the_headline_is_the_papers_method_whatever_comes_after_it() -> None:
    gains = [make_gain(method) for method in ("average", "interpolation", "swa", "other-seed", "ensemble")]
    assert page.headline(gains) == gains[1]
    assert page.headline(gains[3:]) is None


def test_strings_of_the_user_are_escaped() -> None:
    text = build("<script>alert(1)</script>", config=Config(name="</pre><img src=x>", model=Model(name="<i>&")))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<img" not in text
    assert "&lt;i&gt;&amp; on mnist1d" in text


@pytest.mark.parametrize(
    ("gain", "half", "words", "shown"),
    [
        (1.0, 0.5, "predicts 1.00 more correctly", True),
        (0.4, 0.5, "No gain shown", False),
        (0.5, 0.5, "No gain shown", False),
        (-1.0, 0.5, "predicts 1.00 fewer correctly", True),
    ],
)
def test_the_headline_claims_no_more_than_its_interval(gain: float, half: float, words: str, shown: bool) -> None:
    text = build(gains=[make_gain(gain=gain, half=half)])
    assert words in text
    assert ('class="headline shown"' in text) == shown


@pytest.mark.parametrize(
    ("levels", "seeds", "words"),
    [(2, 2, ", averaged over levels and seeds."), (1, 3, ", averaged over seeds."), (1, 1, "of the same density.")],
)
def test_the_headline_says_over_what_it_is_averaged(levels: int, seeds: int, words: str) -> None:
    gain = replace(make_gain(), seeds=seeds)
    assert page.verdict(gain, [gain, *(make_gain(level=level) for level in range(levels))]).endswith(words)


def test_the_page_says_what_validation_samples_choose() -> None:
    assert "choose epochs and pools." in build(config=Config())
    assert "choose pools." in build(config=Config(training=Training(keep="last")))


def test_the_settings_of_images_leave_out_the_generators() -> None:
    assert "[data.difficulty]" in build(config=Config())
    text = build(config=Config(data=Data(name="cifar10")))
    assert "[data.difficulty]" not in text
    assert text.index("[data]") < text.index("[model]")


def test_the_headline_is_over_all_levels_on_clean_samples() -> None:
    last = make_gain("average", gain=0.3)
    changed = [
        Gain(**{**vars(last), **change})
        for change in ({"method": "admissible"}, {"against": "ticket"}, {"corruption": "all"}, {"level": 3})
    ]
    assert page.headline([*changed, last]) == last
    assert page.headlines([last, make_gain("swa"), make_gain("trimmed-soup")])[0].method == "trimmed-soup"
    assert page.headline(changed) is None


def test_a_run_without_rows_still_has_its_page() -> None:
    text = page.render(Report("Empty", [], [], [], Config()))
    assert "No pooling method has been compared" in text
    assert "<svg" not in text
    assert "<table" not in text


def test_markdown_holds_the_headline_and_every_table() -> None:
    report = Report("A study", make_rows(), GAINS, POOLS, Config())
    text = page.markdown(report)
    assert text.startswith(
        "# A study\n\n**+1.00 [+0.50, +1.50]** percentage points of test accuracy (95 % interval; 2 seeds, 1,000 "
    )
    assert text.count("\n### ") == 5
    assert "| Interpolation | 0 | 2 | 64.0 % | 1 (0.60) | 4,000 |" in text
    assert text == page.markdown(report)
    diagnosed = page.markdown(replace(report, diagnosis=FOUND))
    assert diagnosed.count("\n### ") == 10


def test_every_figure_can_be_saved_with_its_numbers() -> None:
    text = build_wide()
    names = re.findall(r'download="([\w-]+)\.svg" hidden', text)
    numbers = re.findall(r'download="([\w-]+)\.csv" href="data:text/csv;charset=utf-8,([^"]*)"', text)
    assert len(names) == len(set(names)) == text.count("<figure>") == 10
    assert [name for name, _ in numbers] == names
    found = {name: unquote(content).splitlines() for name, content in numbers}
    assert found["overlap"] == ["first,second,jaccard", "0,1,0.7", "0,2,0.7", "1,2,0.7"]
    assert all(len(lines) > 1 for lines in found.values())


def test_several_runs_are_one_page_that_keeps_the_contract() -> None:
    report = Report("One", make_rows(), GAINS, POOLS, Config(), comparable=GAINS)
    text = page.compare({"one": report, "<two>": wide()})
    outline = _Outline()
    outline.feed(text)
    assert outline.open == []
    assert all(load is not None and load.startswith(("#", "data:,")) for load in outline.loads)
    parts = ("Comparison of 2 runs", "one · &lt;two&gt;", ">Runs<", "Over best admissible", 'download="comparison.csv"')
    for part in parts:
        assert part in text
    assert "<two>" not in text
    assert 'class="headline' not in text
    assert ">Settings<" not in text
    assert text == page.compare({"one": report, "<two>": wide()})


def test_reporting_never_imports_torch() -> None:
    code = (
        "import sys, lottery_pools.reporting.page, lottery_pools.reporting.terminal; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
