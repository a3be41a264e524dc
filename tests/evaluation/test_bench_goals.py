"""Which subjects are compared, what their ratios are, which limits are judged, and on which processors."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sam2lite_mobile.engines.processor import dot_product_flags
from sam2lite_mobile.evaluation.bench.clocks import Times
from sam2lite_mobile.evaluation.bench.comparisons import byte_ratios, compared_pairs, time_ratios
from sam2lite_mobile.evaluation.bench.limits import MEMORY_LIMITS, PART_LIMITS, RATIO_LIMITS
from sam2lite_mobile.evaluation.bench.results import Memory, Verdict, subject_result
from sam2lite_mobile.evaluation.bench.subjects import (
    EAGER,
    HOST,
    PEER,
    TORCH,
    TOTAL,
    FrameTimes,
    SubjectFacts,
    Variant,
)
from sam2lite_mobile.evaluation.bench.verdicts import goal_notes, verdicts
from sam2lite_mobile.runtime.engine import EngineDescription

ENGINE = EngineDescription("scripted", "fp32", 1, "1")
GRAPHS = ("image_encoder", "mask_decoder")

TINY = {
    name: Variant("tiny", runtime, recipe)
    for name, runtime, recipe in (
        ("torch", TORCH, "fp32"),
        ("eager", EAGER, "fp32"),
        ("tflite", "tflite", "fp32"),
        ("onnx", "onnx", "fp32"),
        ("executorch", "executorch", "fp32"),
        ("tflite8", "tflite", "w8a8"),
        ("onnx8", "onnx", "w8a8"),
        ("executorch8", "executorch", "w8a8"),
    )
}


def facts_of(variant: Variant, *, disk_bytes: int | None = None) -> SubjectFacts:
    return SubjectFacts(variant.name(512), 512, None, 384, ENGINE, "all", variant, disk_bytes)


PEER_FACTS = SubjectFacts(PEER, 1024, None, 3648, ENGINE, "all")
EVERYTHING = (*(facts_of(variant) for variant in TINY.values()), facts_of(Variant("nano", TORCH)), PEER_FACTS)


def frame(total_ms: float, *, cpu_ms: float | None = None, **parts_ms: float) -> FrameTimes:
    parts = {name: Times(value, value) for name, value in parts_ms.items()}
    return FrameTimes(parts | {TOTAL: Times(total_ms, total_ms if cpu_ms is None else cpu_ms)}, {}, True)


def judged(
    times_ms: dict[str, float],
    *,
    peak_mb: dict[str, int] | None = None,
    dot_product: Sequence[str] | None = (),
    parts_ms: dict[str, float] | None = None,
) -> dict[str, Verdict]:
    """Verdicts by what they are about, of one round in which subjects of TINY, or the peer, took these times."""
    facts = [PEER_FACTS if name == PEER else facts_of(TINY[name]) for name in times_ms]
    frames = {
        each.name: [frame(total, **{part: (parts_ms or {}).get(name, total) for part in GRAPHS}, host=1)]
        for each, (name, total) in zip(facts, times_ms.items(), strict=True)
    }
    memory = {TINY[name].name(512): Memory(0, megabytes) for name, megabytes in (peak_mb or {}).items()}
    results = [subject_result(each, frames[each.name], None) for each in facts]
    ratios = time_ratios(facts, frames)
    found = verdicts(results, ratios, byte_ratios(facts, memory), dot_product=dot_product)
    return {verdict.what: verdict for verdict in found}


def test_names_say_student_runtime_recipe_and_size() -> None:
    assert TINY["torch"].name(512) == "tiny@512"
    assert TINY["eager"].name(256) == "tiny eager@256"
    assert TINY["tflite8"].name(512) == "tiny tflite w8a8@512"
    assert TINY["torch"].name(512, bank_tokens=128, objects=2) == "tiny@512, 128 tokens, 2 objects"


def test_every_limit_is_judged_where_everything_ran() -> None:
    compared = {(pair.subject, pair.reference, part) for pair in compared_pairs(EVERYTHING) for part in pair.parts}
    assert {(bound.subject, bound.reference, bound.part) for bound in RATIO_LIMITS} <= compared
    assert {(bound.subject, bound.reference, TOTAL) for bound in MEMORY_LIMITS} <= compared
    assert {bound.subject for bound in PART_LIMITS} <= {each.name for each in EVERYTHING}


def test_package_is_compared_with_eager_tuned_and_its_own_float() -> None:
    pairs = compared_pairs([facts_of(TINY[name]) for name in ("torch", "eager", "tflite", "onnx8", "onnx")])
    assert [(pair.subject, pair.reference) for pair in pairs] == [
        ("tiny@512", "tiny eager@512"),
        ("tiny tflite fp32@512", "tiny eager@512"),
        ("tiny tflite fp32@512", "tiny@512"),
        ("tiny onnx w8a8@512", "tiny eager@512"),
        ("tiny onnx w8a8@512", "tiny@512"),
        ("tiny onnx w8a8@512", "tiny onnx fp32@512"),
        ("tiny onnx fp32@512", "tiny eager@512"),
        ("tiny onnx fp32@512", "tiny@512"),
        ("tiny onnx fp32@512", "tiny tflite fp32@512"),
    ]


def test_students_of_other_sizes_are_not_compared() -> None:
    nano, tiny = facts_of(Variant("nano", "tflite")), facts_of(TINY["eager"])
    smaller = SubjectFacts("tiny tflite fp32@256", 256, None, 384, ENGINE, "all", TINY["tflite"])
    assert compared_pairs([nano, tiny, smaller]) == []


def test_tflite_is_held_to_three_quarters_of_eager_and_not_of_the_tuned_engine() -> None:
    what = "tiny tflite fp32@512 / tiny eager@512, whole frame"
    assert judged({"eager": 100, "tflite": 75})[what] == Verdict(what, 0.75, 0.75, True)
    assert not judged({"eager": 100, "tflite": 75.1})[what].held
    assert what not in judged({"torch": 100, "tflite": 75})


def test_executorch_is_held_to_tflite_graph_by_graph() -> None:
    found = judged(
        {"tflite": 100, "executorch": 500}, parts_ms={"tflite": 100, "executorch": 105}
    )  # its whole frame does not matter
    of_graphs = [found[f"tiny executorch fp32@512 / tiny tflite fp32@512, {graph}"] for graph in GRAPHS]
    assert [verdict.held for verdict in of_graphs] == [True, True]
    found = judged({"tflite": 100, "executorch": 1}, parts_ms={"tflite": 100, "executorch": 106})
    assert [verdict.held for verdict in found.values() if "executorch" in verdict.what] == [False, False]


def test_onnx_is_held_to_tflite_on_the_whole_frame() -> None:
    what = "tiny onnx fp32@512 / tiny tflite fp32@512, whole frame"
    assert judged({"tflite": 100, "onnx": 105})[what].held
    assert not judged({"tflite": 100, "onnx": 106})[what].held


@pytest.mark.parametrize("runtime", ["tflite", "onnx", "executorch"])
@pytest.mark.parametrize(
    ("integers_ms", "dot_product", "held"),
    [
        (95, (), [True, True]),
        (96, (), [False, True]),
        (101, (), [False, False]),
        (70, ("avx_vnni",), [True, True]),
        (71, ("avx_vnni",), [False, True]),
        (71, None, [True]),
        (101, None, [False]),
    ],
)
def test_integers_have_to_pay_more_where_the_processor_has_dot_products(
    runtime: str, integers_ms: float, dot_product: Sequence[str] | None, held: list[bool]
) -> None:
    found = judged({runtime: 100, f"{runtime}8": integers_ms}, dot_product=dot_product)
    against_float = [verdict for verdict in found.values() if "w8a8@512 /" in verdict.what]
    assert [verdict.held for verdict in against_float] == held
    assert against_float[-1].limit == 1  # never slower, whatever the processor has
    if dot_product:
        assert against_float[0].what.endswith("whole frame (with avx_vnni)")


def test_peak_memory_of_integers_is_held_to_half_of_eager() -> None:
    what = "tiny tflite w8a8@512 / tiny eager@512, peak memory"
    times = {"eager": 1.0, "tflite8": 1.0}
    assert judged(times, peak_mb={"eager": 400, "tflite8": 200})[what] == Verdict(what, 0.5, 0.5, True)
    assert not judged(times, peak_mb={"eager": 400, "tflite8": 201})[what].held
    assert what not in judged(times)


def test_limit_without_its_reference_is_not_judged() -> None:
    assert list(judged({"tflite8": 1, "onnx": 1})) == []
    assert list(judged({"torch": 13, PEER: 100})) == [
        f"tiny@512 / {PEER}, whole frame",
        f"tiny@512 {HOST}, ms a frame",
    ]


def test_limits_against_the_peer_are_as_they_were() -> None:
    what = f"tiny@512 / {PEER}, whole frame"
    assert judged({"torch": 14, PEER: 100})[what].held
    assert not judged({"torch": 14.1, PEER: 100})[what].held
    assert [(bound.subject, bound.limit_ms) for bound in PART_LIMITS] == [("tiny@512", 5.0), ("nano@512", 5.0)]


def test_ratio_of_a_part_is_taken_round_by_round_on_both_clocks() -> None:
    facts = [facts_of(TINY["tflite"]), facts_of(TINY["eager"])]
    frames = {
        facts[0].name: [frame(1, cpu_ms=3), frame(10, cpu_ms=3), frame(2, cpu_ms=3)],
        facts[1].name: [frame(10, cpu_ms=6), frame(100, cpu_ms=6), frame(10, cpu_ms=6)],
    }
    (ratio,) = time_ratios(facts, frames)
    assert (ratio.part, ratio.wall, ratio.cpu) == (TOTAL, pytest.approx(0.1), pytest.approx(0.5))
    assert (ratio.wall_low, ratio.wall_high) == (pytest.approx(0.1), pytest.approx(0.15))


def test_sizes_on_disk_are_compared_within_a_runtime() -> None:
    facts = [
        facts_of(TINY["onnx"], disk_bytes=400),
        facts_of(TINY["tflite"], disk_bytes=1000),
        facts_of(TINY["tflite8"], disk_bytes=280),
    ]
    (ratio,) = byte_ratios(facts, {})
    assert (ratio.subject, ratio.reference) == ("tiny tflite w8a8@512", "tiny tflite fp32@512")
    assert (ratio.what, ratio.ratio) == ("size on disk", 0.28)


def test_run_that_is_not_what_the_limits_are_stated_for_is_noted() -> None:
    facts = [facts_of(TINY[name]) for name in ("tflite", "tflite8")]
    ratios = time_ratios(facts, {each.name: [frame(1, image_encoder=1, mask_decoder=1)] for each in facts})
    assert goal_notes(ratios, rounds=30, threads=1, dot_product=[]) == []
    assert goal_notes([], rounds=1, threads=2, dot_product=None) == []
    assert ["this run had 29 on 1" in note for note in goal_notes(ratios, rounds=29, threads=1, dot_product=[])] == [
        True
    ]
    assert ["this run had 30 on 2" in note for note in goal_notes(ratios, rounds=30, threads=2, dot_product=[])] == [
        True
    ]
    assert ["not judged" in note for note in goal_notes(ratios, rounds=30, threads=1, dot_product=None)] == [True]


@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 fma avx512f\n", []),
        ("flags\t\t: avx2 avx512_vnni amx_int8 avx_vnni\n", ["avx_vnni", "avx512_vnni", "amx_int8"]),
        ("Features\t: fp asimd asimddp i8mm\nCPU part\t: 0xd0c\n", ["asimddp", "i8mm"]),
        ("flags\t\t: avx2 my_avx_vnni_too\n", []),  # a part of another word
        ("vmx flags\t: avx_vnni\nflags\t\t: avx2\n", []),  # another line
        ("Features\t: asimddp\n\nFeatures\t: asimd\n", []),  # one core of two
        ("", []),
    ],
)
def test_dot_product_instructions_are_read_from_the_processors_flags(cpuinfo: str, flags: list[str]) -> None:
    assert dot_product_flags(cpuinfo) == flags
