"""All that a GPU has to show, one stage after the other, within a time that is given: each leaves what it has.

Stages, in the order of what they are worth:

- `tests`: `tests/gpu`; a test that fails is named in the log at once;
- `benchmark`: `benchmarks.gpu`, whose rows are written one by one;
- `cifar100-vgg16` and `cifar100-resnet18`: the studies in `studies/gpu`. A study that is cut off is measured as far as
  it has come, and published all the same; it goes on from there when it is called again.

A stage may take half as long again as its share of the time that is left; the last one all that is left. Then it is
interrupted, and killed if it does not end. The folder `--out` has a log of each stage, the rows of the benchmark, and
`session.jsonl`: how each stage ended, and after how many seconds.

    python -m benchmarks.gpu_session --seconds 560 --out gpu
    python -m benchmarks.gpu_session --seconds 260 --out gpu --stages tests benchmark           # in two parts
    python -m benchmarks.gpu_session --seconds 460 --out gpu --stages cifar100-vgg16 cifar100-resnet18
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).parents[1]
GRACE = 10.0
"""Seconds that a command has to end after it was interrupted, before it is killed."""
SAVING = 60.0
"""Seconds that are kept to measure and publish a study that is cut off, if there are twice as many."""
LEAST = 15.0
"""A stage that would have fewer seconds is left out."""
Command = tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """One part of a session."""

    name: str
    expected: float
    """Seconds that it should take on an H100: by them the time is shared out."""
    command: Command
    rescue: Command | None = None
    """What makes results of what `command` left, where that did not end well."""
    publish: Command | None = None
    """What makes small files of the results, in any case."""


@dataclass(frozen=True)
class Places:
    """Where a session finds its data and leaves its results."""

    out: Path
    data: Path
    """The folder of CIFAR-100's parquet files."""
    runs: Path
    """Where the runs of the studies are, with their tickets."""
    results: Path
    """Where the studies are published."""


def python(*words: str) -> Command:
    """A command of this Python."""
    return (sys.executable, *words)


def stages(places: Places, options: Sequence[str]) -> Iterator[Stage]:
    """All stages; `options` are those of the studies' command `run`."""
    pytest = ("-m", "pytest", "-p", "no:cacheprovider", "-m", "gpu", "-vv", "--durations=5", "tests/gpu")
    yield Stage("tests", 100, python(*pytest))
    yield Stage("benchmark", 90, python("-m", "benchmarks.gpu", "--out", str(places.out / "gpu.jsonl")))
    for name, expected in (("cifar100-vgg16", 190), ("cifar100-resnet18", 240)):
        yield study(ROOT / f"studies/gpu/{name}.toml", expected, places, options)


def study(settings: Path, expected: float, places: Places, options: Sequence[str]) -> Stage:
    """The stage of a study, by the file of its settings."""
    name, folder = settings.stem, str(places.runs / settings.stem)
    ours, data = ("-m", "lottery_pools"), ("--data.name", str(places.data))
    device = [word for word in options if word.startswith("--device=")]
    if "--device" in options:
        device = list(options[options.index("--device") :][:2])
    return Stage(
        name,
        expected,
        python(*ours, "run", "--preset", str(settings), *options, *data, "--out", folder),
        rescue=python(*ours, "evaluate", folder, *device),
        publish=python(*ours, "report", folder, "--publish", str(places.results / name)),
    )


def environment() -> dict[str, str]:
    """The variables of the commands: they find the package and the tests, see the GPU, and write lines at once."""
    paths = os.pathsep.join(filter(None, (str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": paths, "LOTTERY_POOLS_TEST_GPU": "1", "PYTHONUNBUFFERED": "1"}


def call(command: Command, log: Path, end: float) -> str:
    """Run a command until a time of the monotonic clock at most; what it prints goes to a log, and is shown.

    Returns how it ended: `done`, `failed (exit code)` or `cut off`.
    """
    with log.open("ab") as sink:
        before = log.stat().st_size
        process = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, env=environment(), start_new_session=True
        )
    signals = [(end - GRACE, signal.SIGINT), (end, signal.SIGKILL)]
    try:
        with log.open("rb") as shown:
            shown.seek(before)
            while process.poll() is None:
                _show(shown)
                if signals and time.monotonic() > signals[0][0]:
                    _, number = signals.pop(0)
                    os.killpg(process.pid, number)
                time.sleep(0.1)
            _show(shown)
    finally:
        with contextlib.suppress(ProcessLookupError):  # what it has left behind would hold the GPU
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if len(signals) < 2:
        return "cut off"
    return "done" if process.returncode == 0 else f"failed ({process.returncode})"


def _show(lines: BinaryIO) -> None:
    """Print what is new in a log."""
    sys.stdout.write(lines.read().decode(errors="replace"))
    sys.stdout.flush()


def do(stage: Stage, log: Path, seconds: float) -> str:
    """Do a stage within so many seconds. Returns how its command ended."""
    end = time.monotonic() + seconds
    saves = stage.rescue is not None and seconds > 2 * SAVING
    ended = call(stage.command, log, end - SAVING if saves else end)
    if ended != "done" and stage.rescue is not None:
        call(stage.rescue, log, end)
    if stage.publish is not None and call(stage.publish, log, end) != "done" and ended == "done":
        ended = "not published"
    return ended


def share(chosen: Sequence[Stage], seconds: float) -> float:
    """How many of the seconds that are left the first of the stages may take."""
    first, *later = (stage.expected for stage in chosen)
    return min(seconds, 1.5 * seconds * first / (first + sum(later)))


def session(chosen: Sequence[Stage], out: Path, seconds: float) -> bool:
    """Do the stages one after the other. Returns whether all ended well."""
    end = time.monotonic() + seconds
    out.mkdir(parents=True, exist_ok=True)
    well = True
    for place, stage in enumerate(chosen):
        start = time.monotonic()
        allowed = share(chosen[place:], end - start)
        print(f"== {stage.name}: {max(0.0, allowed):.0f} s at most", flush=True)
        ended = do(stage, out / f"{stage.name}.log", allowed) if allowed >= LEAST else "left out"
        line = {"stage": stage.name, "ended": ended, "seconds": round(time.monotonic() - start, 1)}
        with (out / "session.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"== {stage.name}: {ended} after {line['seconds']} s", flush=True)
        well = well and ended == "done"
    return well


def main() -> None:
    """Do the stages that are named; the exit code is 1 where one did not end well."""
    data = Path(os.environ.get("LOTTERY_POOLS_DATA") or ROOT.parent / "shared" / "data")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=560, help="time of all stages together")
    parser.add_argument("--stages", nargs="+", help="which stages, in this order; without it all")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of logs and rows")
    parser.add_argument("--data", type=Path, default=data / "cifar100", help="folder of CIFAR-100's parquet files")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the studies' runs")
    parser.add_argument("--results", type=Path, default=Path("docs/results"), help="where studies are published")
    parser.add_argument("--options", default="--device cuda", help="options of the studies, as one word")
    given = parser.parse_args()
    places = Places(given.out.resolve(), given.data.resolve(), given.runs.resolve(), given.results.resolve())
    known = {stage.name: stage for stage in stages(places, shlex.split(given.options))}
    for name in given.stages or ():
        if name not in known:
            parser.error(f"there is no stage {name}: give some of {', '.join(known)}")
    os.chdir(ROOT)
    # A shell lets what it starts in the background ignore interrupts; the commands would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(0 if session([known[name] for name in given.stages or known], places.out, given.seconds) else 1)


if __name__ == "__main__":
    main()
