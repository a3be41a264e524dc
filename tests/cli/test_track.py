"""`sam2lite track` from the arguments to the files, with the scripted engine."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sam2lite_mobile.cli import track_run
from sam2lite_mobile.cli.track_summary import TrackSummary
from sam2lite_mobile.media.cell_bits import cells_of
from sam2lite_mobile.media.label_maps import object_ids, read_label_map, write_label_map
from sam2lite_mobile.media.recording import RUN_FILES, FrameRecord
from sam2lite_mobile.media.source import open_source
from sam2lite_mobile.runtime.redetection import LOST_AFTER
from sam2lite_mobile.runtime.stage_clock import STAGES
from tests.cli.conftest import Call
from tests.media.clips import write_pictures, write_video
from tests.runtime.scripted_engine import scene

FIRST, SECOND = 100, 200
BOXES = {FIRST: (32, 32, 128, 128), SECOND: (128, 144, 192, 240)}
FAST = ("--engine", "scripted", "--size", 256)
Run = Callable[..., Call]


def pictures(count: int = 6) -> list[NDArray[np.uint8]]:
    """Two squares that move apart; 256 x 256, so that the scripted engine sees every pixel."""
    return [
        scene(
            {tag: (x0 + step * 4, y0, x1 + step * 4, y1) for tag, (x0, y0, x1, y1) in BOXES.items()},
            height=256,
            width=256,
        )
        for step in range(count)
    ]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "clip", pictures())


def lines(folder: Path) -> list[FrameRecord]:
    content = (folder / "frames.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=FrameRecord) for line in content]


def summary(folder: Path) -> TrackSummary:
    return msgspec.json.decode((folder / "summary.json").read_bytes(), type=TrackSummary)


def iou(labels: NDArray[np.uint8], object_id: int, expected: NDArray[np.bool_]) -> float:
    found = labels == object_id
    return float((found & expected).sum() / (found | expected).sum())


def test_two_objects_are_followed_from_a_box_and_a_point(sam2lite: Run, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = sam2lite(
        "track", clip, "--object", 1, "--box", "32,32,128,128", "--object", 4, "--point", "160,190", "--out", out, *FAST
    )
    assert (call.status, call.out.startswith("tracked 6 frames, 2 objects")) == (0, True), call.err
    assert {entry.name for entry in out.iterdir()} == RUN_FILES
    for step, frame in enumerate(pictures()):
        labels = read_label_map(out / "masks" / f"{step:05d}.png")
        assert iou(labels, 1, frame[..., 0] == FIRST) > 0.95
        assert iou(labels, 4, frame[..., 0] == SECOND) > 0.95


def test_one_line_a_frame_says_what_was_found_and_kept(sam2lite: Run, clip: Path, tmp_path: Path) -> None:
    assert sam2lite("track", clip, "--box", "32,32,128,128", "--out", tmp_path / "out", *FAST).status == 0
    records = lines(tmp_path / "out")
    assert [(record.frame, record.name, record.size) for record in records] == [(i, f"{i:05d}", 256) for i in range(6)]
    assert [record.time_s for record in records] == pytest.approx([index / 24 for index in range(6)], abs=1e-6)
    for index, record in enumerate(records):
        assert set(record.latency_ms) == set(STAGES)
        (found,) = record.objects
        assert (found.object_id, found.visible, found.prompted) == (1, True, index == 0)
        assert found.area_share == pytest.approx(96 * 96 / 256**2, rel=0.02)
        assert sum(found.tokens_by_age.values()) == 128  # the scripted engine's whole bank
        assert max(found.tokens_by_age) == index  # the anchor of frame 0 is always there
    assert summary(tmp_path / "out").objects[0].visible_frames == 6
    assert summary(tmp_path / "out").latency_ms["total"].frames == 6


def test_correction_reaches_the_frame_that_it_is_for(sam2lite: Run, clip: Path, tmp_path: Path) -> None:
    arguments = ("--box", "32,32,128,128", "--at", 3, "--point", "80,80", "--point", "2:190,190@4")
    assert sam2lite("track", clip, *arguments, "--out", tmp_path / "out", *FAST).status == 0
    prompted = [[each.object_id for each in record.objects if each.prompted] for record in lines(tmp_path / "out")]
    assert prompted == [[1], [], [], [1], [2], []]
    assert [each.prompted_frames for each in summary(tmp_path / "out").objects] == [[0, 3], [4]]


def test_mask_file_adds_an_object_for_each_id(sam2lite: Run, clip: Path, tmp_path: Path) -> None:
    red = pictures()[0][..., 0]
    given = (2 * (red == FIRST) + 9 * (red == SECOND)).astype(np.uint8)
    write_label_map(tmp_path / "m.png", given)
    assert sam2lite("track", clip, "--mask", tmp_path / "m.png", "--out", tmp_path / "out", *FAST).status == 0
    np.testing.assert_array_equal(read_label_map(tmp_path / "out" / "masks" / "00000.png"), given)
    assert object_ids(read_label_map(tmp_path / "out" / "masks" / "00005.png")) == (2, 9)


def test_part_of_a_video_keeps_its_frame_numbers_and_times(sam2lite: Run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", pictures())
    call = sam2lite(
        "track",
        video,
        "--box",
        "40,32,136,128",
        "--start-frame",
        2,
        "--max-frames",
        3,
        "--out",
        tmp_path / "out",
        *FAST,
    )
    assert call.status == 0, call.err
    assert sorted(path.name for path in (tmp_path / "out" / "masks").iterdir()) == [f"0000{i}.png" for i in (2, 3, 4)]
    assert [record.time_s for record in lines(tmp_path / "out")] == pytest.approx([0.08, 0.12, 0.16])
    assert (summary(tmp_path / "out").first_frame, summary(tmp_path / "out").last_frame) == (2, 4)
    with open_source(str(tmp_path / "out" / "overlay.mp4")) as overlay:
        assert [frame.time_s for frame in overlay] == pytest.approx([0, 0.04, 0.08], abs=1e-4)


def test_interrupt_keeps_what_is_finished(
    sam2lite: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InterruptedTracker(track_run.Tracker):
        def step(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
            result = super().step(*arguments, **options)  # type: ignore[arg-type]
            if result.frame_index == 2:
                signal.raise_signal(signal.SIGINT)
            return result

    monkeypatch.setattr(track_run, "Tracker", InterruptedTracker)
    call = sam2lite("track", clip, "--box", "32,32,128,128", "--out", tmp_path / "out", *FAST)
    assert (call.status, call.out.startswith("interrupted after 3 frames")) == (130, True), call.err
    assert len(lines(tmp_path / "out")) == len(list((tmp_path / "out" / "masks").iterdir())) == 3
    with open_source(str(tmp_path / "out" / "overlay.mp4")) as overlay:
        assert len(list(overlay)) == 3
    assert summary(tmp_path / "out").interrupted


def test_prompt_that_an_interrupted_run_did_not_reach_is_reported(sam2lite: Run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.webm", pictures(), codec="libvpx")  # webm does not say how long it is
    call = sam2lite(
        "track", video, "--box", "32,32,128,128", "--at", 40, "--point", "1,1", "--out", tmp_path / "out", *FAST
    )
    assert call.status == 0
    assert "prompts not reached: frame 40" in call.err
    assert summary(tmp_path / "out").prompts_not_reached == [40]


def test_broken_picture_in_the_middle_leaves_nothing(sam2lite: Run, clip: Path, tmp_path: Path) -> None:
    (clip / "00003.png").write_bytes(b"\x89PNG broken")
    call = sam2lite("track", clip, "--box", "32,32,128,128", "--out", tmp_path / "out", *FAST)
    assert call.status == 2
    assert "00003.png: expected a whole JPEG or PNG file" in call.err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["clip"]


def test_finished_run_is_replaced_only_when_asked(sam2lite: Run, clip: Path, tmp_path: Path) -> None:
    arguments = ("track", clip, "--box", "32,32,128,128", "--out", tmp_path / "out", *FAST)
    assert sam2lite(*arguments).status == 0
    call = sam2lite(*arguments, "--max-frames", 2)
    assert (call.status, "add --overwrite" in call.err) == (2, True)
    assert len(lines(tmp_path / "out")) == 6
    assert sam2lite(*arguments, "--max-frames", 2, "--overwrite").status == 0
    assert len(lines(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected a --box, --point or --mask, got none"),
        (("--box", "1,2,3"), "--box: expected x0,y0,x1,y1"),
        (("--box", "0,0,300,9"), "prompt: expected x in 0..256, y in 0..256, got (300.0, 9.0)"),
        (("--point", "9,9,0"), "first prompt of object 1"),
        (("--point", "9,9@6"), "prompt: expected a frame up to 5, got 6"),
        (("--point", "9,9", "--start-frame", 6), "start frame: expected 0 to 5, got 6"),
        (("--point", "9,9", "--size", 500), "--size: expected 256 304 352 416 464 512, got 500"),
        (("--point", "9,9", "--window", 9), "--window: expected 2 to 8, got 9"),
        (
            ("--point", "9,9", "--engine", "tpu"),
            "engine: expected torch or coreml or onnx or tflite or executorch or scripted, got 'tpu'",
        ),
        (("--point", "9,9", "--checkpoint", "w"), "engine scripted: expected --package, got --checkpoint w"),
        (("--point", "9,9", "--package", "nowhere"), "--package: expected an existing path, got nowhere"),
        (("--object", "x", "--point", "9,9"), "--object: expected a whole number, got 'x'"),
        (("--mask", "nowhere.png"), "nowhere.png: expected a file, got no such file"),
    ],
)
def test_wrong_calls_are_one_line_and_leave_nothing(
    sam2lite: Run, clip: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    call = sam2lite("track", clip, "--out", tmp_path / "out", *FAST, *arguments)
    assert call.status == 2
    assert call.err.startswith("sam2lite: ")
    assert message in call.err
    assert call.err.count("\n") == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["clip"]


def test_mask_of_another_size_is_refused(sam2lite: Run, clip: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(tmp_path / "m.png")
    call = sam2lite("track", clip, "--mask", tmp_path / "m.png", "--out", tmp_path / "out", *FAST)
    assert (call.status, "mask prompt: expected the frame's (256, 256), got (64, 64)" in call.err) == (2, True)


def test_memory_cells_are_recorded_by_frame_of_the_source_where_asked_for(
    sam2lite: Run, clip: Path, tmp_path: Path
) -> None:
    arguments = ("track", clip, "--box", "34,34,126,126@2", "--start-frame", 2, *FAST)
    assert sam2lite(*arguments, "--out", tmp_path / "plain").status == 0
    assert "memory_cells" not in (tmp_path / "plain" / "frames.jsonl").read_text()
    call = sam2lite(*arguments, "--out", tmp_path / "cells", "--memory-cells")
    assert call.status == 0, call.err
    records = lines(tmp_path / "cells")
    assert [record.frame for record in records] == [2, 3, 4, 5]
    for record in records:
        (found,) = record.objects
        assert isinstance(found.memory_cells, dict)
        by_age = {record.frame - source: len(cells_of(bits)) for source, bits in found.memory_cells.items()}
        assert by_age == found.tokens_by_age


def test_target_rate_changes_sizes_and_the_lines_say_why(sam2lite: Run, tmp_path: Path) -> None:
    clip = write_pictures(tmp_path / "clip", pictures(16))
    arguments = ("--box", "32,32,128,128", "--at", 12, "--point", "130,80", "--engine", "scripted")
    call = sam2lite("track", clip, *arguments, "--target-fps", 100_000, "--size", 416, "--out", tmp_path / "out")
    assert call.status == 0, call.err
    assert "target 100000 frames a second, got " in call.out
    records = lines(tmp_path / "out")
    assert (records[0].size, records[0].window, records[12].size, records[12].window) == (416, 8, 416, 8)  # prompted
    assert (records[-1].size, records[-1].window) == (256, 2)  # no size is that quick
    steps = [record.scheduler for record in records]
    assert all(step is not None for step in steps)
    assert steps[0] is not None
    assert (steps[0].reason, steps[0].error) == ("frame not counted", None)
    smaller = next(step for step in steps if step is not None and step.reason == "too slow: smaller size")
    assert smaller.error == -1.0
    assert smaller.output is not None
    assert smaller.output < 0
    found = summary(tmp_path / "out").adaptive
    assert found is not None
    assert (found.target_fps, found.frames, sum(found.sizes.values())) == (100_000, 14, 14)
    assert sum(found.reasons.values()) == 14
    assert found.on_target == 0.0
    for step, record in enumerate(records):
        labels = read_label_map(tmp_path / "out" / "masks" / f"{record.name}.png")
        assert iou(labels, 1, pictures(16)[step][..., 0] == FIRST) > 0.9, step


def test_target_that_is_easily_reached_keeps_the_size(sam2lite: Run, clip: Path, tmp_path: Path) -> None:
    call = sam2lite("track", clip, "--box", "32,32,128,128", "--target-fps", 0.01, "--out", tmp_path / "out", *FAST)
    assert call.status == 0, call.err
    assert {record.size for record in lines(tmp_path / "out")} == {256}
    found = summary(tmp_path / "out").adaptive
    assert found is not None
    assert (found.on_target, found.changes) == (1.0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target-fps", 0), "--target-fps: expected more than 0, got 0.0"),
        (("--target-fps", "nan"), "--target-fps: expected more than 0, got nan"),
        (("--target-fps", 10, "--window", 4), "--window with --target-fps: expected none, got 4"),
    ],
)
def test_impossible_target_is_refused(
    sam2lite: Run, clip: Path, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    call = sam2lite("track", clip, "--box", "32,32,128,128", "--out", tmp_path / "out", *options, *FAST)
    assert (call.status, message in call.err, (tmp_path / "out").exists()) == (2, True, False)


def test_without_a_target_nothing_is_said_of_the_scheduler(sam2lite: Run, clip: Path, tmp_path: Path) -> None:
    assert sam2lite("track", clip, "--box", "32,32,128,128", "--out", tmp_path / "out", *FAST).status == 0
    assert summary(tmp_path / "out").adaptive is None
    assert all(record.scheduler is None for record in lines(tmp_path / "out"))


def test_tiny_object_is_followed_in_a_crop(sam2lite: Run, tmp_path: Path) -> None:
    boxes = [(300 + 6 * step, 296, 324 + 6 * step, 320) for step in range(10)]
    frames = [scene({FIRST: box}, height=512, width=512) for box in boxes]
    frames[4:6] = [scene({}, height=512, width=512)] * 2
    clip = write_pictures(tmp_path / "clip", frames)
    arguments = ("--box", "300,296,324,320", "--fine")
    assert sam2lite("track", clip, *arguments, "--out", tmp_path / "fine", *FAST).status == 0
    assert sam2lite("track", clip, *arguments[:2], "--out", tmp_path / "plain", *FAST).status == 0
    for step in (0, 1, 2, 3, 6, 9):
        truth = frames[step][..., 0] == FIRST
        fine, plain = (
            iou(read_label_map(tmp_path / name / "masks" / f"{step:05d}.png"), 1, truth) for name in ("fine", "plain")
        )
        assert fine > plain
        assert fine > 0.8
    assert [record.objects[0].visible for record in lines(tmp_path / "fine")][3:7] == [True, False, False, True]
    assert [summary(tmp_path / name).fine for name in ("fine", "plain")] == [True, False]


def test_an_object_that_is_never_sure_enough_is_out_of_view(sam2lite: Run, clip: Path, tmp_path: Path) -> None:
    arguments = ("--box", "32,32,128,128", "--min-quality", 1)
    assert sam2lite("track", clip, *arguments, "--out", tmp_path / "out", *FAST).status == 0
    visible = [record.objects[0].visible for record in lines(tmp_path / "out")]
    assert visible == [True] * LOST_AFTER + [False] * (6 - LOST_AFTER)  # the prompt, then doubts
    assert summary(tmp_path / "out").min_quality == 1


def test_a_limit_that_is_no_iou_is_a_wrong_call(sam2lite: Run, clip: Path, tmp_path: Path) -> None:
    call = sam2lite("track", clip, "--box", "32,32,128,128", "--min-quality", 1.5, "--out", tmp_path / "out", *FAST)
    assert (call.status, "--min-quality" in call.err) == (2, True)
