"""What is published: every file of the package, the same bytes each time, all that it needs pinned by digest."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lottery_pools.version import VERSION
from release import artifacts, audit, environments
from release.artifacts import Built, ReleaseError

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / artifacts.LOCK).read_text(encoding="utf-8")


def test_all_that_is_needed_is_pinned_by_digest() -> None:
    packages = artifacts.pinned(LOCK)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("dependencies = [")[2].partition("]")[0]
    needed = re.findall(r'"([a-z0-9-]+)>=', text)
    assert len(needed) == 7
    assert set(needed) <= set(packages)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digests in packages.values() for digest in digests)
    builds = artifacts.pinned((ROOT / "release/requirements.txt").read_text(encoding="utf-8"))
    wanted = (ROOT / "release/requirements.in").read_text(encoding="utf-8")
    assert set(re.findall(r"^([a-z-]+)>=", wanted, re.MULTILINE)) <= set(builds)


def test_versions_are_those_that_the_tests_run_with() -> None:
    tested = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE))
    both = tested.keys() & locked.keys()
    assert len(both) >= 10
    assert {name: locked[name] for name in both} == {name: tested[name] for name in both}


@pytest.mark.parametrize("line", ["numpy==2.4.6\n", "numpy>=2 --hash=sha256:ab\n", "./here --hash=sha256:ab\n"])
def test_what_is_not_pinned_is_refused(line: str) -> None:
    with pytest.raises(ReleaseError, match="is not pinned by version and digest"):
        artifacts.pinned(f"# made by a tool\n{line}")


def test_a_wheel_that_lacks_or_adds_a_file_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    package = [path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    names = [path.relative_to(ROOT / "src").as_posix() for path in package]
    for packed, said in ((names[1:], f"lacks {names[0]}"), ([*names, "extra.py"], "has extra.py")):
        with zipfile.ZipFile(wheel, "w") as file:
            for name in packed:
                file.writestr(name, b"")
        with pytest.raises(ReleaseError, match=re.escape(said)):
            artifacts.check_contents(ROOT, wheel, tmp_path / "none.tar.gz")


def test_checksums_are_those_of_the_files(tmp_path: Path) -> None:
    built = Built(ROOT, tmp_path, tmp_path / "p-1-py3-none-any.whl", tmp_path / "p-1.tar.gz")
    assert built.sbom == tmp_path / "p-1.cdx.json"
    for path in (built.wheel, built.archive, built.sbom):
        path.write_text(path.name)
    artifacts.write_checksums(built)
    lines = built.checksums.read_text().splitlines()
    assert len(lines) == 3
    for line in lines:
        digest, name = line.split("  ")
        assert digest == hashlib.sha256(name.encode()).hexdigest()


def test_a_folder_with_files_is_not_built_into(tmp_path: Path) -> None:
    (tmp_path / "old.whl").touch()
    with pytest.raises(ReleaseError, match="is not empty"):
        artifacts.build(ROOT, tmp_path)


PACKAGES: list[dict[str, Any]] = [
    {"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}, {"id": "X-2", "fix_versions": []}]},
    {"name": "b", "version": "1", "vulns": []},
    {"name": "c", "skip_reason": "not found"},
]


def test_an_audit_tells_vulnerabilities_and_what_was_not_asked() -> None:
    assert audit.vulnerable(audit.answered(PACKAGES)) == [
        "c: not audited, not found",
        "a 1: X-1, mended in 2",
        "a 1: X-2, mended in no version yet",
    ]


def test_an_audit_that_could_not_ask_is_no_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "ask", lambda lock: PACKAGES[2:])
    with pytest.raises(SystemExit) as stop:
        audit.main()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "nothing in requirements-lock.txt was audited" in said
    assert said.count("\n") == 1
    monkeypatch.setattr(audit, "ask", lambda lock: PACKAGES[1:2])
    with pytest.raises(SystemExit) as stop:
        audit.main()
    assert (stop.value.code, capsys.readouterr().out) == (0, "audit: 2 packages, none with a known vulnerability\n")


@pytest.mark.slow
def test_wheel_and_archive_are_built_whole_and_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", artifacts.time_of_commit(ROOT))
    built = artifacts.build(ROOT, tmp_path / "dist")
    artifacts.check_reproducible(built)
    assert built.wheel.name == f"lottery_pools-{VERSION}-py3-none-any.whl"
    folder = tmp_path / "installed"
    with zipfile.ZipFile(built.wheel) as file:
        file.extractall(folder)
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import lottery_pools as lp; print(lp.__file__)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(folder))


@pytest.mark.slow
def test_the_sbom_lists_all_that_is_pinned(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py")
    built = Built(ROOT, tmp_path, tmp_path / "p-1-py3-none-any.whl", tmp_path / "p-1.tar.gz")
    artifacts.write_sbom(ROOT, built)
    content = json.loads(built.sbom.read_text())
    assert content["bomFormat"] == "CycloneDX"
    component = content["metadata"]["component"]
    assert (component["name"], component["version"]) == ("lottery-pools", "1")
    torch = next(part for part in content["components"] if part["name"] == "torch")
    assert torch["version"] in (ROOT / "constraints.txt").read_text()
    assert torch["externalReferences"][0]["hashes"]


def test_a_release_is_tried_with_what_the_makefile_installs_for_tests() -> None:
    assert f"'.[{environments.EXTRAS}]'" in (ROOT / "Makefile").read_text()
