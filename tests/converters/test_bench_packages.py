"""Packages of a small student, of two runtimes, timed in the same rounds by `sam2lite bench`."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.build import build
from converters.options import BuildOptions, Reporter
from converters.registry import open_target
from sam2lite_mobile.cli.main import main
from sam2lite_mobile.evaluation.bench.results import read_bench
from sam2lite_mobile.evaluation.bench.subjects import TOTAL
from tests.converters.conftest import FRAMES, SIZE, Toy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def packages(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packages of the toy in float32, by target."""
    folder = tmp_path_factory.mktemp("bench")
    found = {}
    for target in ("onnx", "tflite"):
        options = BuildOptions(
            checkpoint=toy.checkpoint,
            out=folder / target,
            recipe="fp32",
            sizes=(SIZE,),
            accuracy_frames=FRAMES,
            workers=1,
        )
        found[target] = build(open_target(target), options, Reporter())
    return found


def test_packages_of_two_runtimes_share_their_rounds(packages: dict[str, Path], tmp_path: Path) -> None:
    named = [word for folder in packages.values() for word in ("--package", str(folder))]
    path = tmp_path / "b.json"
    with pytest.raises(SystemExit) as left:
        main(["bench", *named, "--sizes", str(SIZE), "--rounds", "2", "--no-peer", "--json", str(path)])
    assert left.value.code == 0
    result = read_bench(path)
    by_name = {subject.name: subject for subject in result.subjects}
    assert list(by_name) == ["toy onnx fp32@256", "toy tflite fp32@256"]
    assert [subject.engine.name for subject in result.subjects] == ["onnx", "tflite"]
    for target, subject in zip(packages, result.subjects, strict=True):
        assert subject.parts[TOTAL].wall_ms.frames == 2
        assert min(subject.parts[graph].wall_ms.p50 for graph in ("image_encoder", "mask_decoder")) > 0
        assert subject.memory is not None
        assert subject.memory.peak_bytes > subject.memory.before_bytes
        models = [path for path in (packages[target] / "models").iterdir() if path.is_file()]
        assert subject.disk_bytes == sum(path.stat().st_size for path in models)
    compared = {(ratio.subject, ratio.peer) for ratio in result.ratios}
    assert compared == {("toy onnx fp32@256", "toy tflite fp32@256")}
    assert {ratio.part for ratio in result.ratios} == {TOTAL, "image_encoder", "mask_decoder"}
