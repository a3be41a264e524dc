"""`sam2lite bench` from the arguments to the tables and the result file, over subjects that take no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sam2lite_mobile.evaluation.bench import run
from sam2lite_mobile.evaluation.bench.clip import Clip
from sam2lite_mobile.evaluation.bench.clocks import Times
from sam2lite_mobile.evaluation.bench.opening import Package, PackageSpec, PeerSpec, StudentSpec, SubjectSpec
from sam2lite_mobile.evaluation.bench.results import LongRun, LongRunSegment, Memory, read_bench
from sam2lite_mobile.evaluation.bench.subjects import HOST, TOTAL, FrameTimes, SubjectFacts, Variant
from sam2lite_mobile.package.codec import encode_manifest
from sam2lite_mobile.package.declare import draft_manifest
from sam2lite_mobile.package.manifest import Defaults, FileEntry, GraphFile, Precision, Runtime
from sam2lite_mobile.runtime.engine import EngineDescription
from tests.cli.conftest import Call

Run = Callable[..., Call]
PEER_MS = 1000.0


class FixedSubject:
    """Every frame takes the same time: a tenth of a millisecond for each pixel of the input's side."""

    def __init__(self, spec: SubjectSpec) -> None:
        size = 1024 if isinstance(spec, PeerSpec) else spec.size
        self._total = PEER_MS if isinstance(spec, PeerSpec) else size / 10
        variant = spec.package.variant if isinstance(spec, PackageSpec) else None
        disk = spec.package.disk_bytes if isinstance(spec, PackageSpec) else None
        engine = EngineDescription("fixed", "fp32", 1, "1")
        self.facts = SubjectFacts(spec.name, size, 1, 384, engine, "all of it", variant, disk)

    def prepare(self) -> None:
        return

    def step(self) -> FrameTimes:
        parts = {HOST: Times(2.0, 2.0), TOTAL: Times(self._total, self._total)}
        return FrameTimes(parts, {"resize": 1.5}, True)


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[SubjectSpec, int]]:
    """Specifications and threads of the subjects that were opened."""
    found: list[tuple[SubjectSpec, int]] = []

    def open_fixed(spec: SubjectSpec, clip: Clip, *, threads: int) -> FixedSubject:
        found.append((spec, threads))
        return FixedSubject(spec)

    monkeypatch.setattr(run, "open_subject", open_fixed)
    return found


def test_subjects_ratios_and_limits_reach_the_tables_and_the_file(
    sam2lite: Run, opened: list[tuple[SubjectSpec, int]], tmp_path: Path
) -> None:
    path = tmp_path / "b.json"
    call = sam2lite("bench", "--rounds", 3, "--no-memory", "--json", path)
    assert call.status == 0, call.err
    students = [StudentSpec(name, size) for name in ("nano", "tiny") for size in (512, 256)]
    assert opened == [(spec, 1) for spec in (*students, PeerSpec())]
    result = read_bench(path)
    assert {ratio.subject: ratio.wall for ratio in result.ratios} == pytest.approx(
        {"nano@512": 0.0512, "nano@256": 0.0256, "tiny@512": 0.0512, "tiny@256": 0.0256}
    )
    assert [verdict.held for verdict in result.verdicts] == [True] * 4
    assert (result.conditions.rounds, result.subjects[0].parts[TOTAL].wall_ms.frames) == (3, 3)
    for text in ("51.2", "processor time", "0.051", "timed: all of it", "3 rounds after 2 of warm-up", "held"):
        assert text in call.out
    assert "missed" not in call.out


def test_missed_limit_is_shown_and_fails_only_with_check(
    sam2lite: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(f"{__name__}.PEER_MS", 500.0)
    arguments = ("bench", "--students", "nano", "--sizes", 512, "--rounds", 1, "--no-memory")
    call = sam2lite(*arguments)
    assert (call.status, "missed" in call.out) == (0, True)
    call = sam2lite(*arguments, "--check", "--json", tmp_path / "b.json")
    assert call.status == 1
    assert "nano@512 / edgetam@1024, whole frame: expected at most 0.07, got 0.102" in call.err
    assert not read_bench(tmp_path / "b.json").verdicts[0].held  # a run that fails is kept


def test_memory_and_the_long_run_are_measured_in_processes_of_their_own(
    sam2lite: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, SubjectSpec]] = []

    def in_new_process(measure: Callable[..., object], spec: SubjectSpec, **options: int) -> object:
        asked.append((measure.__name__, spec))
        if measure.__name__ == "measure_memory":
            return Memory(100_000_000, 350_000_000)
        segment = LongRunSegment(0, options["frames"] // 20, 31.5, 30.0, 123_400_000)
        return LongRun("nano@256", options["frames"], [segment], 130_000_000)

    monkeypatch.setattr(run, "in_new_process", in_new_process)
    call = sam2lite("bench", "--rounds", 1, "--no-peer", "--sizes", "256,512", "--long", 200, "--json", tmp_path / "b")
    assert call.status == 0, call.err
    assert [name for name, _ in asked] == ["measure_memory"] * 4 + ["measure_long_run"]
    assert asked[-1][1] == StudentSpec("nano", 256)
    result = read_bench(tmp_path / "b")
    assert result.subjects[3].memory == Memory(100_000_000, 350_000_000)
    assert result.ratios == []
    for text in ("250", "200 frames of nano@256", "0 to 9", "31.5", "123.4"):
        assert text in call.out


def write_package(folder: Path, runtime: Runtime, *, recipe: str = "fp32", sizes: tuple[int, ...] = (512,)) -> Path:
    """A folder with nothing but a manifest: two graphs in one file of 1,000 bytes, and 70 bytes of samples."""
    model = "models/model.bin"
    graphs = tuple(
        GraphFile(
            id=f"{graph}_{sizes[0]}",
            graph=graph,
            size=sizes[0],
            path=model,
            tree_sha256="0" * 64,
            bytes=1000,
            files=(),
            inputs=(),
            outputs=(),
        )
        for graph in ("image_encoder", "mask_decoder")
    )
    manifest = draft_manifest(
        package_name="sam2lite-models",
        package_version="0.1.0",
        runtime=runtime,
        student_size="tiny",
        checkpoint_sha256="1" * 64,
        precision=Precision(recipe=recipe, policy_sha256="2" * 64),
        sizes=sizes,
        bank_tokens=384,
        defaults=Defaults(size=sizes[-1], window=8, compute_units="all"),
        build_key="3" * 64,
        gates=(),
        calibration=None,
        conformance_sha256=None,
        tools={"tool": "1"},
        licences=(),
    )
    files = (
        FileEntry(path=model, sha256="4" * 64, bytes=1000),
        FileEntry(path="models/samples.bpte", sha256="5" * 64, bytes=70),
        FileEntry(path="README.md", sha256="6" * 64, bytes=9),
    )
    folder.mkdir()
    manifest = msgspec.structs.replace(manifest, graphs=graphs, files=files)
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return folder


@pytest.mark.parametrize("runtime", ["coreml", "onnx", "tflite", "executorch"])
def test_manifest_of_a_package_says_what_runs_it_and_what_it_is(
    sam2lite: Run, opened: list[tuple[SubjectSpec, int]], tmp_path: Path, runtime: Runtime
) -> None:
    folder = write_package(tmp_path / "p", runtime, recipe="w8a8", sizes=(256, 512))
    call = sam2lite(
        *("bench", "--package", folder, "--sizes", 256, "--rounds", 1),
        *("--no-memory", "--no-peer", "--threads", 2),
    )
    assert call.status == 0, call.err
    package = Package(folder, Variant("tiny", runtime, "w8a8"), (256, 512), 384, 1000, "1" * 64)
    assert opened == [(PackageSpec(package, 256), 2)]
    assert f"tiny {runtime} w8a8@256" in call.out


def test_students_eager_students_and_packages_share_their_rounds(
    sam2lite: Run, opened: list[tuple[SubjectSpec, int]], tmp_path: Path
) -> None:
    folders = [write_package(tmp_path / recipe, "tflite", recipe=recipe) for recipe in ("fp32", "w8a8")]
    path = tmp_path / "b.json"
    call = sam2lite(
        *("bench", "--students", "tiny", "--eager", "tiny", "--package", folders[0], "--package", folders[1]),
        *("--rounds", 1, "--no-memory", "--no-peer", "--json", path),
    )
    assert call.status == 0, call.err
    names = ["tiny@512", "tiny@256", "tiny eager@512", "tiny eager@256", "tiny tflite fp32@512", "tiny tflite w8a8@512"]
    assert [spec.name for spec, _ in opened] == names  # a package runs those of the sizes left out that it has
    result = read_bench(path)
    judged = {verdict.what.partition(",")[0]: verdict.held for verdict in result.verdicts}
    # Every subject takes 51.2 ms: nothing is faster than anything, and "never slower" holds.
    assert judged["tiny tflite fp32@512 / tiny eager@512"] is False
    assert judged["tiny tflite w8a8@512 / tiny tflite fp32@512"] is True
    assert [verdict.held for verdict in result.verdicts if "w8a8" in verdict.what] == [False, True]
    assert not any("onnx" in verdict.what for verdict in result.verdicts)
    disk = [ratio for ratio in result.bytes_ratios if ratio.what == "size on disk"]
    assert [(ratio.subject, ratio.ratio) for ratio in disk] == [("tiny tflite w8a8@512", 1)]
    assert "limits are stated for medians of 30 rounds or more on 1 thread; this run had 1 on 1" in " ".join(
        call.out.split()
    )


def test_report_and_plots_hold_what_the_tables_say(
    sam2lite: Run, opened: list[tuple[SubjectSpec, int]], tmp_path: Path
) -> None:
    folder = write_package(tmp_path / "p", "onnx", sizes=(256,))
    page = tmp_path / "speed.md"
    call = sam2lite(
        *("bench", "--students", "nano", "--package", folder, "--sizes", "256", "--sweep", "--report", page),
        *("--rounds", 1, "--no-memory"),
    )
    assert call.status == 0, call.err
    text = page.read_text()
    assert text.startswith("# Benchmark\n\nWritten by `sam2lite bench`; no limit is stated for what ran.\n")
    assert "| nano@256 | edgetam@1024 | whole frame | 0.026 | 0.026-0.026 | 0.026 |" in text
    assert "| nano torch fp32 | 25.6 | 30.4 | 35.2 | 41.6 | 46.4 | 51.2 |" in text
    assert "| tiny onnx fp32 | 25.6 | - | - | - | - | - |" in text
    for axis in ("size", "tokens", "objects"):
        assert f"(speed_{axis}.svg)" in text
        drawn = (tmp_path / f"speed_{axis}.svg").read_text()
        assert "median ms a frame" in drawn
        assert ("tiny onnx fp32" in drawn) == (axis != "tokens")
    swept = [spec.name for spec, _ in opened[3:]]  # after both subjects and the peer
    assert len(swept) == len(set(swept)) == 6 + 3 + 3 + 4


def test_package_of_a_runtime_that_this_version_does_not_know_is_refused(sam2lite: Run, tmp_path: Path) -> None:
    folder = write_package(tmp_path / "p", "onnx")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"runtime": "onnx"', '"runtime": "tpu"'))
    call = sam2lite("bench", "--package", folder)
    assert (call.status, call.err.count("\n")) == (1, 1)
    assert "Invalid enum value 'tpu'" in call.err


def test_sizes_that_a_package_was_not_built_for_are_refused(
    sam2lite: Run, opened: list[tuple[SubjectSpec, int]], tmp_path: Path
) -> None:
    one = write_package(tmp_path / "one", "onnx", sizes=(304,))
    for sizes, got in ((("--sizes", "304,512"), "512"), ((), "512, 256")):
        call = sam2lite("bench", "--package", one, *sizes)
        assert call.status == 2
        assert f"--sizes for {one}: expected 304, got {got}; name a size that the package was built for" in call.err
    assert opened == []


def test_same_package_twice_is_refused(sam2lite: Run, opened: list[tuple[SubjectSpec, int]], tmp_path: Path) -> None:
    folders = [write_package(tmp_path / name, "onnx") for name in ("a", "b")]
    call = sam2lite("bench", "--package", folders[0], "--package", folders[1])
    assert call.status == 2
    assert "expected each student, runtime, recipe and size once, got tiny onnx fp32@512 twice" in call.err
    assert opened == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--students", "huge"), "--students: expected of nano, tiny, small, base, got 'huge'"),
        (("--students", "nano,nano"), "--students: expected"),
        (("--sizes", "300"), "--sizes: expected of 256"),
        (("--sizes", "512,512"), "--sizes: expected"),
        (("--eager", "huge"), "--eager: expected of nano, tiny, small, base, got 'huge'"),
        (("--package", "nowhere"), "--package: expected a folder that `python -m converters` wrote, got nowhere"),
        (("--report", "nowhere/b.md"), "--report: expected a file in an existing folder"),
        (("--json", "nowhere/b.json"), "--json: expected a file in an existing folder"),
    ],
)
def test_wrong_calls_are_one_line_and_measure_nothing(
    sam2lite: Run, opened: list[tuple[SubjectSpec, int]], arguments: tuple[str, ...], message: str
) -> None:
    call = sam2lite("bench", *arguments)
    assert call.status == 2
    assert message in call.err
    assert call.err.count("\n") == 1
    assert opened == []
