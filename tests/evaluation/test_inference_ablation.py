"""The suite `inference`: its variants, the frontier, an outcome by hand, and runs that are stopped and go on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sam2lite_mobile.contract import BANK_TOKENS, SIZES
from sam2lite_mobile.errors import ContractError, DataError
from sam2lite_mobile.evaluation.ablation.outcome import (
    InferenceOutcome,
    VariantOutcome,
    inference_outcome,
    outcome_page,
    read_inference_outcome,
)
from sam2lite_mobile.evaluation.ablation.pareto import frontier, pareto_picture
from sam2lite_mobile.evaluation.ablation.suite_run import TIMES_NAME, InferenceSuite, run_variant, suite_times
from sam2lite_mobile.evaluation.ablation.timing import Times, VariantTime, read_times
from sam2lite_mobile.evaluation.ablation.variants import (
    DEFAULT,
    RATE_GAIN,
    Variant,
    chosen_variants,
    inference_variants,
)
from sam2lite_mobile.evaluation.bench.clip import bench_clip
from sam2lite_mobile.evaluation.datasets import DavisLayout
from sam2lite_mobile.evaluation.pacing import FIXED, SwitchingPace, TargetPace
from sam2lite_mobile.evaluation.report.inputs import read_inputs
from sam2lite_mobile.evaluation.report.page import build_page, page_html
from sam2lite_mobile.evaluation.results import EvaluationResult, SequenceResult, read_result, summarize
from sam2lite_mobile.evaluation.selection import Selection
from tests.evaluation.report_inputs import conditions, evaluated
from tests.media.clips import write_davis
from tests.runtime.scripted_engine import ScriptedEngine


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> list[SequenceResult]:
    root = write_davis(tmp_path_factory.mktemp("ablation") / "tiny", ["pair"], frames=4)
    return evaluated(DavisLayout(root), root / "masks")


def json_text(content: object) -> bytes:
    return msgspec.json.encode(content)


def outcome_of(name: str, *, jf: float, ms: float, factor: str = "size") -> VariantOutcome:
    return VariantOutcome(name, factor, name, jf / 100, jf / 100, 1.0, 0.5, 1.5, ms, 2 * ms, ms / 100, 10)


def small_suite(tmp_path: Path, *, names: str = "budget_256,window_2") -> InferenceSuite:
    layout = DavisLayout(write_davis(tmp_path / "data", ["square", "other"], frames=4))
    variants = chosen_variants(inference_variants(256), names)
    engines: dict[int, ScriptedEngine] = {}

    def engine(variant: Variant) -> ScriptedEngine:
        return engines.setdefault(variant.budget, ScriptedEngine(bank_tokens=variant.budget))

    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    base = conditions(["square", "other"], budget=BANK_TOKENS)
    return InferenceSuite(variants, layout, base, engine, out)


def scores(result: EvaluationResult) -> list[list[float]]:
    return [each.j + each.f for sequence in result.sequences for each in sequence.objects]


def test_every_choice_is_there_once_and_differs_in_one_thing() -> None:
    variants = inference_variants(512)
    assert [each.name for each in variants if each.factor == "budget"] == ["budget_128", "budget_256", "budget_512"]
    assert [each.window for each in variants if each.factor == "window"] == [2, 3, 4, 5, 6, 7]
    assert {each.selection for each in variants if each.factor == "selection"} == set(Selection) - {Selection.GATE}
    assert [each.size for each in variants if each.factor == "size"] == sorted(SIZES[:-1], reverse=True)
    assert len({each.name for each in variants}) == len(variants) == 21
    default = vars(variants[0])
    for each in variants[1:]:
        changed = {key for key, value in vars(each).items() if value != default[key]} - {"name", "factor", "title"}
        assert len(changed) == 1, each


def test_package_has_one_budget_and_the_smallest_size_nothing_below_it() -> None:
    variants = inference_variants(256, budget=128, fixed_budget=True)
    assert {each.factor for each in variants} == {DEFAULT, "window", "selection"}
    assert {each.budget for each in variants} == {128}


def test_variants_are_chosen_by_factor_and_by_name_and_the_default_stays() -> None:
    chosen = chosen_variants(inference_variants(512), "window_2, adaptive")
    assert [each.name for each in chosen] == [DEFAULT, "window_2", "switching", "adaptive"]
    with pytest.raises(ContractError, match="--variants: expected default, budget, window"):
        chosen_variants(inference_variants(512), "budget_77")


def test_paces_are_those_of_the_variants() -> None:
    by_name = {each.name: each for each in inference_variants(352)}
    assert by_name[DEFAULT].pace(SIZES, target_fps=9.0) is FIXED
    assert by_name["switching"].pace(SIZES, target_fps=None) == SwitchingPace(5, (256, 304, 352))
    assert by_name["adaptive"].pace(SIZES, target_fps=9.0) == TargetPace(9.0, (256, 304, 352))


def test_bank_bytes_grow_with_the_budget() -> None:
    sizes = {each.budget: each.bank_bytes for each in inference_variants(256) if each.factor in (DEFAULT, "budget")}
    assert sizes[512] == 4 * sizes[128] == 512 * 4 * (256 + 256 + 3)


def test_frontier_of_known_points() -> None:
    points = [
        outcome_of("slow and good", jf=80, ms=100),
        outcome_of("fast", jf=70, ms=20),
        outcome_of("beaten", jf=69, ms=30),
        outcome_of("equal to fast", jf=70, ms=20),
        outcome_of("slower, no better", jf=80, ms=120),
        outcome_of("middle", jf=75, ms=50),
    ]
    assert [each.name for each in frontier(points)] == ["fast", "middle", "slow and good"]


def test_outcome_compares_with_the_default_and_leaves_out_what_is_not_finished(
    sequences: list[SequenceResult],
) -> None:
    variants = inference_variants(256)
    default = EvaluationResult(3, conditions(["pair"]), sequences, summarize(sequences))
    times = Times("clip", 3, 7.5, tuple(VariantTime(each.name, 10.0, 12.0, 1.0) for each in variants))
    found = inference_outcome(variants, {DEFAULT: default, "window_2": default}, times)
    assert [each.name for each in found.variants] == [DEFAULT, "window_2"]
    assert found.variants[0].change is None
    assert (found.variants[1].change, found.variants[1].low, found.variants[1].high) == (0.0, 0.0, 0.0)
    assert found.variants[1].jf == pytest.approx(100 * default.summary.jf_mean if default.summary else 0)
    page = outcome_page(found, picture="plot.svg")
    assert "| window 2 |" in page
    assert "(plot.svg)" in page
    assert pareto_picture(found) == pareto_picture(found)


def test_outcome_file_is_read_back_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    good = InferenceOutcome(1, "inference", conditions(["a"]), "clip", 3, 9.0, (outcome_of(DEFAULT, jf=80, ms=100),))
    path = tmp_path / "inference.json"
    path.write_bytes(json_text(good))
    assert read_inference_outcome(path) == good
    for broken, message in (
        (msgspec.structs.replace(good, schema_version=99), "expected schema version 1"),
        (msgspec.structs.replace(good, variants=()), "0 variants"),
    ):
        path.write_bytes(json_text(broken))
        with pytest.raises(DataError, match=message):
            read_inference_outcome(path)
    path.write_bytes(json_text(good).replace(b'"rounds"', b'"circles"'))
    with pytest.raises(DataError, match="expected a result of sam2lite ablate"):
        read_inference_outcome(path)


def test_report_shows_the_suite(tmp_path: Path) -> None:
    rows = (outcome_of(DEFAULT, jf=80, ms=100), outcome_of("<b>256 px", jf=70, ms=20))
    path = tmp_path / "inference.json"
    path.write_bytes(json_text(InferenceOutcome(1, "inference", conditions(["a"]), "clip", 3, 9.0, rows)))
    html = page_html(build_page(read_inputs([path]), title="T"))
    assert "Time of a frame" in html
    assert "&lt;b&gt;256 px" in html
    assert "<b>256 px" not in html


def test_stopped_suite_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    whole, parts = small_suite(tmp_path / "a"), small_suite(tmp_path / "b")
    asked = iter([False, True, False, False])  # stopped after the first sequence
    for variant in whole.variants:
        expected = run_variant(whole, variant, target_fps=5.0, stop=lambda: False)
        assert expected is not None
        found = None
        while found is None:
            found = run_variant(parts, variant, target_fps=5.0, stop=lambda: next(asked, False))
        assert scores(found) == scores(expected)
    assert not list((tmp_path / "b" / "out").glob("*.partial"))
    again = run_variant(whole, whole.variants[0], target_fps=5.0, stop=lambda: True)  # nothing is left to stop
    assert again == read_result(tmp_path / "a" / "out" / "default.json")


def test_evaluation_of_other_conditions_in_the_folder_is_refused(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    run_variant(suite, suite.variants[0], target_fps=5.0, stop=lambda: False)
    other = InferenceSuite(
        suite.variants,
        suite.layout,
        msgspec.structs.replace(suite.base, max_frames=3),
        suite.engines,
        suite.out,
    )
    with pytest.raises(DataError, match="got other max_frames"):
        run_variant(other, suite.variants[0], target_fps=5.0, stop=lambda: False)


def test_times_are_kept_and_the_target_stays(tmp_path: Path) -> None:
    few, more = small_suite(tmp_path, names="window_2"), small_suite(tmp_path / "again", names="window_2,budget_256")
    first = suite_times(few, bench_clip(4), rounds=2)
    assert [each.name for each in first.variants] == [DEFAULT, "window_2"]
    assert first.variants[0].ratio == 1.0
    assert suite_times(few, bench_clip(4), rounds=2) == first
    more = InferenceSuite(more.variants, more.layout, more.base, more.engines, few.out)
    second = suite_times(more, bench_clip(4), rounds=2)
    assert [each.name for each in second.variants] == [DEFAULT, "budget_256", "window_2"]
    assert second.target_fps == first.target_fps
    assert read_times(few.out / TIMES_NAME) == second
    assert RATE_GAIN > 1
