"""Scores on held-out sequences: which frames and objects count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.errors import DataError
from sam2lite_mobile.runtime.continuity import LastPlace
from sam2lite_mobile.training.sources import find_sequence, read_labels
from sam2lite_mobile.training.validation import held_out_score, sequence_score, spread
from tests.runtime.scripted_engine import ScriptedEngine, Tensors
from tests.training.short_runs import small_student
from tests.training.synthetic_data import GREEN, disk, paint, write_pair, write_sequence


@pytest.fixture
def uncut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracker that leaves masks as they are decoded: here a mask of the whole frame stands for any."""
    monkeypatch.setattr(LastPlace, "keep_near", lambda place, mask_logits: mask_logits)


class EverywhereEngine(ScriptedEngine):
    """Says that every pixel of every frame is the object."""

    def _mask_decoder(self, spec: GraphSpec, tensors: Tensors) -> dict[str, np.ndarray]:
        outputs = super()._mask_decoder(spec, tensors)
        outputs["mask_logits"] = np.ones_like(outputs["mask_logits"])
        return outputs | {"visibility": np.ones((1, 1), np.float32)}


@pytest.mark.usefixtures("uncut")
def test_j_is_the_mean_over_the_tracked_frames_without_the_given_one(tmp_path: Path) -> None:
    write_sequence(tmp_path, "made-up", "roller", frames=11, empty=(7,))
    sequence = find_sequence(tmp_path, "roller")
    labels = [read_labels(path) for path in sequence.masks]
    # Of 11 frames 4: 0 is given, then 3, 7 (empty, so the full mask scores 0) and 10.
    expected = (labels[3].mean() + 0 + labels[10].mean()) / 3
    engine = EverywhereEngine()
    assert sequence_score(engine, sequence, size=256, frames=4)[0] == pytest.approx(expected)
    assert engine.runs["image_encoder"] == 4


@pytest.mark.usefixtures("uncut")
def test_every_object_of_the_first_frame_counts(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "video" / "made-up"
    for index in range(3):
        labels = disk(64, 64, x=16, y=16, radius=8) + 2 * disk(64, 64, x=44, y=44, radius=12)
        image = folder / "JPEGImages" / "pair" / f"{index:05d}.jpg"
        write_pair(image, folder / "Annotations" / "pair" / f"{index:05d}.png", paint(labels, (GREEN, GREEN)), labels)
    expected = ((labels == 1).mean() + (labels == 2).mean()) / 2
    score = sequence_score(EverywhereEngine(), find_sequence(tmp_path, "pair"), size=256, frames=20)
    assert score[0] == pytest.approx(expected)
    assert score[1] == 0  # a mask of every pixel has no boundary


def test_score_is_the_mean_over_sequences_and_leaves_the_student_as_it_was(small_data: Path) -> None:
    student = small_student().eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    score = held_out_score(student, small_data, ("roller", "jumper"), frames=3)
    assert list(score.by_sequence) == ["roller", "jumper"]
    assert score.mean_j == pytest.approx(sum(score.by_sequence.values()) / 2)
    assert all(0 <= value <= 1 for value in score.by_sequence.values())
    assert all(np.array_equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(parameter.grad is None for parameter in student.parameters())


def test_sequences_that_cannot_be_measured_are_refused(tmp_path: Path) -> None:
    write_sequence(tmp_path, "made-up", "late", frames=4, empty=(0,))
    with pytest.raises(DataError, match="held-out sequence late: expected an object in its first frame"):
        held_out_score(small_student().eval(), tmp_path, ("late",))
    with pytest.raises(DataError, match="got nobody"):
        held_out_score(small_student().eval(), tmp_path, ("nobody",))


@pytest.mark.parametrize(
    ("count", "at_most", "expected"), [(2, 20, [0, 1]), (5, 3, [0, 2, 4]), (20, 20, list(range(20))), (80, 2, [0, 79])]
)
def test_frames_are_spread_from_the_first_to_the_last(count: int, at_most: int, expected: list[int]) -> None:
    assert spread(count, at_most) == expected
