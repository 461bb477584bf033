"""The files of a release: how they are built, compared, described and listed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

LOCK = "requirements-lock.txt"
"""The file that pins all that lottery-pools needs, by version and by digest."""


class ReleaseError(Exception):
    """Something about the release is not as it should be."""


@dataclass(frozen=True)
class Built:
    """What was built from one tree of sources."""

    root: Path
    """The sources."""
    out: Path
    wheel: Path
    archive: Path
    """The sources as a `.tar.gz`."""

    @property
    def sbom(self) -> Path:
        """The list of what the wheel needs, in CycloneDX's JSON."""
        return self.out / f"{self.archive.name.removesuffix('.tar.gz')}.cdx.json"

    @property
    def checksums(self) -> Path:
        """The SHA-256 of the other files, as `sha256sum --check` reads them."""
        return self.out / "SHA256SUMS"

    @property
    def published(self) -> tuple[Path, ...]:
        """All files of the release."""
        return self.wheel, self.archive, self.sbom, self.checksums


def time_of_commit(root: Path) -> str:
    """When the sources were last committed, in seconds since 1970; of sources without a history, 2020-02-02."""
    command = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "1580601600"


def build(root: Path, out: Path) -> Built:
    """Build the source archive, and from it the wheel, with the build backend that is installed here.

    Raises ReleaseError where the folder `out` has files already, or the build leaves other files than these two.
    """
    if out.exists() and any(out.iterdir()):
        raise ReleaseError(f"{out} is not empty: move its files away, a release is built once")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(root)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wheels, archives = sorted(out.glob("*.whl")), sorted(out.glob("*.tar.gz"))
    if len(wheels) != 1 or len(archives) != 1:
        raise ReleaseError(f"{out} has {len(wheels)} wheels and {len(archives)} archives: one of each was expected")
    check_contents(root, wheels[0], archives[0])
    return Built(root, out, wheels[0], archives[0])


def check_contents(root: Path, wheel: Path, archive: Path) -> None:
    """Raise ReleaseError unless the wheel has every file of the package and no other, and the archive has them too."""
    package = {
        path.relative_to(root / "src").as_posix()
        for path in (root / "src/lottery_pools").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as file:
        packed = {name for name in file.namelist() if ".dist-info/" not in name}
    if odd := sorted(package ^ packed):
        raise ReleaseError(f"{wheel.name} {'lacks' if odd[0] in package else 'has'} {odd[0]}")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    wanted = {*(f"src/{name}" for name in package), LOCK, "LICENSE", "Makefile", "constraints.txt", "tests/conftest.py"}
    if missing := sorted(wanted - names):
        raise ReleaseError(f"{archive.name} lacks {missing[0]}")


def check_reproducible(built: Built) -> None:
    """Raise ReleaseError unless the same sources give the same bytes again."""
    with tempfile.TemporaryDirectory() as folder:
        again = build(built.root, Path(folder) / "again")
        for first, second in ((built.wheel, again.wheel), (built.archive, again.archive)):
            if (first.name, first.read_bytes()) != (second.name, second.read_bytes()):
                raise ReleaseError(f"{first.name} has other bytes when it is built again")


def write_sbom(root: Path, built: Built) -> None:
    """Write the list of all that `requirements-lock.txt` installs, with versions and digests, as CycloneDX.

    Raises ReleaseError where the list lacks a package of the lock.
    """
    if importlib.util.find_spec("cyclonedx_py") is None:
        raise ReleaseError("cyclonedx-bom is not installed: run `make release`, which installs it")
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(root / LOCK)]
    command += ["--pyproject", str(root / "pyproject.toml"), "--mc-type", "library", "--output-reproducible"]
    subprocess.run([*command, "--of", "JSON", "-o", str(built.sbom)], check=True)
    content = json.loads(built.sbom.read_text(encoding="utf-8"))
    _, version, *_ = built.wheel.name.split("-")  # pyproject.toml leaves it to the build
    content["metadata"]["component"]["version"] = version
    built.sbom.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    listed = {part["name"] for part in content["components"]}
    if missing := sorted(set(pinned((root / LOCK).read_text(encoding="utf-8"))) - listed):
        raise ReleaseError(f"{built.sbom.name} lacks {missing[0]}")


def pinned(lock: str) -> dict[str, list[str]]:
    """The packages that a file of requirements pins, and the digests of each.

    Raises ReleaseError for one without a digest.

    >>> pinned("numpy==2.4.6 ; python_version > '3' \\\\\\n    --hash=sha256:ab \\\\\\n    --hash=sha256:cd\\n")
    {'numpy': ['ab', 'cd']}
    """
    packages: dict[str, list[str]] = {}
    for entry in lock.replace("\\\n", " ").splitlines():
        words = entry.split()
        if not words or words[0].startswith("#"):
            continue
        name = words[0].partition("==")[0]
        digests = [word.removeprefix("--hash=sha256:") for word in words if word.startswith("--hash=sha256:")]
        if not digests or "==" not in words[0]:
            raise ReleaseError(f"{words[0]} is not pinned by version and digest: run `make lock`")
        packages.setdefault(name, []).extend(digests)
    return packages


def write_checksums(built: Built) -> None:
    """Write the SHA-256 of every other file of the release."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(built.published)
        if path != built.checksums
    ]
    built.checksums.write_text("".join(lines), encoding="utf-8")
