"""The documentation: the site builds without a warning and fetches nothing, and what its pages show is so."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import lottery_pools
from docs.figures import draw
from docs.site import hooks
from lottery_pools.cli import commands, parsing
from lottery_pools.cli.options import OPTIONS
from lottery_pools.runs import engine
from lottery_pools.version import VERSION
from tests.test_browser import BROWSER

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
TRIED = [DOCS / "ten-minutes.md", DOCS / "method.md", *sorted(DOCS.glob("howto/*.md"))]
BLOCK = re.compile(
    r'(?:<!-- (not run: [^\n]+|needs [\w ]+) -->\n)?```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str | None
    """The file that it is to be saved as."""
    content: str


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page that are to be tried.

    These are all but those after `<!-- not run: the reason -->`, or `<!-- needs packages -->` that are not installed.
    """
    for mark, language, title, content in BLOCK.findall(page.read_text(encoding="utf-8")):
        needed = mark.removeprefix("needs ").split() if mark.startswith("needs ") else []
        if not mark or (needed and all(importlib.util.find_spec(name) for name in needed)):
            yield Block(language, title or None, content)


def outline(line: str) -> str:
    """A line of output without what differs between machines: numbers, and the widths that follow from them."""
    line = re.sub(r"\[[][\d., -]*\]", "[0]", re.sub("[─▏▎▍▌▋▊▉█]+", " ", line))
    return " ".join(re.sub(r"[-+−]?\d[\d,.]*", "0", line).split())


def try_command(command: str, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command of ours; the lines shown, but for `…`, are lines that it prints, in that order."""
    words = shlex.split(command)
    assert words[0] == "lottery-pools", f"mark {command!r} as not run"
    commands.dispatch(words[1:])
    printed = capsys.readouterr().out
    rest = iter(map(outline, printed.splitlines()))
    for line in map(outline, shown):
        assert line == "…" or line in rest, f"{command} no longer prints {line!r} there, but:\n{printed}"


@pytest.mark.filterwarnings("ignore::lottery_pools.errors.Notice")
@pytest.mark.parametrize("page", TRIED, ids=lambda page: page.stem)
def test_snippets_and_commands_do_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if page.stem == "compile" and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(engine, "cores", lambda: 1)  # all in this process
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.title:
            (tmp_path / block.title).write_text(block.content, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.content, str(page), "exec"), names)
            capsys.readouterr()
        elif block.language == "console":
            for part in re.split(r"^\$ ", block.content, flags=re.MULTILINE)[1:]:
                command, *shown = part.replace("\\\n", " ").splitlines()
                try_command(command, shown, capsys)


@pytest.mark.parametrize("page", ["gpu", "cluster", "imagenet"])
def test_commands_that_are_not_run_are_understood(page: str) -> None:
    """Of what needs a GPU, several machines or other data, at least the words are tried."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = (DOCS / f"howto/{page}.md").read_text(encoding="utf-8")
    consoles = [
        content.replace("\\\n", " ") for _, language, _, content in BLOCK.findall(text) if language == "console"
    ]
    ours = [
        line for content in consoles for line in re.findall(r"^\$ .*lottery[-_]pools (\w.*)", content, re.MULTILINE)
    ]
    assert ours
    for command in ours:
        name, *arguments = shlex.split(command)
        if name in ("run", "tickets"):
            parsing.run_options(arguments, commands.COMMANDS[name])
        else:
            parsing.parse(OPTIONS[name], arguments, commands.COMMANDS[name])
    for target in re.findall(r"(?:`|^\$ )make ([\w-]+)", text, re.MULTILINE):
        assert target in targets, target


def test_the_checkpoints_page_leaves_a_better_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(DOCS / "howto/checkpoints.md"):
        if block.title:  # from here on it is about checkpoints that others left
            break
        exec(block.content, names)
    pooled = names["pooled"]
    assert isinstance(pooled, lottery_pools.Pooled)
    assert pooled.score > pooled.target_score
    assert lottery_pools.load(tmp_path / "stronger.safetensors").origin["recipe"]


def shown_after(page: Path, command: str) -> list[str]:
    """The lines that a page shows below a command."""
    return page.read_text(encoding="utf-8").split(f"$ {command}\n")[1].split("```")[0].splitlines()


def test_the_readmes_example_prints_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = (block for block in blocks(README) if block.title == "example.py")
    exec(compile(example.content, "example.py", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert list(map(outline, printed)) == list(map(outline, shown_after(README, "python example.py")))
    recipe, score, density = printed
    assert recipe.count("(") > 1, "nothing is mixed"
    before, pooled = map(float, re.findall(r"-\d\.\d+", score))
    assert pooled > before
    assert density == "density: 0.800 before, 0.800 pooled"


def test_the_readmes_own_network_is_pooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(engine, "cores", lambda: 1)
    (network,) = (block for block in blocks(README) if block.title == "mynet.py")
    (tmp_path / "mynet.py").write_text(network.content, encoding="utf-8")
    command = "lottery-pools run --model.name mynet:build --seeds 0 --out runs/mynet"
    try_command(f"{command} --limit 200", shown_after(README, command), capsys)
    assert (tmp_path / "runs/mynet/pools/trimmed-soup/level_02.safetensors").exists()


def test_the_demo_is_shown_in_the_readme_as_in_ten_minutes() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    command = re.search(r"^demo:.*\n\t\$\(BIN\)/(.*)$", makefile, re.MULTILINE)[1]  # type: ignore[index]
    ten_minutes = shown_after(DOCS / "ten-minutes.md", command)
    shown = [line for line in shown_after(README, "make demo") if line != "…"]
    assert len(shown) > 5
    assert [line for line in shown if line not in ten_minutes] == []


@pytest.mark.parametrize(
    "page", [README, ROOT / "CONTRIBUTING.md", ROOT / "studies/README.md"], ids=lambda page: page.stem
)
def test_links_outside_of_the_site_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", link):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as both GitHub and the site name them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_decisions_are_listed_in_their_order() -> None:
    text = (DOCS / "decisions.md").read_text(encoding="utf-8")
    titles = re.findall(r"^##+ (.+?)(?: \(\d{4}-\d\d-\d\d\))?$", text, re.MULTILINE)
    listed = re.findall(r"^ *- \[(.+)\]\(#([^)]+)\)$", text, re.MULTILINE)
    assert [title for title, _ in listed] == titles
    assert {anchor for _, anchor in listed} <= anchors(DOCS / "decisions.md")


@pytest.mark.parametrize("page", [README, DOCS / "architecture.md"], ids=lambda page: page.stem)
def test_files_that_are_named_exist(page: Path) -> None:
    source = Path(lottery_pools.__file__).parent
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)[:`]", page.read_text(encoding="utf-8")))
    assert len(named) > 5
    for name in named:
        assert (source / name).exists() or (ROOT / name).exists(), f"{page.name} names {name}"


def test_the_citation_agrees_with_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {VERSION}\n" in citation
    assert "\nlicense: Apache-2.0\n" in citation
    assert "2208.10842" in citation
    assert "(CITATION.cff)" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", draw.FIGURES)
def test_the_figures_are_what_their_script_draws(name: str) -> None:
    assert (DOCS / f"figures/{name}.svg").read_text(encoding="utf-8") == draw.FIGURES[name]()


class Page(HTMLParser):
    """What a built page links to, what it fetches, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        self.anchors |= {attributes[key] for key in ("id", "name") if key in attributes}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif tag in ("img", "script", "iframe", "source") and "src" in attributes:
            self.fetched.append(attributes["src"])
        elif tag == "link" and "href" in attributes and attributes.get("rel") != "canonical":
            self.fetched.append(attributes["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    # No proxy answers there: a build that fetches something fails.
    offline = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **offline, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_the_site_builds_with_every_page_in_its_menu(site: Path) -> None:
    menu = {(site / unquote(link)).resolve() for link in Page(site / "index.html").links if "#" not in link}
    pages = [path for path in DOCS.rglob("*.md") if path.name != "report.md"]
    for path in pages:
        built = site / path.relative_to(DOCS).with_suffix(".html")
        built = built.with_name("index.html") if path.name == "README.md" else built
        assert built in menu or built == site / "index.html", f"{path} is in no menu: name it in mkdocs.yml"


def test_the_site_fetches_nothing_and_its_links_lead_somewhere(site: Path) -> None:
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for address in page.fetched:
            if address.startswith("data:"):  # within the page itself
                continue
            assert not re.match(r"(https?:)?//", address), f"{path.name} fetches {address}"
            if path.name != "404.html":  # its addresses begin at the root of a server
                assert (path.parent / unquote(address.split("?")[0])).exists(), f"{path.name} lacks {address}"
        for link in page.links:
            if path.name == "404.html" or re.match(r"https?:|mailto:|data:", link):
                continue
            place, _, anchor = unquote(link).partition("#")
            target = (path.parent / place).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.name} links to {link}"
            assert not anchor or target not in pages or anchor in pages[target].anchors, f"{path.name} links to {link}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")), style


def test_the_site_has_a_whole_report(site: Path) -> None:
    """Made from committed rows, and linked from the first studies."""
    page = (site / "results/cifar10-resnet/full-report.html").read_text(encoding="utf-8")
    assert "+0.73 [+0.56, +0.90]" in re.sub("&nbsp;|\u00a0", " ", page)
    assert page.count("<svg") > 5
    assert "cifar10-resnet/full-report.html" in Page(site / "results/first-studies.html").links


@pytest.mark.parametrize(
    ("html", "kept"),
    [
        ("<p>by +0.73 [+0.48, +0.99]</p>", ["+0.73 [+0.48, +0.99]"]),
        ("<p>5.8 % of CIFAR-100 in [-1.2, +3]</p>", ["5.8 %", "CIFAR-100", "[-1.2, +3]"]),
        ("<h3>Settled (2026-11-25)</h3>", ["2026-11-25"]),
        ("<p><code>--data.name path/to/it</code></p>", ["--data.name", "path/to/it"]),
        (f"<p><code>{'long-' * 9}</code></p>", []),
        ("<pre><code>--data.name 5 %</code></pre><p>well-known</p>", []),
        ('<p><a href="a-1.html">plain 3</a></p>', []),
    ],
)
def test_numbers_names_and_options_stay_on_one_line(html: str, kept: list[str]) -> None:
    marked = hooks.keep_together(html)
    assert re.findall(r'<span class="together">(.*?)</span>', marked) == kept
    assert re.sub(r'<span class="together">(.*?)</span>', r"\1", marked) == html


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
def test_the_search_works_from_disk(site: Path, tmp_path: Path) -> None:
    assert BROWSER is not None
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    offline = ("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND")
    waits = ("--virtual-time-budget=10000", f"--user-data-dir={tmp_path}", "--window-size=500,900")
    address = f"{(site / 'results/index.html').as_uri()}?q=recalibrated"
    command = [BROWSER, *options, *offline, *waits, "--dump-dom", address]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    result = re.search(r"(\d+) matching documents", dom)
    assert result, "the search found nothing"
    assert int(result[1]) >= 5


def test_the_reference_has_the_docstring_of_every_public_name(site: Path) -> None:
    anchors = Page(site / "api.html").anchors
    for name in lottery_pools.__all__:
        assert f"lottery_pools.{name}" in anchors, f"docs/api.md lacks lottery_pools.{name}"
