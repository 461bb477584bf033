"""docs/reliability.md, from what the harness found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.faults.mutations import MOST_MEGABYTES, MOST_SECONDS

# ruff: noqa: E501 – tables of Markdown are one line a row
HEAD = """\
# Reliability

What the project does with faults, as counted by its harness, `tests/faults/`. The short form runs with `make test`. This
page is written by

```bash
python -m tests.faults --state faults.json
```

which goes on where it was stopped. Every fault follows from its number, so that it can be tried again.
"""
KILLS = """
## Commands that are killed or refused

The commands of a small run (tickets, among them those of a baseline that trains copies; pools; rows; report) are disturbed
at a random file operation or after a random time, each again and again until it is done. Then its tickets, pools, rows, settings and report
are compared with those of a run that nothing disturbed.

| | killed or stopped | refused a file operation |
|---|---|---|
| commands disturbed | {kill[faults]:,} | {errno[faults]:,} |
| how | {kill_kinds} | {errno_kinds} |
| runs that were finished at last | {kill[runs]:,} | {errno[runs]:,} |
| bytes differing | {kill[bytes_differing]:,} | {errno[bytes_differing]:,} |
| leftover files | {kill[leftovers]:,} | {errno[leftovers]:,} |
| tracebacks, wrong exit codes, more than one line | {kill[tracebacks]:,} | {errno[tracebacks]:,} |
"""
FILES = """
## Files that are damaged

One thing in a file is changed: a bit or many, bytes cut off, inserted, removed or repeated, names and shapes in headers,
values of JSON and TOML (numbers of 5,000 digits, lists within lists, keys twice), tensors exchanged. In three of ten
files that carry digests, the digests are made anew afterwards. *Refused* means: with one line that names the file.
*Other content* are files that carry no digest, or one that was made anew: nothing can tell that they were changed.

| file | tried | refused | read, same content | read, rows before the damage | other content, no digest | **wrongly accepted** | **tracebacks** | longest (s) | memory (MB) |
|---|---|---|---|---|---|---|---|---|---|
"""
TAIL = """
Memory is what the process grew by beyond three times the size of the file; {megabytes} MB and {seconds:g} s of processor
time are allowed. Machine: {machine}.
"""


def page(state: Mapping[str, Any]) -> str:
    """The page, from the state that the harness keeps."""
    parts = [HEAD]
    if state["kill"] and state["errno"]:
        kinds = {f"{name}_kinds": _kinds(state[name]["by_kind"]) for name in ("kill", "errno")}
        parts.append(KILLS.format(kill=state["kill"], errno=state["errno"], **kinds))
    rows = [_row(name, counts) for name, counts in state["files"].items()]
    sums = {key: _sum(state, key) for key in next(iter(state["files"].values())) if key != "failures"}
    parts += [FILES, *rows, _row("**all**", sums)]
    parts.append(TAIL.format(megabytes=MOST_MEGABYTES, seconds=MOST_SECONDS, machine=state["machine"]))
    failures = [
        text
        for counts in (*state["files"].values(), state["kill"], state["errno"])
        for text in counts.get("failures", ())
    ]
    if failures:
        parts += ["\n## Failures\n", *(f"\n```\n{text}\n```\n" for text in failures)]
    return "".join(parts)


def _kinds(by_kind: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(by_kind.items()))


def _sum(state: Mapping[str, Any], key: str) -> Any:
    values = [counts[key] for counts in state["files"].values()]
    return max(values) if key in ("seconds", "megabytes") else sum(values)


def _row(name: str, counts: Mapping[str, Any]) -> str:
    keys = ("tried", "refused", "unchanged", "shortened", "unsigned", "wrongly_accepted", "tracebacks")
    most = f"{counts['seconds']:.2f}", f"{max(counts['megabytes'], 0):.0f}"
    return f"| {' | '.join([name, *(f'{counts[key]:,}' for key in keys), *most])} |\n"
