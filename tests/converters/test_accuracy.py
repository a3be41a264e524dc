"""The accuracy gate: points lost over all objects, on the data that is at hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.accuracy import (
    SequencePair,
    accuracy_digest,
    accuracy_gate,
    accuracy_set,
    agreement_gates,
    tracked_frames,
)
from converters.gates import require_passed
from sam2lite_mobile.errors import GateError
from sam2lite_mobile.evaluation.datasets import DATA_VARIABLE
from sam2lite_mobile.evaluation.results import ObjectScores, SequenceResult, sequence_result
from sam2lite_mobile.media.label_maps import write_label_map
from sam2lite_mobile.runtime.engine import EngineDescription


def scored(name: str, *values: float) -> SequenceResult:
    """A sequence of four frames with one object for each value, whose J and F it is in every frame."""
    objects = [ObjectScores(number + 1, 0, [value] * 4, [value] * 4) for number, value in enumerate(values)]
    return sequence_result(name, objects, shape=(4, 4), latency_ms={})


def pair(name: str, before: tuple[float, ...], after: tuple[float, ...]) -> SequencePair:
    engine = EngineDescription("interpreter", "fp16", 1, "1", "test")
    return SequencePair(scored(name, *before), scored(name, *after), engine, agreement=(1.0, 0.98, 0.99))


def test_points_are_lost_on_average_over_objects_not_sequences() -> None:
    pairs = [pair("one", (0.8,), (0.8,)), pair("three", (0.6, 0.6, 0.6), (0.598, 0.6, 0.6))]
    result = accuracy_gate(pairs, name="test", size=256, precision="fp16")
    assert result.measured == pytest.approx(0.05)  # 0.2 points of one object in four
    assert (result.passed, result.bound, result.limit) == (True, "at_most", 0.1)
    scores = "J&F 65.00 in torch, 64.95 here, -0.05 (95%: -0.07 to +0.00)"
    assert result.clip == f"test, 2 sequences, 8 frames, mask prompt: {scores}"


@pytest.mark.parametrize(("after", "passes"), [(0.7991, True), (0.7989, False), (0.9, True), (0.0, False)])
def test_gate_fails_beyond_its_limit_alone(after: float, passes: bool) -> None:
    result = accuracy_gate([pair("one", (0.8,), (after,))], name="test", size=512, precision="fp16")
    assert result.passed is passes
    if not passes:
        with pytest.raises(GateError, match=r"clip test, .* at 512 px \(fp16\): jf_lost_points .*, limit at most 0.1"):
            require_passed([result])


def test_frames_that_pytorch_has_lost_itself_do_not_count() -> None:
    lost = ObjectScores(1, 0, [0.9, 0.9, 0.4, 0.6, 0.9], [0.9] * 5)
    later = ObjectScores(2, 2, [0.8, 0.1, 0.9], [0.9] * 3)  # with it frame 2 counts, and frame 3 does not
    engine = EngineDescription("interpreter", "fp16", 1, "1", "test")
    alone, both = (sequence_result("x", objects, shape=(4, 4), latency_ms={}) for objects in ([lost], [lost, later]))
    agreement = (0.97, 0.3, 0.99, 0.95)
    assert tracked_frames(SequencePair(alone, alone, engine, agreement)) == [0.97, 0.99, 0.95]
    assert tracked_frames(SequencePair(both, both, engine, agreement)) == [0.97, 0.3, 0.95]
    never = scored("y", 0.5)
    assert tracked_frames(SequencePair(never, never, engine, agreement[:3])) == list(agreement[:3])


def test_worst_frame_of_each_sequence_and_median_frame_of_all_are_gated() -> None:
    pairs = [pair("camel", (0.8,), (0.8,)), pair("libby", (0.8,), (0.8,))]  # agreement 1, 0.98, 0.99 in each
    camel, libby, median = agreement_gates(pairs, name="dev", size=512, precision="fp16")
    assert (camel.measure, camel.measured, camel.passed) == ("worst_mask_iou", 0.98, False)
    assert libby.clip == "libby, 3 tracked of 3 frames, mask prompt"
    assert (median.measure, median.measured, median.passed) == ("median_mask_iou", 0.99, True)
    assert median.clip == "dev, 2 sequences, 6 tracked of 6 frames, mask prompt"
    exception, _ = agreement_gates([pair("bmx-trees", (0.8,), (0.8,))], name="dev", size=512, precision="fp16")
    assert (exception.measured, exception.limit, exception.passed) == (0.98, 0.98, True)
    with pytest.raises(GateError, match=r"2 missed: clip camel, .* at 512 px \(fp16\): worst_mask_iou 0.98, limit"):
        require_passed([camel, libby, median])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "davis"
    for sequence in ("kept", "other"):
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / sequence).mkdir(parents=True)
        for name in ("00000", "00001"):
            write_label_map(root / "Annotations" / sequence / f"{name}.png", np.ones((4, 4), np.uint8))
            (root / "JPEGImages" / sequence / f"{name}.jpg").write_bytes(name.encode())
    (root / "splits").mkdir()
    (root / "splits" / "dev.txt").write_text("kept\n")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    return root


def test_dev_split_is_measured_where_the_data_is_and_the_sample_clip_elsewhere(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (accuracy_set().name, accuracy_set().sequences) == ("DAVIS dev", ("kept",))
    (data / "splits" / "dev.txt").unlink()
    assert (accuracy_set().name, accuracy_set().sequences) == ("sample clip", ("blackswan",))
    monkeypatch.setenv(DATA_VARIABLE, str(data / "nowhere"))
    assert accuracy_set().name == "sample clip"


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "JPEGImages/kept/00001.jpg").write_bytes(b"x"),
        lambda root: write_label_map(root / "Annotations/kept/00001.png", np.zeros((4, 4), np.uint8)),
    ],
    ids=["frame", "annotation"],
)
def test_digest_follows_frames_and_annotations(data: Path, change: Callable[[Path], None]) -> None:
    before = accuracy_digest(accuracy_set())
    (data / "JPEGImages/other/00001.jpg").write_bytes(b"not measured")
    assert accuracy_digest(accuracy_set()) == before
    change(data)
    assert accuracy_digest(accuracy_set()) != before
