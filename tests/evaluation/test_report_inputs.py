"""Which files a report takes, and what it says about the others."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.evaluation.report import inputs, track_files
from sam2lite_mobile.evaluation.report.inputs import INPUTS_MAX, read_inputs
from sam2lite_mobile.evaluation.report.track_files import read_track, scheduler_number, scheduler_text
from sam2lite_mobile.evaluation.results import ObjectScores, SequenceResult, sequence_result
from tests.evaluation.report_inputs import write_ablation, write_evaluation, write_track
from tests.evaluation.test_benchmark import bench_result
from tests.repository import ROOT


def scored(name: str, *values: float) -> SequenceResult:
    scores = [ObjectScores(1, 0, list(values), list(values))]
    return sequence_result(name, scores, shape=(64, 96), latency_ms={"total": [1.0] * len(values)})


def test_every_kind_is_told_by_its_content(tmp_path: Path) -> None:
    from sam2lite_mobile.evaluation.bench.results import write_bench

    write_bench(tmp_path / "b.json", bench_result())
    found = read_inputs(
        [
            write_ablation(tmp_path / "a.json"),
            write_track(tmp_path / "run"),
            tmp_path / "b.json",
            write_evaluation(tmp_path / "one.json", [scored("s", 1, 0.5, 1)]),
            write_evaluation(tmp_path / "two.json", [scored("s", 1, 0.75, 1)]),
        ]
    )
    assert [each.name for each in found.evaluations] == ["one", "two"]
    assert [each.name for each in (*found.benches, *found.ablations, *found.tracks)] == ["b", "a", "run"]


def test_results_of_this_repository_are_read() -> None:
    found = read_inputs([ROOT / "docs" / "benchmark.json", ROOT / "docs" / "ablations" / "distillation.json"])
    assert (len(found.benches), len(found.ablations)) == (1, 1)


def test_names_that_are_alike_are_told_apart(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    paths = [write_evaluation(tmp_path / name / "r.json", [scored("s", 1, 0.5, 1)]) for name in ("x", "y")]
    assert [each.name for each in read_inputs(paths).evaluations] == ["x/r", "y/r"]
    assert [each.name for each in read_inputs([paths[0]] * 2).evaluations] == ["x/r (1)", "x/r (2)"]


def test_masks_go_to_the_evaluations_in_their_order(tmp_path: Path) -> None:
    paths = [write_evaluation(tmp_path / f"{name}.json", [scored("s", 1, 0.5, 1)]) for name in "ab"]
    (tmp_path / "m").mkdir()
    found = read_inputs([write_ablation(tmp_path / "z.json"), *paths], masks=[tmp_path / "m"])
    assert [each.masks for each in found.evaluations] == [tmp_path / "m", None]
    with pytest.raises(DataError, match="at most one folder for each of 2 evaluations, got 3"):
        read_inputs(paths, masks=[tmp_path / "m"] * 3)
    with pytest.raises(DataError, match="a folder of eval --save-masks, got none"):
        read_inputs(paths, masks=[tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "a result of sam2lite eval, bench or ablate"),
        ("[1, 2]", "a result of sam2lite eval, bench or ablate"),
        ('{"other": 1}', "got another JSON file"),
        ('{"sequences": [], "schema_version": 3}', "missing required field `conditions`"),
        ('{"subjects": [], "schema_version": 2}', "missing required field"),
        ('{"suite": "x"}', "missing required field"),
        ('{"suite": "inference"}', "missing required field"),
        ('{"suite": "\udcff"}', "a result of sam2lite eval, bench or ablate"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "r.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message):
        read_inputs([tmp_path / "r.json"])


def test_missing_unfinished_and_too_many_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_inputs([tmp_path / "r.json"])
    with pytest.raises(DataError, match="got another folder"):
        read_inputs([tmp_path])
    with pytest.raises(DataError, match=f"expected 1 to {INPUTS_MAX}, got 0"):
        read_inputs([])
    path = write_evaluation(tmp_path / "r.json", [scored("s", 1, 0.5, 1)])
    with pytest.raises(DataError, match=f"expected 1 to {INPUTS_MAX}, got 17"):
        read_inputs([path] * 17)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"summary": None}))
    with pytest.raises(DataError, match="expected a finished evaluation, got a part"):
        read_inputs([path])


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("sequences",), [], "expected sequences, each once, got none"),
        (("sequences", 0, "objects"), [], "s: expected an object, got none"),
        (("sequences", 0, "frames"), 10**15, "expected 1 to 200000 frames"),
        (("sequences", 0, "width"), 0, "expected sides of 1 to"),
        (("sequences", 0, "frames"), 2, "object 1: expected 3 frames or more, got 2"),
        (("sequences", 0, "objects", 0, "first_frame"), 4, "expected 3 frames or more, got 0"),
        (("sequences", 0, "objects", 0, "f"), [1, 1], "object 1: F: expected 4 values, got 2"),
        (("sequences", 0, "objects", 0, "flicker"), [1], "flicker: expected 3 values, got 1"),
        (("sequences", 0, "objects", 0, "memory_cells"), [{}], "memory cells: expected 4 values, got 1"),
        (("sequences", 0, "objects", 0, "memory_cells"), [{"0": "x"}], "Expected `str` matching regex"),
        (("sequences", 0, "frame_names"), ["0"], "frame names: expected 4, got 1"),
        (("summary", "latency_ms", "total", "p50"), -1, "total: expected times of 0 or more"),
    ],
)
def test_evaluation_whose_parts_do_not_fit_is_refused(
    tmp_path: Path, place: tuple[str | int, ...], value: object, message: str
) -> None:
    path = write_evaluation(tmp_path / "r.json", [scored("s", 1, 0.5, 0.5, 1)])
    content = json.loads(path.read_text())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_inputs([path])


def test_sequence_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write_evaluation(tmp_path / "r.json", [scored("s", 1, 0.5, 1), scored("s", 1, 0.5, 1)])
    with pytest.raises(DataError, match="expected sequences, each once, got s, s"):
        read_inputs([path])


def test_benchmark_whose_parts_do_not_fit_is_refused(tmp_path: Path) -> None:
    from sam2lite_mobile.evaluation.bench.results import Sweep, write_bench

    result = bench_result()
    (subject,) = result.subjects
    partless = msgspec.structs.replace(subject, parts={"host": subject.parts["total"]})
    write_bench(tmp_path / "b.json", msgspec.structs.replace(result, subjects=[partless]))
    with pytest.raises(DataError, match="x: expected the part 'total', got none"):
        read_inputs([tmp_path / "b.json"])
    write_bench(tmp_path / "b.json", msgspec.structs.replace(result, sweeps=[Sweep("weather", "", [])]))
    with pytest.raises(DataError, match="sweep: expected size or tokens or objects, got 'weather'"):
        read_inputs([tmp_path / "b.json"])


def test_file_over_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_evaluation(tmp_path / "r.json", [scored("s", 1, 0.5, 1)])
    monkeypatch.setattr(inputs, "RESULT_BYTES", 100)
    with pytest.raises(DataError, match="expected 1 to 100 bytes"):
        read_inputs([path])


def test_track_folder_of_a_version_with_more_in_its_lines_is_read(tmp_path: Path) -> None:
    info, frames = read_track(write_track(tmp_path / "run", scheduler=True))
    assert (info.source, len(frames), frames[5].size) == ("square", 6, 256)
    assert scheduler_number(frames[0], "error") == -0.5
    assert str(scheduler_number(frames[0], "thermal")) == str(scheduler_number(frames[0], "none")) == "nan"
    assert (scheduler_text(frames[0], "reason"), scheduler_text(frames[0], "level")) == ("too slow", "")


def test_broken_track_folder_names_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_track(tmp_path / "run")
    lines = (folder / "frames.jsonl").read_text().splitlines()
    (folder / "frames.jsonl").write_text("\n".join([*lines[:2], '{"frame": -1}']))
    with pytest.raises(DataError, match=r"frames.jsonl line 3: expected what sam2lite track writes"):
        read_track(folder)
    (folder / "frames.jsonl").write_text("\n".join(lines).replace('"quality": 0.9', '"quality": 1e300'))
    with pytest.raises(DataError, match=r"line 1: .* <= 1000000000"):
        read_track(folder)
    monkeypatch.setattr(track_files, "FRAMES_BYTES", 10)
    with pytest.raises(DataError, match="expected 1 to 10 bytes"):
        read_track(folder)
