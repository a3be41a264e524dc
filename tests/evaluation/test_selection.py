"""Rules that score memory tokens in the place of the gate."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2lite_mobile.contract import TOKENS_PER_FRAME, graph_spec
from sam2lite_mobile.evaluation.selection import Selection, SelectionEngine, rule_scores
from sam2lite_mobile.student.constants import gaussian_code
from tests.runtime.scripted_engine import ScriptedEngine

CELLS = np.arange(TOKENS_PER_FRAME)
BANK = 128


def scores_of(
    selection: Selection, *, frame: int = 0, age: int = 0, seed: int = 0, mask_mean: float = 0, uncertainty: float = 0
) -> NDArray[np.float32]:
    """Scores of a whole frame, all of whose cells look alike."""
    return rule_scores(
        selection,
        frame=np.full(TOKENS_PER_FRAME, frame),
        cell=CELLS,
        age=np.full(TOKENS_PER_FRAME, age),
        mask_mean=np.full(TOKENS_PER_FRAME, mask_mean, np.float32),
        uncertainty=np.full(TOKENS_PER_FRAME, uncertainty, np.float32),
        seed=seed,
    )


def test_fifo_prefers_the_newer_token_until_ages_are_capped() -> None:
    ages = [float(scores_of(Selection.FIFO, age=age)[0]) for age in (0, 1, 128, 200)]
    assert ages == [0, -1, -128, -128]


def test_uniform_keeps_half_of_a_frame_as_a_chequerboard_and_a_quarter_as_every_other_of_it() -> None:
    best = np.argsort(-scores_of(Selection.UNIFORM, frame=3))
    rows, columns = np.divmod(best[:128], 16)
    assert set((rows + columns) % 2) == {0}
    rows, columns = np.divmod(best[:64], 16)
    assert set(rows % 2) == set(columns % 2) == {0}
    assert np.array_equal(scores_of(Selection.UNIFORM, frame=3), scores_of(Selection.UNIFORM, frame=9, age=4))


def test_simple_adds_twice_the_uncertainty_to_one_and_a_half_on_the_object() -> None:
    pairs = [(0.02, 0.0), (0.03, 0.0), (0.0, 1.0), (1.0, 0.5)]
    scores = [float(scores_of(Selection.SIMPLE, mask_mean=m, uncertainty=u)[0]) for m, u in pairs]
    assert scores == [0, 1.5, 2, 2.5]


def test_random_score_of_a_token_stays_and_differs_from_frame_to_frame_and_seed_to_seed() -> None:
    first = scores_of(Selection.RANDOM, frame=5)
    assert np.array_equal(first, scores_of(Selection.RANDOM, frame=5, age=3, uncertainty=1))
    assert first.min() >= 0
    assert first.max() < 1
    others = [scores_of(Selection.RANDOM, frame=5, seed=seed) for seed in (1, 2, 2**32 - 1)]
    others.append(scores_of(Selection.RANDOM, frame=6))
    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.2  # three standard deviations of 256 pairs
    drawn = np.concatenate([scores_of(Selection.RANDOM, frame=frame, seed=9) for frame in range(40)])
    assert np.histogram(drawn, 10, (0, 1))[0] / drawn.size == pytest.approx(np.full(10, 0.1), abs=0.01)


def test_rule_takes_the_place_of_the_gate_alone() -> None:
    inner = ScriptedEngine(bank_tokens=BANK)
    engine = SelectionEngine(inner, Selection.FIFO)
    spec = graph_spec("token_gate", bank_tokens=BANK)
    tensors = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in spec.inputs}
    tensors["age"][0, :3] = [2 / 128, 1 / 128, 1]
    scores = engine.run(spec.id, tensors)["scores"]
    assert (scores.shape, scores.dtype, scores[0, :4].tolist()) == (
        spec.outputs[0].shape,
        np.float32,
        [-2, -1, -128, 0],
    )
    image = graph_spec("image_encoder", 256, bank_tokens=BANK)
    engine.run(image.id, {"image": np.zeros(image.inputs[0].shape, np.float32)})
    assert inner.runs == {"image_encoder": 1}


def test_random_score_in_the_tracker_follows_the_token_as_it_ages() -> None:
    engine = SelectionEngine(ScriptedEngine(bank_tokens=BANK), Selection.RANDOM, seed=3)
    spec = graph_spec("token_gate", bank_tokens=BANK)
    image = graph_spec("image_encoder", 256, bank_tokens=BANK)
    tensors = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in spec.inputs}
    tensors["keys"][0, :TOKENS_PER_FRAME, -32:] = gaussian_code(16)
    for age in range(3):
        engine.run(image.id, {"image": np.zeros(image.inputs[0].shape, np.float32)})
        tensors["age"][0, :TOKENS_PER_FRAME] = age / 128
        scores = engine.run(spec.id, tensors)["scores"][0, :TOKENS_PER_FRAME]
        assert np.array_equal(scores, scores_of(Selection.RANDOM, frame=0, seed=3))
