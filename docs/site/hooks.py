"""What mkdocs does beside turning Markdown into pages: see `hooks` in mkdocs.yml.

- `on_files` adds a whole report, made from committed rows, so that the site shows a real one.
- `on_page_markdown` keeps the tables of runs out of the search, where they would hide the pages written for people.
- `on_page_content` marks what must not break across lines: words of code, names such as ResNet-18, numbers,
  intervals.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from lottery_pools.experiment import report as reports
from lottery_pools.reporting.page import render

STUDY = "results/cifar10-resnet"
LONGEST = 40
"""Code words of more characters may break: they would not fit the width of a phone."""

NUMBER = r"[-+−]?\d[\d,.]*"
TOGETHER = re.compile(
    rf"[A-Za-z]+-\d+\b|\d{{4}}-\d\d-\d\d|{NUMBER}(?: %)?(?: \[[-+−\d., ]+\]| %)|\[{NUMBER}, {NUMBER}\]"
)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the HTML report of one study, made from the rows committed there, as `full-report.html`."""
    report = reports.report_of(Path(config.docs_dir) / STUDY)
    files.append(File.generated(config, f"{STUDY}/full-report.html", content=render(report)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """The Markdown as it is; a run's tables are not searched."""
    if page.file.src_uri.endswith("/report.md"):
        page.meta["search"] = {"exclude": True}
    return markdown


def on_page_content(html: str, **_: object) -> str:
    """A page's HTML, with its words of code, names and numbers kept on one line."""
    return keep_together(html)


def keep_together(html: str) -> str:
    """Wrap in `<span class="together">` what must not break across lines; blocks of code stay as they are.

    >>> keep_together("<p>by +0.73 [+0.48, +0.99] with <code>--data.name path</code></p>")
    '<p>by <span class="together">+0.73 [+0.48, +0.99]</span> with <code><span class="together">--data.name</span> \
<span class="together">path</span></code></p>'
    """
    parts, inside = [], {"pre": 0, "code": 0, "script": 0}
    for part in re.split(r"(<[^>]*>)", html):
        tag = re.match(r"<(/?)(\w+)", part)
        if tag and tag[2] in inside:
            inside[tag[2]] += -1 if tag[1] else 1
        elif not tag and not inside["pre"] and not inside["script"]:
            pattern = rf"\S+(?<!\S{{{LONGEST + 1}}})(?!\S)" if inside["code"] else TOGETHER
            part = re.sub(pattern, r'<span class="together">\g<0></span>', part)
        parts.append(part)
    return "".join(parts)
