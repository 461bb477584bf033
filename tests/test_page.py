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
from lottery_pools.reporting import diagrams, figures, page
from lottery_pools.reporting.content import ReportContent
from lottery_pools.reporting.table import Table
from lottery_pools.runs.rows import Gain, PoolRow
from tests.test_diagnosis import FOUND
from tests.test_figures import BINS
from tests.test_tables import MANY, make_gain, make_rows, make_shifted

POOLS = [PoolRow(0, "interpolation", 2, 0.64, ((1, 0.6),), 4000)]
GAINS = [make_gain(level=level) for level in range(4)] + [make_gain("average"), make_gain()]


def build(title: str = "A study", gains: list[Gain] = GAINS, config: Config | None = None) -> str:
    rows = make_rows()
    return page.render(
        ReportContent(title, rows, gains, POOLS, config or Config(seeds=(0, 1)), accuracies=accuracies(rows))
    )


def build_wide() -> str:
    return page.render(wide())


def wide() -> ReportContent:
    """With corruptions, methods beyond the two that are featured, bins of confidence, and a diagnosis."""
    gains = [
        Gain(**{**vars(make_gain(method, level)), "corruption": corruption})
        for corruption in ("none", "all")
        for method in MANY[2:]
        for level in (0, 1, 2, None)
    ]
    rows = [replace(row, bins=BINS) for row in make_rows(MANY, levels=3)] + make_shifted()
    mce = Table("mCE", ("a",), (("1",),))
    return ReportContent("A study", rows, gains, POOLS, Config(seeds=(0, 1)), FOUND, [mce], gains, accuracies(rows))


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


def folded(text: str) -> list[str]:
    """The headings of what is folded, in order."""
    return re.findall(r"<summary><h2[^>]*>([^<]+)</h2></summary>", text)


def test_the_page_tells_its_story_in_order() -> None:
    text = build()
    marks = [
        *('class="verdict"', "+1.00", ">Contents<", ">Gains by density<", ">Main table<", "Test accuracy by level"),
        *(">Gains and costs<", ">Gain in percentage points", "<details", "Gain over all levels", ">Recipes<"),
        *(">Settings<", "rewind_unit", "How to read this"),
    ]
    ends = text.index("</nav>")
    places = [text.index(mark, 0 if number < 3 else ends) for number, mark in enumerate(marks)]
    assert places == sorted(places)
    assert "mean of 2\u00a0seeds" in text
    assert "1,000 samples" in text
    assert "orrupted" not in text
    assert "All methods: " not in text
    assert folded(text) == [
        *("All methods and comparisons", "Calibration", "What was mixed into what", "Settings", "How to read this")
    ]


def test_the_contents_lead_to_every_section() -> None:
    text = build_wide()
    contents = text[text.index("<nav") : text.index("</nav>")]
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', contents)
    assert [title for _, title in links][:3] == ["Gains by density", "Main table", "Gains and costs"]
    assert [title for _, title in links][3:] == folded(text)
    assert all(text.count(f' id="{anchor}"') == 1 for anchor, _ in links)
    assert all(text.count(f' id="{anchor}"') == 1 for anchor in re.findall(r'href="#([^"]+)"', text))


def test_corruptions_and_further_methods_bring_their_own_sections() -> None:
    text = build_wide()
    body = text[text.index("</nav>") :]
    marks = [
        *(">Gains by density<", ">Main table<", "Test accuracy by level", ">Gain in percentage points"),
        *("All methods: clean test accuracy", "All methods: clean gain", "Gain over all levels"),
        *(">Under corruption<", "Test accuracy under corruption: the mean over 3 corruptions at 2 severities."),
        *("Interpolation: accuracy less", "Accuracy under corruption by level", "Gain under corruption by level"),
        *(">By corruption: ", ">By severity: ", ">mCE<", ">Calibration<", ">Likelihood and calibration"),
        *(">Where the gain comes from<", ">Where the gain over the ticket", ">Classes against", ">What was mixed"),
        *(">Recipes<", ">From ticket to ticket<", ">Barrier between tickets, recalibrated", ">Naive ensemble"),
        *("Other methods", "<dt>Ensemble", "<dt>Corrupted", "<dt>Barrier"),
    ]
    places = [body.index(mark) for mark in marks]
    assert places == sorted(places)
    assert text.count("<svg") == 10
    assert "<dt>Pool of another seed" not in text


def test_the_gain_over_the_best_admissible_ticket_stands_beside_the_other_equally_large() -> None:
    beside = replace(make_gain(gain=0.75), against="admissible", seeds=3)
    gain = replace(make_gain(), seeds=3)
    text = build(gains=[gain, beside])
    numbers = re.findall(r'<p class="(\w+)">([+−]\d\.\d\d) <small>points over the <a href="#[^"]+">([^<]+)<', text)
    assert numbers == [("number", "+1.00", "recalibrated ticket"), ("number", "+0.75", "best admissible ticket")]
    assert 'class="headline shown"' in text
    assert "95&nbsp;% interval +0.25 to&nbsp;+1.25" in text
    unsure = build(gains=[gain, replace(beside, low=-0.25)])
    assert 'class="headline"' in unsure
    assert re.search(r'<p class="verdict">Interpolation is not shown to beat the best admissible ticket', unsure)


def test_few_seeds_are_told_first_and_the_numbers_are_small() -> None:
    text = build()
    assert 'class="headline"' in text
    assert re.search(r'<p class="verdict">Only 2\u00a0seeds: ', text)


def test_under_trained_networks_are_told_of_on_the_page_and_in_the_table() -> None:
    assert build().count("A sign of under-training") == 2
    trained = page.render(ReportContent("A study", make_rows(levels=2), GAINS, POOLS, Config()))
    assert "under-training" not in trained


@pytest.mark.parametrize("make", [build, build_wide])
def test_people_read_one_minus_sign_and_no_number_breaks(make: Callable[[], str]) -> None:
    text = re.sub(r"<(style|script|svg|pre)\b.*?</\1>|<[^>]*>", " ", make(), flags=re.DOTALL)
    assert re.findall(r"(?<![\w-])-\d[^ ]*", text) == []
    assert re.findall(r"\d %|\[[^\]]* [^\]]*\]", text) == []


def test_the_glossary_explains_what_the_report_has_and_nothing_else() -> None:
    methods = ("ticket", "recalibrated", "interpolation", "trimmed-soup", "sparse-model-soups")
    text = page.render(ReportContent("A study", make_rows(methods), GAINS, POOLS, Config()))
    assert all(f"<dt>{term}" in text for term in ("Trimmed soup", "Trained instead"))
    assert not any(f"<dt>{term}" in text for term in ("Best (ours", "Other methods", "Pool of another seed"))
    old = page.render(ReportContent("A study", make_rows((*methods, "best")), GAINS, POOLS, Config()))
    assert "<dt>Best (ours, retired)</dt><dd>A method of an earlier version" in old
    assert "SLERP" not in old


def test_long_tables_are_cut_on_paper_and_say_so() -> None:
    note = "The first 40 of 41 rows"
    assert note not in page.render(ReportContent("A study", make_rows(), GAINS, POOLS * 40, Config()))
    assert note in page.render(ReportContent("A study", make_rows(), GAINS, POOLS * 41, Config()))


def test_strings_of_the_user_are_escaped() -> None:
    text = build("<script>alert(1)</script>", config=Config(name="</pre><img src=x>", model=Model(name="<i>&")))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<img" not in text
    assert "&lt;i&gt;&amp; on mnist1d" in text


def test_the_page_says_what_validation_samples_choose() -> None:
    assert "choose epochs and pools." in build(config=Config())
    assert "choose pools." in build(config=Config(training=Training(keep="last")))


def test_the_settings_of_images_leave_out_the_generators() -> None:
    assert "[data.difficulty]" in build(config=Config())
    text = build(config=Config(data=Data(name="cifar10")))
    assert "[data.difficulty]" not in text
    assert text.index("[data]") < text.index("[model]")


def test_a_run_without_rows_still_has_its_page() -> None:
    text = page.render(ReportContent("Empty", [], [], [], Config()))
    assert "No pooling method has been compared" in text
    assert "<svg" not in text
    assert "<table" not in text


def test_markdown_holds_the_headline_and_every_table() -> None:
    report = ReportContent("A study", make_rows(), GAINS, POOLS, Config())
    text = page.markdown(report)
    assert text.startswith("# A study\n\nOnly 2 seeds: ")
    assert (
        "Interpolation: **+1.00 [+0.50, +1.50]** over the recalibrated ticket; percentage points of test accuracy with "
        "95 % intervals, mean over 4 levels and 2 seeds, 1,000 test samples each."
    ) in text
    assert text.count("\n### ") == 6
    assert "| Interpolation | 0 | 2 | 64.0 % | 1 (0.60) | 4,000 |" in text
    assert text == page.markdown(report)
    diagnosed = page.markdown(replace(report, diagnoses=FOUND))
    assert diagnosed.count("\n### ") == 11
    beside = replace(make_gain(gain=-0.25), against="admissible")
    assert ", **−0.25 [−0.75, +0.25]** over the best admissible ticket; percentage" in page.markdown(
        replace(report, gains=[*GAINS, beside])
    )


def test_markdown_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no figures, and drawing takes longer than all else."""
    monkeypatch.setattr(figures, "svg", lambda *_: pytest.fail("drawn"))
    monkeypatch.setattr(diagrams, "svg", lambda *_: pytest.fail("drawn"))
    assert page.markdown(wide())
    with pytest.raises(pytest.fail.Exception, match="drawn"):
        build_wide()


def test_every_figure_can_be_saved_with_its_numbers() -> None:
    text = build_wide()
    names = re.findall(r'download="([\w-]+)\.svg" hidden', text)
    numbers = re.findall(r'download="([\w-]+)\.csv" href="data:text/csv;charset=utf-8,([^"]*)"', text)
    assert len(names) == len(set(names)) == text.count("<figure>") == 10
    assert [name for name, _ in numbers] == names
    csv_lines = {name: unquote(content).splitlines() for name, content in numbers}
    assert csv_lines["overlap"] == ["first,second,jaccard", "0,1,0.7", "0,2,0.7", "1,2,0.7"]
    assert all(len(lines) > 1 for lines in csv_lines.values())


def test_several_runs_are_one_page_that_keeps_the_contract() -> None:
    report = ReportContent("One", make_rows(), GAINS, POOLS, Config(), comparable=GAINS)
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
