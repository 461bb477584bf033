"""`python -m release.audit`: ask the vulnerability service about every pinned package. See `make audit`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from release.artifacts import LOCK

ROOT = Path(__file__).parents[1]
LOCKS = (LOCK, "release/requirements.txt")
"""The files whose packages are asked about."""


def main() -> None:
    """Audit all files; ends with 1 where a package has a known vulnerability, with 2 where nothing could be asked."""
    known: list[str] = []
    asked = 0
    for lock in LOCKS:
        audited = answered(ask(ROOT / lock))
        if not audited:
            print(f"audit: no vulnerability service answers from here: nothing in {lock} was audited", file=sys.stderr)
            sys.exit(2)
        asked += len(audited)
        known += vulnerable(audited)
    print("\n".join(known) if known else f"audit: {asked} packages, none with a known vulnerability")
    sys.exit(1 if known else 0)


def ask(lock: Path) -> list[dict[str, Any]]:
    """What pip-audit says of each package of a lock; nothing where it cannot ask."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"]
    command += ["--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return []
    return packages


def answered(packages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The packages, if the service knew any of them; it knows all that are published."""
    return packages if any("skip_reason" not in package for package in packages) else []


def vulnerable(packages: list[dict[str, Any]]) -> list[str]:
    """A line for each vulnerability, and for each package that could not be asked about."""
    lines = [
        f"{package['name']}: not audited, {package['skip_reason']}" for package in packages if "skip_reason" in package
    ]
    for package in packages:
        for found in package.get("vulns", ()):
            mended = ", ".join(found["fix_versions"]) or "no version yet"
            lines.append(f"{package['name']} {package['version']}: {found['id']}, mended in {mended}")
    return lines


if __name__ == "__main__":
    main()
