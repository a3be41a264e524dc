"""The tracker's loop with gradients: what reaches which weights, what a frame may see, and that nothing leaks."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2lite_mobile.contract import AGE_FRAMES
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.runtime.prompts import Box, Prompt, mask_prompt_logits
from sam2lite_mobile.runtime.tracker import Tracker
from sam2lite_mobile.student.student import Student, example_inputs
from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.clip_forward import ClipForward, ClipOutcome, float32_inside
from sam2lite_mobile.training.draws import Draws
from sam2lite_mobile.training.forward_settings import ForwardSettings
from sam2lite_mobile.training.optimization import FIRST_TUNED_STEM_BLOCK, GATE_PREFIX, build_optimizer, stem_parameter
from sam2lite_mobile.training.pair_memory import hidden_tokens
from tests.training.short_runs import moving_square, short_recipe, small_student

PLAIN = ForwardSettings(prompt_share=0, correction_share=0, prune_share=0, recent_drop_share=0, largest_frame_span=1)
"""Nothing varies: the first mask is given, and all that the bank holds is shown."""

FIRST_OF_A_BOX = replace(PLAIN, prompt_share=1, prompted_memory_share=1)


def run(
    student: Student, batch: ClipBatch, settings: ForwardSettings = PLAIN, *, seed: int = 0, bfloat16: bool = False
) -> ClipOutcome:
    forward = ClipForward(student, settings, bfloat16=bfloat16)
    return forward(batch, torch.Generator().manual_seed(seed))


def gradients(student: Student, batch: ClipBatch, settings: ForwardSettings) -> dict[str, Tensor]:
    """Gradients by parameter; zeros where none arrived."""
    student.zero_grad()
    run(student, batch, settings).loss.backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in student.named_parameters()}


@pytest.mark.parametrize("stem", ["random", "imagenet"])
def test_gradients_reach_every_parameter_but_the_frozen_stem(stem: str) -> None:
    student = small_student()
    build_optimizer(student, short_recipe(stem=stem))
    settings = ForwardSettings(prompt_share=1)
    for seed in range(2):
        run(student, moving_square(frames=3, seed=seed), settings, seed=seed).loss.backward()
    for name, parameter in student.named_parameters():
        block = stem_parameter(name)
        if name.startswith(GATE_PREFIX):
            continue  # it learns from the bank: test_bank_memory.py
        if stem == "imagenet" and block is not None and block < FIRST_TUNED_STEM_BLOCK:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_token_gate_learns_nothing_from_a_pair_of_frames() -> None:
    student, batch = small_student(), moving_square(frames=3)
    values = gradients(student, batch, PLAIN)
    assert [name for name, value in values.items() if name.startswith("token_gate.") and value.any()] == []


@pytest.mark.parametrize("prompted", [False, True], ids=["mask", "box"])
def test_second_frame_is_decoded_as_the_tracker_decodes_it(prompted: bool) -> None:
    student, batch = small_student(), moving_square(frames=2)
    outcome = run(student, batch, FIRST_OF_A_BOX if prompted else PLAIN)
    tracker = Tracker(TorchEngine(copy.deepcopy(student)), size=256)
    mask = batch.masks[0, 0].numpy() > 0
    prompt = Prompt.from_box(Box(60, 80, 140, 160)) if prompted else Prompt.from_mask(mask)
    for t, prompts in enumerate(({1: prompt}, None)):
        logits = tracker.step(batch.frames[0, t].numpy(), prompts=prompts).objects[1].mask_logits
        np.testing.assert_allclose(outcome.predictions[:, t].numpy(), logits[0], atol=2e-4, err_msg=f"frame {t}")


def test_given_mask_is_remembered_as_the_logits_of_a_mask_prompt() -> None:
    batch = moving_square(frames=2)
    batch.masks[:, 0, 80, 60:140] = 0  # 79 rows: the cells of the border are covered in part
    expected = mask_prompt_logits(batch.masks[0, 0].numpy() > 0, 256)
    np.testing.assert_allclose(run(small_student(), batch).predictions[:, 0].numpy(), expected[0], atol=1e-5)


def test_truth_of_a_later_frame_does_not_reach_its_prediction() -> None:
    student, batch = small_student(), moving_square(frames=3)
    before = run(student, batch)
    batch.masks[:, 1:] = batch.masks[:, 1:].flip(-1)
    after = run(student, batch)
    assert torch.equal(before.predictions, after.predictions)
    assert before.loss != after.loss


@pytest.mark.parametrize("shown", [True, False])
def test_frame_is_written_to_memory_only_if_it_shows_the_object(shown: bool) -> None:
    student = small_student()
    batch = moving_square(frames=3, hidden=() if shown else (1,))
    before = run(student, batch).predictions
    batch.frames[:, 1] = 255 - batch.frames[:, 1]
    after = run(student, batch).predictions
    assert not torch.equal(before[:, 1], after[:, 1])
    assert torch.equal(before[:, 2], after[:, 2]) is not shown


def test_age_counts_frames_since_the_one_that_was_written() -> None:
    student = small_student()
    ages: list[list[float]] = []

    def note(module: object, inputs: tuple[Tensor, ...]) -> None:
        ages.append((inputs[3][0, [0, -1]] * AGE_FRAMES).tolist())

    student.mask_decoder.read_recent.register_forward_pre_hook(note)
    run(student, moving_square(frames=4, hidden=(2,)))
    assert ages == [[1, 1], [2, 1], [3, 2]]  # of the anchors and the recent tokens, at frames 1, 2 and 3


def test_dropped_recent_tokens_are_not_read() -> None:
    student, batch = small_student(), moving_square(frames=3)
    settings = replace(PLAIN, recent_drop_share=1)
    before = run(student, batch, settings).predictions
    batch.frames[:, 1] = 255 - batch.frames[:, 1]
    assert torch.equal(before[:, 2], run(student, batch, settings).predictions[:, 2])


def test_pruning_hides_about_half_of_the_recent_tokens() -> None:
    hidden = hidden_tokens(2, 8, Draws(torch.Generator().manual_seed(0), range(8), 8), prune_share=1, drop_share=0) != 0
    assert 0.45 < hidden.float().mean() < 0.55
    first = hidden_tokens(1, 8, Draws(torch.Generator(), range(8), 8), prune_share=1, drop_share=0)
    assert first.ne(0).all()  # no frame but the first is remembered yet


def test_correction_is_read_at_its_frame_when_one_is_drawn() -> None:
    student, batch = small_student(), moving_square(frames=3)
    moved = replace(batch, points=batch.points + 0.1)
    for share in (0.0, 1.0):
        settings = replace(PLAIN, correction_share=share)
        before, after = (run(student, each, settings).predictions for each in (batch, moved))
        assert torch.equal(before[:, 0], after[:, 0])
        assert torch.equal(before[:, 1], after[:, 1]) is (share == 0)


def test_loss_is_the_weighted_sum_of_its_parts_a_tracked_frame() -> None:
    settings = replace(FIRST_OF_A_BOX, edge_weight=0.75, quality_weight=0.5, visibility_weight=0.25)
    parts = run(small_student(), moving_square(frames=3), settings).parts
    # Two tracked frames, and the prompted first frame: three values of edge, quality and visibility.
    thrice = 0.75 * parts["edge"] + 0.5 * parts["quality"] + 0.25 * parts["visibility"]
    total = parts["prompt"] + 2 * parts["mask"] + 3 * thrice
    assert parts["loss"] == pytest.approx(total / 2, rel=1e-5)


def test_generator_decides_what_varies() -> None:
    student, batch, settings = small_student(), moving_square(frames=3), ForwardSettings()
    losses = [run(student, batch, settings, seed=seed).parts["loss"] for seed in (0, 0, 1, 2, 3)]
    assert losses[0] == losses[1]
    assert len(set(losses)) > 2


def test_bfloat16_stays_outside_of_memory_and_of_depthwise_convolutions() -> None:
    student = small_student()
    seen: dict[str, list[torch.dtype]] = {}

    def watch(name: str) -> None:
        def note(module: object, inputs: tuple[Tensor, ...], output: object) -> None:
            tensors = (output,) if isinstance(output, Tensor) else output
            tensors = tensors if isinstance(tensors, tuple) else vars(tensors).values()
            seen.setdefault(name, []).extend(x.dtype for x in tensors if isinstance(x, Tensor))

        student.get_submodule(name).register_forward_hook(note)

    for name in ("image_encoder", "memory_encoder", "mask_decoder.read_anchors", "mask_decoder.read_recent"):
        watch(name)
    watch("image_encoder.patches.blocks.1.depthwise")
    outcome = run(student, moving_square(frames=3), bfloat16=True)
    assert set(seen.pop("image_encoder")) == {torch.bfloat16}
    assert {name: set(dtypes) for name, dtypes in seen.items()} == {name: {torch.float32} for name in seen}
    assert outcome.predictions.dtype == torch.float32
    exact = run(student, moving_square(frames=3)).parts["loss"]
    assert outcome.parts["loss"] == pytest.approx(exact, rel=0.05)
    assert outcome.parts["loss"] != exact


def test_student_is_as_before_after_a_call_so_that_copies_run_their_own_weights() -> None:
    student = small_student()
    inputs = example_inputs("memory_encoder", 256)
    expected = student.memory_encoder(**inputs)
    run(student, moving_square(frames=2), bfloat16=True)
    twin = copy.deepcopy(student)
    with torch.no_grad():
        for parameter in student.memory_encoder.parameters():
            parameter.zero_()
    for got, want in zip(twin.memory_encoder(**inputs), expected, strict=True):
        assert torch.equal(got, want)


def test_student_is_as_before_after_an_error_inside() -> None:
    student = small_student()
    modules = (student.memory_encoder, student.mask_decoder.read_anchors)

    def fail_inside() -> None:
        with float32_inside(*modules):
            assert all("forward" in vars(module) for module in modules)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert not any("forward" in vars(module) for module in modules)


def test_quantized_phase_trains_under_rounding_and_leaves_the_student_as_it_was() -> None:
    student, batch = small_student(), moving_square(frames=3)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    exact, weights, everything = (
        run(student, batch, replace(PLAIN, quantize=recipe)).predictions for recipe in (None, "w8", "w8a8")
    )
    small, large = ((each[:, 1:] - exact[:, 1:]).abs().mean() for each in (weights, everything))
    assert 0 < small < large < exact[:, 1:].abs().mean()
    assert torch.equal(run(student, batch).predictions, exact)  # nothing stays behind
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    rounded = gradients(student, batch, replace(PLAIN, quantize="w8a8"))
    plain = gradients(student, batch, PLAIN)
    silent = [name for name, value in plain.items() if value.any() and not rounded[name].any()]
    assert silent == []  # rounding lets gradients through
