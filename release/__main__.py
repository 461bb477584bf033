"""`python -m release`: build what is published into `dist/`, and try it in clean environments. See `make release`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from release import artifacts, environments

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Build, check and list; ends with one line and exit code 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m release", description="Build and check a release.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder, which must be new or empty")
    parser.add_argument("--tests", choices=("all", "none"), default="all", help="the tests of the source archive")
    options = parser.parse_args()
    os.environ.setdefault("SOURCE_DATE_EPOCH", artifacts.time_of_commit(ROOT))
    try:
        built = artifacts.build(ROOT, options.out)
        artifacts.check_reproducible(built)
        environments.try_wheel(built.wheel)
        if options.tests == "all":
            environments.run_tests(built)
        artifacts.write_sbom(ROOT, built)
        artifacts.write_checksums(built)
    except (artifacts.ReleaseError, subprocess.CalledProcessError) as error:
        sys.exit(f"release: {error}")
    for path in built.published:
        print(f"{path.stat().st_size:>12,}  {path}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["LOTTERY_POOLS_CACHE"] = str(Path(home) / "cache")
        main()
