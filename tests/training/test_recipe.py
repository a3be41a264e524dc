"""Recipes: what is refused, and which step belongs to which phase."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from sam2lite_mobile.engines.torch_engine import default_checkpoint
from sam2lite_mobile.errors import DataError
from sam2lite_mobile.student.checkpoint import read_header
from sam2lite_mobile.training.clip_settings import ClipSettings
from sam2lite_mobile.training.recipe import (
    LARGEST_RECIPE_BYTES,
    Distillation,
    Phase,
    Recipe,
    load_recipe,
    shipped_recipes,
)
from tests.training.short_runs import short_recipe

GOOD = 'name = "mine"\nstudent = "tiny"\n'
PHASE = "[[phases]]\nclips = 10\nframes = 3\n"


def test_recipe_is_read_from_a_file_with_defaults_for_what_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"{GOOD}learning_rate = 5e-4\nhold_out = []\n{PHASE}sizes = [256, 352]\n")
    recipe = load_recipe(str(path))
    assert recipe == Recipe("mine", "tiny", (Phase(10, 3, (256, 352)),), learning_rate=5e-4, hold_out=())


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_valid_and_named_as_their_files(name: str) -> None:
    assert load_recipe(name).name == name


def test_digest_of_a_recipe_does_not_change_between_versions() -> None:
    # A saved run can be resumed only as long as this holds: a new or renamed field changes it.
    digest = short_recipe(edge_weight=0).digest()
    assert digest == "97de3307bbba7af268252f9927785de393165fe53d98870a59d4bc5f3a43ab6a"
    phases = short_recipe().phases
    of_phase = {"learning_rate": 0.5, "memory": "bank", "quantize": "w8"}
    changed = [(msgspec.structs.replace(phases[0], **{k: v}), *phases[1:]) for k, v in of_phase.items()]
    for change in (
        {"seed": 1},
        {"edge_weight": 0.5},
        {"start_from": "nano"},
        {"schedule": "exponential"},
        {"distillation": Distillation("own:nano")},
        *({"phases": value} for value in changed),
    ):
        assert short_recipe(**{"edge_weight": 0, **change}).digest() != digest


def test_shipped_weights_name_the_recipes_that_made_them() -> None:
    tiny, nano = (read_header(default_checkpoint(name))[1] for name in ("tiny", "nano"))
    assert tiny["recipe_hash"] == load_recipe(tiny["recipe"]).digest()
    parts = set(nano["recipe"].split(" + "))  # a mean
    assert parts == {"nano_cpu", "nano_mixed", "nano_far"}
    assert parts < set(shipped_recipes())
    assert all(re.fullmatch("[0-9a-f]{64}", part) for part in nano["averaged"].split(" + "))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "speed = 3\n" + PHASE, "unknown field `speed`"),
        (GOOD + PHASE + "colour = 1\n", "unknown field `colour`"),
        (GOOD + PHASE + "sizes = [300]\n", r"phase sizes \(300,\): the contract has \(256,"),
        (GOOD + PHASE + "sizes = []\n", "at least one size"),
        (GOOD + PHASE.replace("3", "1"), "2 <= frames <= 64"),
        (GOOD + PHASE.replace("3", "65"), "2 <= frames <= 64"),
        (GOOD + PHASE.replace("10", "0"), "clips >= 1"),
        (GOOD + PHASE + "video_share = 1.5\n", "video_share 1.5 is outside 0..1"),
        (GOOD + PHASE + "gap_max = 0\n", "gap_max 0 is outside 1..64"),
        (GOOD + PHASE + "strong_zoom = 1.5\n", "strong_zoom 1.5 is outside 0..1"),
        ('name = "mine"\nstudent = "huge"\n' + PHASE, "student 'huge' is not one of nano, tiny, small, base"),
        (GOOD, "missing required field `phases`"),
        (GOOD + "phases = []\n", "there is no phase"),
        (GOOD + "batch_clips = 0\n" + PHASE, "batch_clips >= 1"),
        (GOOD + "learning_rate = nan\n" + PHASE, "0 < learning_rate <= 1"),
        (GOOD + "average_decay = 1.0\n" + PHASE, "average_decay < 1"),
        (GOOD + "final_share = -0.1\n" + PHASE, "final_share -0.1 is outside 0..1"),
        (GOOD + "tune_stem_after = 2.0\n" + PHASE, "tune_stem_after 2.0 is outside 0..1"),
        (GOOD + "seed = -1\n" + PHASE, "seed >= 0"),
        (GOOD + "clip_norm = 0.0\n" + PHASE, "clip_norm > 0"),
        (GOOD + 'precision = "fp8"\n' + PHASE, "Invalid enum value 'fp8'"),
        (GOOD + PHASE + "learning_rate = 2.0\n", "learning_rate 2.0 of a phase is outside 0..1"),
        (GOOD + PHASE + 'quantize = "int4"\n', "Invalid enum value 'int4'"),
        (GOOD + 'patch_embed = "plain"\n' + PHASE, "plain patches have no ImageNet weights"),
        (GOOD + 'schedule = "exponential"\nfinal_share = 0\n' + PHASE, "never reaches a final_share of 0"),
        (GOOD + 'trains = "gate"\n' + PHASE, 'trains = "gate" needs memory = "bank"'),
        (GOOD + "fresh_gate = true\n" + PHASE, "fresh_gate is for runs that start from a trained student"),
        (GOOD + PHASE + "[distillation]\n", "missing required field `teacher`"),
        (GOOD + PHASE + '[distillation]\nteacher = "own:nano"\nmask_share = 2\n', "mask_share 2.0 is outside 0..1"),
        (
            GOOD + PHASE + '[distillation]\nteacher = "own:nano"\nreadout_weight = -1\n',
            "readout_weight -1.0 is outside",
        ),
        (GOOD + 'seed = "7"\n' + PHASE, "Expected `int`, got `str`"),
        ("name = ", "Invalid value"),
    ],
)
def test_broken_recipes_are_refused_by_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_recipe(str(path))


def test_several_problems_are_named_together() -> None:
    with pytest.raises(ValueError, match=r"student 'huge'.*batch_clips"):
        Recipe("mine", "huge", (Phase(1, 2),), batch_clips=0)


def test_unknown_names_too_long_files_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected .*nano_cpu.* or a TOML file, got nano_gpu"):
        load_recipe("nano_gpu")
    path = tmp_path / "recipe.toml"
    padding = LARGEST_RECIPE_BYTES - len((GOOD + PHASE).encode()) - 2
    path.write_text(GOOD + PHASE + "#" + "x" * padding + "\n")
    assert load_recipe(str(path)).name == "mine"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(DataError, match="at most 64 KB, got 65537 bytes"):
        load_recipe(str(path))
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(DataError, match="expected the fields of a recipe"):
        load_recipe(str(path))


def test_methodologys_stages_are_a_recipe_with_its_hyper_parameters() -> None:
    recipe = load_recipe("three_stages")
    assert [(p.frames, p.learning_rate, p.memory, p.quantize) for p in recipe.phases] == [
        (8, 1e-4, "pair", None),
        (24, 5e-5, "bank", None),
        (8, 1e-5, "bank", "w8a8"),
    ]
    first, second, third = (phase.clips for phase in recipe.phases)
    assert first == second == 2 * third  # 10, 10 and 5 epochs
    assert (recipe.batch_clips, recipe.schedule, recipe.clip_norm, recipe.weight_decay) == (32, "exponential", 1, 0.01)
    assert (recipe.temperature_start, recipe.temperature_end, recipe.edge_weight) == (1.0, 0.1, 0.5)
    assert recipe.distillation is not None
    assert (recipe.distillation.attention_weight, recipe.distillation.readout_weight) == (0.3, 0.2)
    assert len(recipe.hold_out) >= 5


def test_smoke_recipe_goes_through_every_stage() -> None:
    recipe = load_recipe("smoke")
    assert [(phase.memory, phase.quantize) for phase in recipe.phases] == [
        (None, None),
        ("bank", None),
        ("bank", "w8a8"),
    ]
    assert recipe.distillation is not None


def test_steps_count_a_last_batch_that_is_not_full_and_phases_follow_each_other() -> None:
    first, second = Phase(clips=9, frames=2), Phase(clips=4, frames=3)
    recipe = Recipe("mine", "nano", (first, second), batch_clips=4)
    assert recipe.steps == 3 + 1
    assert [recipe.phase_at(step) for step in range(4)] == [(0, first)] * 3 + [(1, second)]
    assert recipe.phase_at(4) == (1, second)  # after the end: the last phase


def test_a_phase_changes_the_clips_that_it_names_and_leaves_the_others_as_they_are() -> None:
    plain, far = Phase(clips=4, frames=5), Phase(clips=4, frames=5, gap_max=9, strong_zoom=0.5)
    assert plain.clip_settings(256) == ClipSettings(size_px=256, frames=5)
    assert far.clip_settings(352) == ClipSettings(size_px=352, frames=5, gap_max=9, strong_zoom=0.5)


def test_fields_that_a_phase_does_not_name_do_not_change_a_recipes_hash() -> None:
    before = Recipe(name="a", student="nano", phases=(Phase(clips=4, frames=3),))
    named = Recipe(name="a", student="nano", phases=(Phase(clips=4, frames=3, gap_max=8),))
    assert before.digest() == Recipe(name="a", student="nano", phases=(Phase(clips=4, frames=3),)).digest()
    assert named.digest() != before.digest()
