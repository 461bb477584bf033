"""The page in a real browser: no error, no request, tables that sort, files that can be saved, nothing too wide."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from lottery_pools.reporting import page
from tests.test_page import wide

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")

PROBE = """
<script>
const failures = [];
addEventListener("error", event => failures.push(String(event.message)), true);
addEventListener("securitypolicyviolation", event => failures.push(event.violatedDirective + " " + event.blockedURI));
addEventListener("load", () => {
  const header = [...document.querySelectorAll("th button")].find(one => one.textContent === "Accuracy (%)");
  const column = () => [...header.closest("table").tBodies[0].rows]
    .map(row => row.cells[header.parentElement.cellIndex].textContent);
  const shown = [column()];
  for (const click of [1, 2]) { header.click(); shown.push(column()); }
  const folded = [...document.querySelectorAll("details")], open = () => folded.filter(one => one.open).length;
  const opened = [open()];
  location.hash = "#settings";
  unfold();
  opened.push(open());
  dispatchEvent(new Event("beforeprint"));
  opened.push(open());
  dispatchEvent(new Event("afterprint"));
  opened.push(open());
  for (const one of folded) one.open = true;
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify({
    failures,
    shown,
    opened,
    numbers: ["5.43\u00a0M", "623,000", "−0.25 [−0.50, +0.00]", "64.0\u00a0%", "4 (0.60)", "Ticket"].map(number),
    sort: header.parentElement.getAttribute("aria-sort"),
    requests: performance.getEntriesByType("resource").map(entry => entry.name),
    links: [...document.querySelectorAll("a[download]")].map(link => [link.download, link.href, link.hidden]),
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    overflowing: [...document.querySelectorAll("section > *, details > *, figure > *")]
      .filter(one => one.getBoundingClientRect().right > innerWidth + 1).length,
    width: innerWidth,
    ink: getComputedStyle(document.body).color,
    paper: getComputedStyle(document.body).backgroundColor,
  });
  document.body.append(out);
});
</script>
"""


def look(tmp_path: Path, *options: str, width: int = 1200) -> tuple[dict[str, Any], str]:
    """What the probe found on the page with all figures, and what the browser logged."""
    assert BROWSER is not None
    probed = tmp_path / "probed.html"
    probed.write_text(page.render(wide()).replace("<head>", f"<head>{PROBE}"), encoding="utf-8")
    done = subprocess.run(
        [
            *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"),
            *("--v=0", f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", *options),
            *("--dump-dom", probed.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    match = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stderr
    result: dict[str, Any] = json.loads(html.unescape(match[1]))
    return result, done.stderr


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    return look(tmp_path_factory.mktemp("browser"))


def test_no_error_and_no_request(seen: tuple[dict[str, Any], str]) -> None:
    findings, log = seen
    assert findings["failures"] == []
    assert [name for name in findings["requests"] if not name.startswith("data:")] == []
    assert "CONSOLE" not in log


def test_a_table_sorts_by_a_column_up_and_down(seen: tuple[dict[str, Any], str]) -> None:
    findings, _ = seen
    before, up, down = findings["shown"]
    assert sorted(before) == sorted(up) == sorted(down)
    assert up == sorted(before, key=float) == down[::-1]
    assert len(set(up)) > 3
    assert findings["sort"] == "descending"


def test_numbers_sort_by_their_value_whatever_their_unit_and_sign(seen: tuple[dict[str, Any], str]) -> None:
    assert seen[0]["numbers"] == [5_430_000, 623_000, -0.25, 64, 4, None]


def test_what_is_folded_opens_for_a_link_and_on_paper(seen: tuple[dict[str, Any], str]) -> None:
    before, linked, printed, after = seen[0]["opened"]
    assert (before, linked, after) == (0, 1, 1)
    assert printed > 5


def test_every_figure_is_saved_as_svg_and_csv(seen: tuple[dict[str, Any], str]) -> None:
    links = {name: (href, hidden) for name, href, hidden in seen[0]["links"]}
    drawings = {name: href for name, (href, _) in links.items() if name.endswith(".svg")}
    assert len(drawings) == len(links) / 2 == 10
    assert not any(hidden for _, hidden in links.values())
    for name, href in drawings.items():
        kind, content = href.split(",", 1)
        assert kind == "data:image/svg+xml;charset=utf-8"
        root = ElementTree.fromstring(unquote(content))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.get("color"), f"{name} would have no ink outside of the page"
    csv = unquote(links["gains.csv"][0].split(",", 1)[1])
    assert csv.splitlines()[0].startswith("method,level,density,gain_points")
    assert csv.splitlines()[1] == "Average,0,1,1,0.5,1.5,2,1000"


def test_dark_and_narrow(tmp_path: Path, seen: tuple[dict[str, Any], str]) -> None:
    """In a dark system the page is light on dark; narrow, nothing sticks out but what scrolls in its box."""
    dark, _ = look(tmp_path, "--blink-settings=preferredColorScheme=0", width=500)

    def brightness(colour: str) -> int:
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert brightness(dark["ink"]) > brightness(dark["paper"])
    assert brightness(seen[0]["ink"]) < brightness(seen[0]["paper"])
    for findings in (dark, seen[0]):
        assert (findings["wide"], findings["overflowing"]) == (0, 0)
    assert dark["width"] <= 500
