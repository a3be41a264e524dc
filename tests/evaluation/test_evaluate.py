"""The evaluation loop over a scripted engine, and its result file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from sam2lite_mobile.errors import ContractError, DataError
from sam2lite_mobile.evaluation.conditions import Conditions, EngineInfo, this_machine
from sam2lite_mobile.evaluation.datasets import DavisLayout
from sam2lite_mobile.evaluation.evaluate import evaluate_sequence, evaluate_sequences
from sam2lite_mobile.evaluation.latency import frames_per_second, percentiles
from sam2lite_mobile.evaluation.prompting import PromptKind
from sam2lite_mobile.evaluation.results import (
    SCHEMA_VERSION,
    EvaluationResult,
    ObjectScores,
    PartialRun,
    SequenceResult,
    read_result,
    sequence_result,
    stability_of,
    summarize,
    write_result,
)
from sam2lite_mobile.media.cell_bits import cells_of
from sam2lite_mobile.media.label_maps import read_label_map, write_label_map
from sam2lite_mobile.runtime.stage_clock import STAGES
from tests.media.clips import HEIGHT, WIDTH, write_davis, write_pictures
from tests.runtime.scripted_engine import ScriptedEngine, scene

FIRST, SECOND = 100, 200
"""Red levels that the scripted engine tells apart."""


def two_objects(root: Path, *, frames: int, second_from: int = 0) -> DavisLayout:
    """Two squares that move apart; the second one is there from frame `second_from` on."""
    pictures, annotations = [], root / "Annotations" / "pair"
    annotations.mkdir(parents=True)
    for step in range(frames):
        boxes = {FIRST: (32 + 4 * step, 32, 128 + 4 * step, 128)}
        if step >= second_from:
            boxes[SECOND] = (128 - 4 * step, 144, 192 - 4 * step, 240)
        pictures.append(scene(boxes, height=256, width=256))  # the input size: tags survive the resize unmixed
        red = pictures[-1][..., 0]
        write_label_map(annotations / f"{step:05d}.png", (1 * (red == FIRST) + 5 * (red == SECOND)).astype(np.uint8))
    write_pictures(root / "JPEGImages" / "pair", pictures)
    return DavisLayout(root)


@pytest.mark.parametrize("prompt", PromptKind)
def test_tracked_square_scores_high_from_every_kind_of_prompt(tmp_path: Path, prompt: PromptKind) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["square"], frames=6))
    result = evaluate_sequence(ScriptedEngine(), layout, "square", size=256, prompt=prompt)
    (scores,) = result.objects
    assert (result.frames, result.width, result.height) == (6, WIDTH, HEIGHT)
    assert len(scores.j) == len(scores.f) == 6
    assert min(scores.j) > 0.8  # the scripted engine loses the mixed pixels at the edge
    assert result.j.mean == pytest.approx(np.mean(scores.j[1:-1]))
    assert result.f.mean == pytest.approx(np.mean(scores.f[1:-1]))
    assert result.jf_mean == pytest.approx((result.j.mean + result.f.mean) / 2)
    if prompt is PromptKind.MASK:
        assert scores.j[0] == 1.0


def test_masks_are_scored_against_the_annotation_of_their_own_frame(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["square"], frames=5))
    shifted = layout.annotations / "square"
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(shifted / "00003.png")
    (scores,) = evaluate_sequence(ScriptedEngine(), layout, "square", size=256).objects
    assert [value > 0.8 for value in scores.j] == [True, True, True, False, True]
    assert scores.j[3] == 0.0


def test_every_object_counts_and_is_scored_from_the_frame_that_first_shows_it(tmp_path: Path) -> None:
    layout = two_objects(tmp_path, frames=7, second_from=3)
    engine = ScriptedEngine()
    result = evaluate_sequence(engine, layout, "pair", size=256, save_masks=tmp_path / "out")
    assert [(each.object_id, each.first_frame, len(each.j)) for each in result.objects] == [(1, 0, 7), (5, 3, 4)]
    assert min(result.objects[0].j + result.objects[1].j) > 0.95
    assert result.j.mean == pytest.approx(np.mean([np.mean(each.j[1:-1]) for each in result.objects]))
    assert np.unique(read_label_map(tmp_path / "out" / "pair" / "00002.png")).tolist() == [0, 1]
    assert np.unique(read_label_map(tmp_path / "out" / "pair" / "00006.png")).tolist() == [0, 1, 5]
    assert engine.runs["image_encoder"] == 7  # one encoding a frame, however many objects


def test_object_that_appears_in_the_last_two_frames_is_left_out(tmp_path: Path) -> None:
    layout = two_objects(tmp_path, frames=6, second_from=4)
    assert [each.object_id for each in evaluate_sequence(ScriptedEngine(), layout, "pair", size=256).objects] == [1]


def test_clip_is_cut_after_max_frames(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["square"], frames=6))
    result = evaluate_sequence(ScriptedEngine(), layout, "square", size=256, max_frames=4)
    assert result.frames == len(result.objects[0].j) == 4
    assert all(len(values) == 4 for values in result.latency_ms.values())
    assert set(result.latency_ms) == set(STAGES)


def test_clip_is_looped_forth_and_back_and_memory_is_told_on_the_way(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["square"], frames=4))
    result = evaluate_sequence(
        ScriptedEngine(), layout, "square", size=256, loop_frames=45, save_masks=tmp_path / "masks"
    )
    assert result.frame_names is not None
    assert result.frame_names[:8] == ["00000", "00001", "00002", "00003", "00002", "00001", "00000", "00001"]
    (scores,) = result.objects
    assert result.frames == len(result.frame_names) == len(scores.j) == 45
    assert min(scores.j) > 0.8  # against the annotation of the frame that is shown, on the way back too
    assert result.resident is not None
    frames = [each.frame for each in result.resident]
    assert (frames[0], frames[-1], len(frames)) == (0, 44, 21)
    assert all(each.resident_bytes > 10e6 for each in result.resident)
    assert len(list((tmp_path / "masks" / "square").iterdir())) == 4
    with pytest.raises(ContractError, match="looped frames"):
        evaluate_sequence(ScriptedEngine(), layout, "square", size=256, loop_frames=2)


def test_flicker_and_memory_cells_are_recorded_where_asked_for(tmp_path: Path) -> None:
    layout = two_objects(tmp_path, frames=7, second_from=3)
    plain = evaluate_sequence(ScriptedEngine(), layout, "pair", size=256)
    assert plain.stability is not None
    assert all((each.flicker, each.memory_cells) == (None, None) for each in plain.objects)
    result = evaluate_sequence(ScriptedEngine(), layout, "pair", size=256, flicker=True, memory_cells=True)
    assert [(each.j, each.f) for each in result.objects] == [(each.j, each.f) for each in plain.objects]
    first, second = result.objects
    assert first.flicker is not None
    assert second.flicker is not None
    assert (len(first.flicker), len(second.flicker)) == (6, 3)
    assert result.stability is not None
    assert result.stability.flicker is not None
    assert first.memory_cells is not None
    assert second.memory_cells is not None
    assert (len(first.memory_cells), len(second.memory_cells)) == (7, 4)
    assert list(second.memory_cells[0]) == [3]  # the frame that first shows it, and no cell of an earlier one
    assert all(sum(cells_of(bits).size for bits in held.values()) <= 128 for held in first.memory_cells)


def test_memory_cells_name_frames_of_the_sequence_where_tracking_starts_late(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["square"], frames=6))
    for step in range(2):
        blank = np.zeros((HEIGHT, WIDTH), np.uint8)
        Image.fromarray(blank).save(layout.annotations / "square" / f"{step:05d}.png")
    (scores,) = evaluate_sequence(ScriptedEngine(), layout, "square", size=256, memory_cells=True).objects
    assert scores.first_frame == 2
    assert scores.memory_cells is not None
    assert list(scores.memory_cells[0]) == [2]


def test_observer_hears_of_every_frame_in_order(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["a", "b"], frames=3))
    heard: list[tuple[str, int, int]] = []
    results = evaluate_sequences(
        ScriptedEngine(), layout, ["b", "a"], size=256, on_frame=lambda *event: heard.append(event)
    )
    assert next(iter(results)).name == "b"
    assert heard == [("b", 1, 3), ("b", 2, 3), ("b", 3, 3)]  # "a" has not begun: results come one by one


def test_clips_without_an_evaluated_frame_are_refused(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["square"], frames=2))
    with pytest.raises(DataError, match="expected 3 frames or more, got 2"):
        evaluate_sequence(ScriptedEngine(), layout, "square", size=256)
    with pytest.raises(ContractError, match="max frames"):
        evaluate_sequence(ScriptedEngine(), layout, "square", size=256, max_frames=2)


def test_sequences_without_objects_or_with_small_annotations_are_refused(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["square"], frames=3))
    for step in range(3):
        write_label_map(layout.annotations / "square" / f"{step:05d}.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(DataError, match="expected an annotated object"):
        evaluate_sequence(ScriptedEngine(), layout, "square", size=256)
    write_label_map(layout.annotations / "square" / "00000.png", np.ones((HEIGHT - 1, WIDTH), np.uint8))
    with pytest.raises(DataError, match=r"square frame 00000: expected an annotation of \(64, 96\)"):
        evaluate_sequence(ScriptedEngine(), layout, "square", size=256)


def conditions(*sequences: str, size: int = 256) -> Conditions:
    engine = EngineInfo("scripted", "fp32", 1, "1", "", None)
    return Conditions(
        package_version="0.1.0",
        data="tiny",
        split="all",
        sequences=list(sequences),
        prompt="mask",
        size=size,
        window=8,
        budget=384,
        selection="gate",
        selection_seed=None,
        max_frames=None,
        engine=engine,
        machine=this_machine(),
    )


def scored(name: str, *values: float, objects: int = 1) -> SequenceResult:
    scores = [ObjectScores(each + 1, 0, list(values), list(values)) for each in range(objects)]
    return sequence_result(name, scores, shape=(4, 6), latency_ms={"total": [10.0 * value for value in values]})


def test_summary_counts_objects_not_sequences() -> None:
    summary = summarize([scored("a", 1, 0.2, 0.2, 1), scored("b", 1, 0.8, 0.8, 1, objects=3)])
    assert summary.objects == 4
    assert summary.j.mean == pytest.approx((0.2 + 3 * 0.8) / 4)
    assert summary.j.recall == pytest.approx(3 / 4)
    assert summary.latency_ms["total"].frames == 8


def test_percentiles_lie_between_neighbours() -> None:
    times = percentiles([float(value) for value in range(101)])
    assert (times.mean, times.p50, times.p95, times.p99, times.frames) == (50, 50, 95, 99, 101)
    assert percentiles([1.0, 2.0]).p50 == 1.5
    assert frames_per_second(percentiles([10.0, 30.0])) == 50
    assert frames_per_second(percentiles([0.0])) == 0


def test_result_comes_back_from_its_file(tmp_path: Path) -> None:
    sequences = [scored("a", 1, 0.25, 0.5, 1)]
    result = EvaluationResult(SCHEMA_VERSION, conditions("a"), sequences, summarize(sequences))
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 4}, "expected schema version 3, got 4"),
        ({"extra": 1}, "unknown field `extra`"),
        ({"sequences": [{}]}, "missing required field"),
        ({"schema_version": "1"}, "Expected `int`, got `str`"),
    ],
)
def test_results_that_break_the_schema_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    result = EvaluationResult(SCHEMA_VERSION, conditions("a"), [scored("a", 1, 0.5, 1)], None)
    content = msgspec.to_builtins(result) | change
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_result(tmp_path / "r.json")


def before_stability(result: EvaluationResult) -> dict[str, Any]:
    """A result as version 2 wrote it."""
    content: dict[str, Any] = msgspec.to_builtins(result) | {"schema_version": 2}
    del content["conditions"]["loop_frames"]
    for sequence in content["sequences"]:
        for name in ("stability", "frame_names", "resident"):
            del sequence[name]
        for scores in sequence["objects"]:
            for name in ("flicker", "annotated_flicker", "memory_cells"):
                del scores[name]
    return content


def test_result_of_the_version_before_stability_is_read_without_it(tmp_path: Path) -> None:
    result = EvaluationResult(SCHEMA_VERSION, conditions("a"), [scored("a", 1, 0.5, 1)], None)
    (tmp_path / "r.json").write_text(json.dumps(before_stability(result)))
    (old,) = read_result(tmp_path / "r.json").sequences
    assert (old.objects, old.stability, old.resident) == (result.sequences[0].objects, None, None)
    assert stability_of(old.objects) == result.sequences[0].stability


def before_selection(result: EvaluationResult) -> dict[str, Any]:
    """A result as version 1 wrote it."""
    content = before_stability(result) | {"schema_version": 1}
    for name in ("budget", "selection", "selection_seed"):
        del content["conditions"][name]
    return content


def test_result_of_the_version_before_selection_is_one_of_the_gate_and_the_only_budget(tmp_path: Path) -> None:
    result = EvaluationResult(SCHEMA_VERSION, conditions("a"), [scored("a", 1, 0.5, 1)], None)
    (tmp_path / "r.json").write_text(json.dumps(before_selection(result)))
    found = read_result(tmp_path / "r.json")
    assert found.conditions == result.conditions
    assert found.sequences[0].objects == result.sequences[0].objects


@pytest.mark.parametrize(("name", "message"), [("size", "missing required field `size`"), (None, "Expected `object`")])
def test_broken_result_of_the_version_before_selection_is_refused(
    tmp_path: Path, name: str | None, message: str
) -> None:
    content = before_selection(EvaluationResult(SCHEMA_VERSION, conditions("a"), [scored("a", 1, 0.5, 1)], None))
    if name is None:
        content["conditions"] = []
    else:
        del content["conditions"][name]
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_result(tmp_path / "r.json")


def test_scores_outside_zero_to_one_are_refused(tmp_path: Path) -> None:
    result = EvaluationResult(SCHEMA_VERSION, conditions("a"), [scored("a", 1, 0.5, 1)], None)
    content = msgspec.to_builtins(result)
    content["sequences"][0]["objects"][0]["j"][1] = 1.5
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"sequences\[0\]\.objects\[0\]\.j\[1\]"):
        read_result(tmp_path / "r.json")


def test_interrupted_run_goes_on_with_the_missing_sequences(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    run = PartialRun.open(path, conditions("a", "b", "c"), resume=False)
    run.add(scored("b", 1, 0.5, 1))
    with pytest.raises(DataError, match="expected all sequences"):
        run.complete()
    resumed = PartialRun.open(path, conditions("a", "b", "c"), resume=True)
    assert resumed.missing == ("a", "c")
    resumed.add(scored("a", 1, 0.25, 1))
    resumed.add(scored("c", 1, 0.75, 1))
    result = resumed.complete()
    assert [sequence.name for sequence in result.sequences] == ["a", "b", "c"]
    assert result.summary is not None
    assert result.summary.j.mean == pytest.approx(0.5)
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.json"]
    assert read_result(path) == result


def test_run_under_other_conditions_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    PartialRun.open(path, conditions("a", "b"), resume=False).add(scored("a", 1, 0.5, 1))
    with pytest.raises(DataError, match="got other size"):
        PartialRun.open(path, conditions("a", "b", size=512), resume=True)
    assert PartialRun.open(path, conditions("a", "b", size=512), resume=False).missing == ("a", "b")


def test_result_needs_an_existing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a file in an existing folder"):
        PartialRun.open(tmp_path / "missing" / "r.json", conditions("a"), resume=False)
