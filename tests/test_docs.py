"""The documentation: the site builds without a warning and fetches nothing, and what its pages show is so."""

from __future__ import annotations

import os
import re
import shlex
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
from lottery_pools.cli import commands
from lottery_pools.runs import engine

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TRIED = [DOCS / "ten-minutes.md", DOCS / "method.md", *sorted(DOCS.glob("howto/*.md"))]
BLOCK = re.compile(r'(<!-- not run: [^\n]+ -->\n)?```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str | None
    """The file that it is to be saved as."""
    content: str


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page that are to be tried: all but those after `<!-- not run: the reason -->`."""
    for skip, language, title, content in BLOCK.findall(page.read_text(encoding="utf-8")):
        if not skip:
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


@pytest.mark.parametrize("page", TRIED, ids=lambda page: page.stem)
def test_snippets_and_commands_do_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
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


def test_the_checkpoints_page_leaves_a_better_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(DOCS / "howto/checkpoints.md"):
        exec(block.content, names)
    pooled = names["pooled"]
    assert isinstance(pooled, lottery_pools.Pooled)
    assert pooled.score > pooled.target_score
    assert lottery_pools.load(tmp_path / "stronger.safetensors").origin["recipe"]


def test_the_readmes_own_network_is_pooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(engine, "cores", lambda: 1)
    (network,) = (block for block in blocks(ROOT / "README.md") if block.title == "mynet.py")
    (tmp_path / "mynet.py").write_text(network.content, encoding="utf-8")
    shown = (ROOT / "README.md").read_text(encoding="utf-8").split("$ . .venv/bin/activate\n$ ")[1].split("```")[0]
    train, inspect = shown.split("$ ")
    command, *lines = train.splitlines()
    try_command(f"{command} --limit 200", lines, capsys)
    command, *lines = inspect.splitlines()
    try_command(command, lines, capsys)


def test_the_demo_is_shown_as_in_the_readme() -> None:
    shown = (DOCS / "ten-minutes.md").read_text(encoding="utf-8").split("--out runs/demo\n")[1].split("```")[0]
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in shown.splitlines() if line != "…" and line not in readme] == []


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
        found = {key: value or "" for key, value in attrs}
        self.anchors |= {found[key] for key in ("id", "name") if key in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in ("img", "script", "iframe", "source") and "src" in found:
            self.fetched.append(found["src"])
        elif tag == "link" and "href" in found and found.get("rel") != "canonical":
            self.fetched.append(found["href"])


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
            assert not re.match(r"(https?:)?//", address), f"{path.name} fetches {address}"
            if path.name != "404.html":  # its addresses begin at the root of a server
                assert (path.parent / unquote(address.split("?")[0])).exists(), f"{path.name} lacks {address}"
        for link in page.links:
            if path.name == "404.html" or re.match(r"https?:|mailto:", link):
                continue
            place, _, anchor = unquote(link).partition("#")
            target = (path.parent / place).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.name} links to {link}"
            assert not anchor or target not in pages or anchor in pages[target].anchors, f"{path.name} links to {link}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")), style


def test_the_reference_has_the_docstring_of_every_public_name(site: Path) -> None:
    anchors = Page(site / "api.html").anchors
    for name in lottery_pools.__all__:
        assert f"lottery_pools.{name}" in anchors, f"docs/api.md lacks lottery_pools.{name}"
