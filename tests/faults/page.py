"""docs/reliability.md, from what the harness found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

which goes on where it was stopped. Every fault follows from its number and the seed, so that it can be tried again.
{versions}
Seed {seed}. Machine: {machine}.
"""
KILLS = """
## Commands that are killed or refused

The commands of a small run (tickets, among them those of a baseline that trains copies; pools; rows; diagnosis; report;
publication) are disturbed at a random file operation, at one of a random kind, or after a random time, each again and again
until it is done. A write that is disturbed has written half of its bytes. Then all files but the log are compared with
those of a run that nothing disturbed.

| | killed or stopped | refused a file operation |
|---|---|---|
| commands disturbed | {kill[faults]:,} | {errno[faults]:,} |
| how | {kill_kinds} | {errno_kinds} |
| runs that were finished at last | {kill[runs]:,} | {errno[runs]:,} |
| **bytes differing** | {kill[bytes_differing]:,} | {errno[bytes_differing]:,} |
| **leftover files** | {kill[leftovers]:,} | {errno[leftovers]:,} |
| **tracebacks, wrong exit codes, more than one line** | {kill[tracebacks]:,} | {errno[tracebacks]:,} |

*Full disk* and *read-only disk* are operations that go on failing once one has.
"""
PROCESSES = """
## Commands with worker processes

{tried:,} commands with two workers in a session of their own ({kinds}): **{orphans:,} processes outlived their command,
{tracebacks:,} tracebacks, wrong exit codes or warnings (of leaked semaphores, say), {bytes_differing:,} files differing** at
last. An interrupt reaches all processes, as in a terminal; the other signals reach the command alone.
"""
DISKS = """
## Disks

Real file systems in memory of 8 to 300 kB, and the same remounted read-only: {refused:,} commands were refused in one
line, **{tracebacks:,} tracebacks, {differing:,} files differing** after there was room.
"""
NO_DISKS = """
## Disks

No file system could be mounted here: full and read-only disks are those of the table above.
"""
FILES = """
## Files that are damaged

One thing in a file is changed: a bit or many, bytes cut off, inserted, removed or repeated, names and shapes in headers,
values of JSON and TOML, cells of tables (numbers of 5,000 digits, lists within lists, keys twice), tensors exchanged. In
three of ten files that carry digests, the digests are made anew afterwards. *Refused* means: with one line that names the
file. *Other content* are files that carry no digest, or one that was made anew: nothing can tell that they were changed.

| file | tried | refused | read, same content | read, rows before the damage | other content, no digest | **wrongly accepted** | **tracebacks** | longest (s) | memory (MB) |
|---|---|---|---|---|---|---|---|---|---|
"""
TAIL = """
Memory is what the process grew by beyond three times the size of the file; {megabytes} MB and {seconds:g} s of processor
time are allowed. A crash or a file that is never read would count as a traceback.
"""
MENDED = """
## Mended meanwhile

What was found by the harness while it counted; after it was mended, all files of the kind were tried again.

"""
MENDED_KIND = "- {name}: {wrongly_accepted} wrongly accepted and {tracebacks} tracebacks of {tried:,} files, by version `{version}`\n"
LOADS = """
## Load

| what | memory at most (MB) | processor time (s) |
|---|---|---|
"""


def page(state: Mapping[str, Any]) -> str:
    """The page, from the state that the harness keeps."""
    parts = [HEAD.format(versions=_versions(state["versions"]), seed=state["seed"], machine=state["machine"])]
    if state["kill"] and state["errno"]:
        kinds = {f"{name}_kinds": _kinds(state[name]["by_kind"]) for name in ("kill", "errno")}
        parts.append(KILLS.format(kill=state["kill"], errno=state["errno"], **kinds))
    if state["processes"]:
        parts.append(PROCESSES.format(kinds=_kinds(state["processes"]["by_kind"]), **state["processes"]))
    if "disks" in state:
        parts.append(DISKS.format(**state["disks"]) if state["disks"]["mounted"] else NO_DISKS)
    if state["files"]:
        rows = [_row(name, counts) for name, counts in state["files"].items()]
        sums = {key: _sum(state, key) for key in next(iter(state["files"].values())) if key != "failures"}
        parts += [FILES, *rows, _row("**all**", sums)]
        parts.append(TAIL.format(megabytes=MOST_MEGABYTES, seconds=MOST_SECONDS))
    if mended := state.get("mended"):
        parts += [MENDED, *(MENDED_KIND.format(**counts) for counts in mended)]
    if loads := [_load(name, measured) for name, measured in state["load"].items() if "failure" not in measured]:
        parts += [LOADS, *loads]
    failures = list(_failures(state))
    if failures:
        parts += ["\n## Failures\n", *(f"\n```\n{text}\n```\n" for text in failures)]
    return "".join(parts)


def _versions(versions: list[Mapping[str, str]]) -> str:
    """Which version of the code was tried."""
    named = [f"`{v['source']}`" + (f" (commit {v['commit']})" if v["commit"] else "") for v in versions]
    if len(named) == 1:
        return f"\nOne version of the code was tried throughout: digest of the source {named[0]}."
    return f"\nThe counts are of several versions of the code, by digests of the source: {', '.join(named)}."


def _kinds(by_kind: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(by_kind.items()))


def _sum(state: Mapping[str, Any], key: str) -> Any:
    values = [counts[key] for counts in state["files"].values()]
    return max(values) if key in ("seconds", "megabytes") else sum(values)


def _row(name: str, counts: Mapping[str, Any]) -> str:
    keys = ("tried", "refused", "unchanged", "shortened", "unsigned", "wrongly_accepted", "tracebacks")
    most = f"{counts['seconds']:.2f}", f"{max(counts['megabytes'], 0):.0f}"
    return f"| {' | '.join([name, *(f'{counts[key]:,}' for key in keys), *most])} |\n"


def _load(name: str, measured: Mapping[str, Any]) -> str:
    what = {
        "rows": "{rows:,} rows ({file_megabytes:.0f} MB) measured, appended, and a report made of them; "
        "the report takes {beyond_megabytes:.0f} MB beyond three times the file",
        "runs": "{runs} runs compared on one page",
        "tickets": "{tickets} tickets of a small network, {pools} pools of them, measured, and a report",
    }[name].format(**measured)
    return f"| {what} | {measured['megabytes']:,.0f} | {measured['seconds']:,.0f} |\n"


def _failures(state: Mapping[str, Any]) -> Iterator[str]:
    """What led to everything that should not be."""
    for counts in (*state["files"].values(), state["kill"], state["errno"], state["processes"], state.get("disks", {})):
        yield from counts.get("failures", ())
    yield from (
        f"load of {name}: {measured['failure']}" for name, measured in state["load"].items() if "failure" in measured
    )
