"""Whatever stops a publication, the folder holds the old package or the new one."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sam2lite_mobile.errors import PackageError
from sam2lite_mobile.package.codec import read_manifest
from sam2lite_mobile.package.publish import publish_ios
from sam2lite_mobile.package.tree import list_files
from sam2lite_mobile.package.verify import verify_package
from tests.package.samples import draft

ROOT = Path(__file__).resolve().parents[2]


def kill_everywhere(work: Path, *, models, texts, old: Path | None, without_exchange: bool, step: int) -> list[dict]:
    inputs = {
        "models": {name: str(path) for name, path in models.items()},
        "old": str(old) if old else None,
        "without_exchange": without_exchange,
        "step": step,
        **{name: str(path) for name, path in texts.items()},
    }
    (work / "inputs.json").write_text(json.dumps(inputs))
    command = [sys.executable, "-m", "tests.package.kill_points", str(work)]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return json.loads(done.stdout)


EVERY_CALL = pytest.param(1, marks=pytest.mark.slow)


@pytest.fixture
def memory_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where the system has one: hundreds of publications flush to disk otherwise."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.parametrize("step", [16, EVERY_CALL])
def test_killed_at_any_moment_leaves_the_old_package_or_the_new_one(
    models, texts, published, memory_disk: Path, step: int
) -> None:
    rounds = kill_everywhere(memory_disk, models=models, texts=texts, old=published, without_exchange=False, step=step)
    *killed, last = rounds
    assert len(killed) > 20
    assert {os.WTERMSIG(found["status"]) for found in killed} == {signal.SIGKILL}
    assert last["status"] == 0
    assert [found["version"] for found in (killed[0], last)] == ["1.2.0", "2.0.0"]
    assert not any(found["missing"] for found in rounds)
    assert all(found["passed"] and found["version"] in ("1.2.0", "2.0.0") for found in rounds)
    assert any(found["version"] == "2.0.0" for found in killed), "no kill point after the exchange"
    check_next_builds(rounds)


@pytest.mark.parametrize("step", [16, EVERY_CALL])
def test_killed_without_an_atomic_exchange_recovers_when_the_package_is_opened(
    models, texts, published, memory_disk: Path, step: int
) -> None:
    rounds = kill_everywhere(memory_disk, models=models, texts=texts, old=published, without_exchange=True, step=step)
    assert any(found["missing"] for found in rounds), "no kill point between the two renames"
    assert all(found["passed"] and found["version"] in ("1.2.0", "2.0.0") for found in rounds)
    check_next_builds(rounds)


@pytest.mark.parametrize("step", [16, EVERY_CALL])
def test_killed_while_publishing_for_the_first_time_leaves_a_whole_package_or_none(
    models, texts, memory_disk: Path, step: int
) -> None:
    rounds = kill_everywhere(memory_disk, models=models, texts=texts, old=None, without_exchange=False, step=step)
    assert {found["passed"] for found in rounds} == {True, None}
    check_next_builds(rounds)


def check_next_builds(rounds: list[dict]) -> None:
    """The build after the killed one succeeds and removes everything that the dead one left."""
    assert all(found["next_passed"] and found["next_version"] == "3.0.0" for found in rounds)
    assert all(found["left_behind"] == [] for found in rounds)


def test_disk_that_fills_up_at_any_moment_leaves_the_old_package(models, texts, published, small_disk: Path) -> None:
    target = shutil.copytree(published, small_disk / "ios")
    before = list_files(target)
    outcomes = set()
    filler = small_disk / "filler"
    for free_kib in range(0, 400, 20):
        filler.write_bytes(b"")
        filler.write_bytes(bytes(max(0, free_bytes(small_disk) - free_kib * 1024)))
        refusal = publish_or_refusal(target, models, texts)
        if refusal is None:
            assert read_manifest(target / "manifest.json").package_version == "2.0.0"
            outcomes.add("published")
        else:
            assert "expected room and permission to write, got No space left on device" in refusal
            assert list_files(target) == before
            outcomes.add("refused")
        assert verify_package(target).passed
        assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "ios"]
        if "published" in outcomes:
            break
    assert outcomes == {"refused", "published"}


def test_file_that_the_system_refuses_to_grow_leaves_the_old_package(models, texts, published, tmp_path: Path) -> None:
    """The stand-in for a full disk where no small one can be mounted: a limit on the length of a file."""
    target = shutil.copytree(published, tmp_path / "ios")
    before = list_files(target)
    card = tmp_path / "card.md"
    card.write_bytes(b"x" * 300_000)
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old_limit[1]))
    try:
        with pytest.raises(PackageError, match="expected room and permission to write, got File too large"):
            publish_ios(target, models=models, manifest=draft(), model_card=card, licence=texts["licence"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert list_files(target) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.md", "ios"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root and mount")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def publish_or_refusal(target: Path, models, texts) -> str | None:
    """None after publishing version 2.0.0, or the message of the refusal."""
    try:
        publish_ios(target, models=models, manifest=draft(package_version="2.0.0"), **texts)
    except PackageError as error:
        return str(error)
    return None


def free_bytes(folder: Path) -> int:
    usage = os.statvfs(folder)
    return usage.f_bavail * usage.f_frsize
