"""Clean environments in which the files of a release are tried, as a user has them: without this folder of sources."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from release.artifacts import Built, ReleaseError

TRIAL = ("run", "--preset", "demo", "--limit", "40", "--seeds", "0", "--pruning.levels", "2", "--out", "trial")
"""A run of some seconds that trains, pools, measures and reports."""
EXTRAS = "cluster,data,dev,docs,onnx,tensorboard"
"""What the tests need beside lottery-pools itself, as in the Makefile."""


@contextmanager
def environment(requirement: str, constraints: Path) -> Iterator[Path]:
    """A folder with a new virtual environment, `.venv`, in which a requirement is installed; gone at the end."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", str(place / ".venv")], check=True)
        pip = [str(place / ".venv/bin/python"), "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
        subprocess.run([*pip, requirement], check=True)
        yield place


def run(place: Path, command: str, arguments: Sequence[str], folder: Path | None = None) -> str:
    """What a command of an environment prints, in a folder of its own; raises ReleaseError where it fails."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = [str(place / ".venv/bin" / command), *arguments]
    done = subprocess.run(
        words, cwd=folder or place, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise ReleaseError(f"`{' '.join([command, *arguments])}` failed:\n{done.stdout[-4000:]}")
    return done.stdout


def try_wheel(wheel: Path) -> None:
    """Install the wheel alone, and let it train, pool, measure, report, replay and export."""
    with environment(str(wheel), Path(__file__).parents[1] / "constraints.txt") as place:
        run(place, "lottery-pools", ["--version"])
        run(place, "lottery-pools", TRIAL)
        pooled = next(iter(sorted(place.glob("trial/pools/*/level_01.safetensors"))), None)
        if pooled is None or not (place / "trial/report.html").is_file():
            raise ReleaseError(f"{wheel.name} is installed, but its run left no pool or no report")
        if "same bytes" not in run(place, "lottery-pools", ["replay", str(pooled)]):
            raise ReleaseError(f"{pooled.name} was not replayed")
        run(place, "lottery-pools", ["export", str(pooled), "--to", "hub", "--out", "exported"])
        run(place, "python", ["-c", "import lottery_pools as lp; lp.load_model('exported')"])


def run_tests(built: Built) -> None:
    """Install the wheel with what the tests need, and run the tests of the source archive against it."""
    with environment(f"{built.wheel}[{EXTRAS}]", built.root / "constraints.txt") as place:
        with tarfile.open(built.archive) as file:
            file.extractall(place, filter="data")
        sources = place / built.archive.name.removesuffix(".tar.gz")
        tested = run(place, "python", ["-c", "import lottery_pools; print(lottery_pools.__file__)"], sources)
        if not tested.startswith(str(place.resolve() / ".venv")) and not tested.startswith(str(place / ".venv")):
            raise ReleaseError(f"the tests would import {tested.strip()}, not the wheel")
        run(place, "python", ["-m", "pytest", "-m", "not slow", "-n", "auto", "--dist", "loadfile"], sources)
