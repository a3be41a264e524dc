"""`sam2lite data`: what it writes, what it says about broken data, and how it ends when it must not write."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from sam2lite_mobile.training.pack_index import INDEX_NAME, read_index
from sam2lite_mobile.training.pack_items import FolderStill
from tests.cli.conftest import Call
from tests.training.synthetic_data import write_data, write_sequence
from tests.training.test_layouts import write_davis, write_sav, write_youtube


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def test_pack_says_what_it_wrote_and_left_out(tmp_path: Path, sam2lite: Callable[..., Call]) -> None:
    root = write_data(tmp_path / "data")
    (root / "train/images/greens/images/a.jpg").write_bytes(b"no picture")
    out = tmp_path / "pack"
    call = sam2lite("data", "pack", "--data", root, "--out", out, "--hold-out", "jumper")

    assert (call.status, call.err) == (0, "")
    first, held_out, skipped, reason = call.out.splitlines()
    assert first == f"1 videos and 1 stills, 13 frames, 0.1 MB in 1 shards: {out}"
    assert held_out == "left out on purpose: jumper"
    assert skipped == "skipped as broken: 1"
    assert reason.startswith("  greens/a: image train/images/greens/images/a.jpg: expected a JPEG or PNG")
    index = read_index(out)
    assert (index.short_side, index.quality) == (288, 85)


def test_options_reach_the_pack(tmp_path: Path, data: Path, sam2lite: Callable[..., Call]) -> None:
    out = tmp_path / "pack"
    options = ("--short-side", 60, "--quality", 40, "--dataset", "greens", "--dataset", "davis2016-train")
    assert sam2lite("data", "pack", "--data", data, "--out", out, *options, "--shard-mb", 0.1).status == 0

    index = read_index(out)
    assert (index.short_side, index.quality) == (60, 40)
    assert {sample.dataset for sample in index.samples} == {"greens", "davis2016-train"}


@pytest.mark.parametrize("layout", ["auto", "named"])
def test_every_layout_can_be_packed(tmp_path: Path, sam2lite: Callable[..., Call], layout: str) -> None:
    roots = {
        "davis": write_davis(tmp_path / "davis", "bear"),
        "youtube-vos": write_youtube(tmp_path / "youtube", "003234408d"),
        "sa-v": write_sav(tmp_path / "sav", "sav_000001"),
    }
    for name, root in roots.items():
        chosen = "auto" if layout == "auto" else name
        call = sam2lite("data", "pack", "--data", root, "--layout", chosen, "--out", tmp_path / f"pack-{name}")
        assert call.status == 0, call.err
        assert call.out.startswith("1 videos and 0 stills, 3 frames")


def test_validation_sequence_ends_with_its_name_and_no_pack(tmp_path: Path, sam2lite: Callable[..., Call]) -> None:
    write_sequence(tmp_path / "data", "my-set", "cows", frames=2)
    call = sam2lite("data", "pack", "--data", tmp_path / "data", "--out", tmp_path / "pack")

    assert call.status == 2
    assert "validation split, got cows" in call.err
    assert not (tmp_path / "pack").exists()


def test_pack_over_its_size_says_what_to_do(tmp_path: Path, data: Path, sam2lite: Callable[..., Call]) -> None:
    call = sam2lite("data", "pack", "--data", data, "--out", tmp_path / "pack", "--max-mb", 0.1)

    assert call.status == 2
    assert "expected at most 0.1 MB" in call.err
    assert "raise --max-mb" in call.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--layout", "coco"), "expected auto, ours, davis, youtube-vos, sa-v, got 'coco'"),
        (("--hold-out", "jumpr"), "got jumpr"),
        (("--dataset", "purples"), "got purples"),
        (("--layout", "youtube-vos"), "videos or stills in layout youtube-vos, got none"),
        (("--layout", "davis"), "videos or stills in layout davis, got none"),
        (("--layout", "sa-v"), "videos or stills in layout sa-v, got none"),
    ],
)
def test_wrong_option_is_explained(
    tmp_path: Path, data: Path, sam2lite: Callable[..., Call], options: tuple[str, ...], why: str
) -> None:
    call = sam2lite("data", "pack", "--data", data, "--out", tmp_path / "pack", *options)
    assert call.status == 2
    assert why in call.err
    assert len(call.err.splitlines()) == 1


def test_interrupt_leaves_no_pack(
    tmp_path: Path, data: Path, sam2lite: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = FolderStill.frames

    def interrupted(item: FolderStill, settings: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return frames(item, settings)

    monkeypatch.setattr(FolderStill, "frames", interrupted)
    call = sam2lite("data", "pack", "--data", data, "--out", tmp_path / "pack")
    assert call.status == 130
    assert "nothing was written" in call.err
    assert list(tmp_path.iterdir()) == []


def test_sheet_has_a_row_a_clip_and_is_the_same_of_a_pack(
    tmp_path: Path, data: Path, sam2lite: Callable[..., Call]
) -> None:
    assert sam2lite("data", "pack", "--data", data, "--out", tmp_path / "pack").status == 0
    for root, name in ((data, "files.png"), (tmp_path / "pack", "pack.png")):
        call = sam2lite(
            "data", "show", "--data", root, "--out", tmp_path / name, "--clips", 3, "--frames", 2, "--size", 64
        )
        assert call == Call(0, f"3 clips: {tmp_path / name}\n", "")
    assert cv2.imread(str(tmp_path / "files.png")).shape == (3 * 64, 2 * 64, 3)
    assert (tmp_path / "files.png").read_bytes() == (tmp_path / "pack.png").read_bytes()
    assert (tmp_path / "pack" / INDEX_NAME).is_file()


def test_sheet_reports_broken_draws(tmp_path: Path, sam2lite: Callable[..., Call]) -> None:
    root = write_data(tmp_path / "data")
    (root / "train/video/davis2016-train/JPEGImages/roller/00005.jpg").write_bytes(b"no picture")
    options = ("--clips", 20, "--size", 32, "--video-share", 1.0)
    call = sam2lite("data", "show", "--data", root, "--out", tmp_path / "sheet.png", *options)

    assert call.status == 0
    assert "roller/00005.jpg: expected a JPEG or PNG" in call.err
