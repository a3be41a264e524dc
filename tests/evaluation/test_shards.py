"""Shares of sequences for several processes, torchrun's environment, and joining of parts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2lite_mobile.errors import ContractError, DataError
from sam2lite_mobile.evaluation.launched import launched_shard, processes_here, wait_for_parts
from sam2lite_mobile.evaluation.results import (
    SCHEMA_VERSION,
    EvaluationResult,
    ObjectScores,
    sequence_result,
    summarize,
    write_result,
)
from sam2lite_mobile.evaluation.shards import WHOLE, Shard, join, share
from tests.evaluation.report_inputs import conditions

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2"}


def evaluation(*names: str, size: int = 256) -> EvaluationResult:
    """A finished evaluation of short sequences, each with scores of its own."""
    sequences = []
    for place, name in enumerate(names, start=1):
        j = [1, 1 / place, 1 / (place + 1), 1]
        sequences.append(sequence_result(name, [ObjectScores(1, 0, j, j)], shape=(4, 6), latency_ms={"total": j}))
    return EvaluationResult(SCHEMA_VERSION, conditions(list(names), size=size), sequences, summarize(sequences))


def parts_of(result: EvaluationResult, *shares: list[int]) -> list[EvaluationResult]:
    """Parts as two processes write them, with these sequences."""
    return [
        msgspec.structs.replace(result, sequences=[result.sequences[place] for place in places], summary=None)
        for places in shares
    ]


def test_longest_sequences_go_first_each_to_the_emptiest_process() -> None:
    frames = {"a": 10, "b": 90, "c": 50, "d": 40, "e": 10}
    assert share(Shard(0, 2), frames) == ("a", "b")
    assert share(Shard(1, 2), frames) == ("c", "d", "e")
    assert share(WHOLE, frames) == tuple(frames)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=30), st.data())
def test_shares_hold_every_sequence_once_and_no_share_is_far_from_even(lengths: list[int], data: st.DataObject) -> None:
    frames = {f"s{place}": length for place, length in enumerate(lengths)}
    count = data.draw(st.integers(1, len(lengths)))
    shares = [share(Shard(index, count), frames) for index in range(count)]
    assert sorted(name for each in shares for name in each) == sorted(frames)
    loads = [sum(frames[name] for name in each) for each in shares]
    assert max(loads) - min(loads) <= max(lengths)
    assert min(map(len, shares)) >= 1


def test_more_processes_than_sequences_are_refused() -> None:
    with pytest.raises(ContractError, match="shards: expected at most 2 sequences, got 3"):
        share(Shard(0, 3), {"a": 1, "b": 1})


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_impossible_shards_are_refused(index: int, count: int) -> None:
    with pytest.raises(ContractError, match=f"got {index} of {count}"):
        Shard(index, count)


def test_torchrun_is_read_from_the_environment() -> None:
    assert launched_shard({}) is None
    assert launched_shard({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert launched_shard(TORCHRUN) == Shard(1, 2)
    assert (processes_here({}), processes_here({"LOCAL_WORLD_SIZE": "4"})) == (1, 4)


@pytest.mark.parametrize(("name", "value"), [("RANK", "first"), ("RANK", ""), ("WORLD_SIZE", "-2")])
def test_half_an_environment_is_refused(name: str, value: str) -> None:
    with pytest.raises(ContractError, match=f"environment variable {name}: expected RANK and WORLD_SIZE"):
        launched_shard(TORCHRUN | {name: value})


def test_parts_in_any_order_join_to_the_result_of_one_process() -> None:
    whole = evaluation("a", "b", "c")
    assert join(parts_of(whole, [1], [2, 0]), names=["x", "y"]) == whole


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (([0], [1]), "c is missing"),
        (([0, 1], [1, 2]), "b is there twice"),
        (([], []), "a is missing, and 2 more"),
    ],
)
def test_missing_and_doubled_sequences_are_named(shares: tuple[list[int], ...], message: str) -> None:
    with pytest.raises(DataError, match=f"join x, y: expected every sequence once, got {message}"):
        join(parts_of(evaluation("a", "b", "c"), *shares), names=["x", "y"])


def test_other_conditions_are_named() -> None:
    first, _ = parts_of(evaluation("a", "b"), [0], [1])
    _, second = parts_of(evaluation("a", "b", size=304), [0], [1])
    with pytest.raises(DataError, match="y: expected the conditions of x, got other size"):
        join([first, second], names=["x", "y"])
    with pytest.raises(DataError, match="expected parts of an evaluation, got none"):
        join([], names=[])


def test_first_process_waits_for_parts_of_its_own_conditions(tmp_path: Path) -> None:
    mine, theirs = parts_of(evaluation("a", "b"), [0], [1])
    _, left_over = parts_of(evaluation("a", "b", size=304), [0], [1])
    paths = Shard(0, 2).all_paths(tmp_path / "r.json")
    write_result(paths[0], mine)
    ahead = iter(
        [
            lambda: paths[1].write_text("{}"),
            lambda: write_result(paths[1], left_over),
            lambda: write_result(paths[1], theirs),
        ]
    )
    assert wait_for_parts(paths, mine.conditions, sleep=lambda seconds: next(ahead)()) == [mine, theirs]
    assert next(ahead, None) is None
