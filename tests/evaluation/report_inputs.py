"""Small inputs of a report: evaluations by the scripted engine, a track folder, an ablation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from sam2lite_mobile.evaluation.conditions import Conditions, EngineInfo, this_machine
from sam2lite_mobile.evaluation.datasets import DavisLayout
from sam2lite_mobile.evaluation.evaluate import evaluate_sequences
from sam2lite_mobile.evaluation.results import (
    SCHEMA_VERSION,
    EvaluationResult,
    SequenceResult,
    summarize,
    write_result,
)
from sam2lite_mobile.media.cell_bits import cell_bits
from sam2lite_mobile.training.ablation.outcome import Outcome, RunScore
from tests.media.clips import square_frame, write_video
from tests.runtime.scripted_engine import ScriptedEngine

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"
"""A name that would become markup if a page did not escape it."""


def conditions(sequences: list[str], **changes: Any) -> Conditions:
    given = Conditions(
        package_version="1",
        data="tiny",
        split="all",
        sequences=sequences,
        prompt="mask",
        size=256,
        window=8,
        budget=128,
        selection="gate",
        selection_seed=None,
        max_frames=None,
        engine=EngineInfo("scripted", "fp32", 1, "1", "", None),
        machine=this_machine(),
    )
    return msgspec.structs.replace(given, **changes)


def write_evaluation(path: Path, sequences: list[SequenceResult], **changes: Any) -> Path:
    names = [sequence.name for sequence in sequences]
    result = EvaluationResult(SCHEMA_VERSION, conditions(names, **changes), sequences, summarize(sequences))
    write_result(path, result)
    return path


def evaluated(layout: DavisLayout, masks: Path, **options: Any) -> list[SequenceResult]:
    """Every sequence of a data set, with flicker and memory cells; masks are kept."""
    found = evaluate_sequences(
        ScriptedEngine(),
        layout,
        layout.sequence_names(),
        size=256,
        flicker=True,
        memory_cells=True,
        save_masks=masks,
        **options,
    )
    return list(found)


def worse(sequences: list[SequenceResult], frame: int, *, name: str | None = None) -> list[SequenceResult]:
    """The same with a J and F of 0.125 in one frame of every object, or of those of one sequence."""
    content = [msgspec.to_builtins(sequence) for sequence in sequences]
    for sequence in content:
        if name is None or sequence["name"] == name:
            for scores in sequence["objects"]:
                scores["j"][frame] = scores["f"][frame] = 0.125
            sequence["jf_mean"] = 0.5
    return msgspec.convert(content, list[SequenceResult])


def write_track(folder: Path, *, frames: int = 6, scheduler: bool = False, name: str = "00000") -> Path:
    """A track folder whose size and window change in the middle."""
    folder.mkdir(parents=True)
    lines = []
    for index in range(frames):
        late = index >= frames // 2
        line: dict[str, Any] = {
            "frame": index,
            "name": name if index == 0 else f"{index:05d}",
            "time_s": index / 25,
            "size": 256 if late else 512,
            "window": 2 if late else 8,
            "latency_ms": {"total": 20.0 + index, "image_encoder": 10.0, "prompt": 0.0},
            "objects": [
                {
                    "object_id": 1,
                    "quality": 0.9 - 0.1 * index,
                    "visibility": 1.0,
                    "visible": True,
                    "prompted": index == 0,
                    "area_share": 0.1,
                    "tokens_by_age": {"0": 2, str(index): 1} if index else {"0": 3},
                    "memory_cells": {"0": cell_bits([0, 17]), str(index): cell_bits([255])},  # type: ignore[arg-type]
                }
            ],
        }
        if scheduler:
            line["scheduler"] = {"error": -0.5, "thermal": "fair", "reason": "too slow", "level": [1, 2]}
        lines.append(json.dumps(line))
    (folder / "frames.jsonl").write_text("\n".join(lines) + "\n")
    engine = {"name": "scripted", "precision": "fp32", "threads": 1, "version": "1", "detail": "", "other": None}
    summary = {
        "source": "square",
        "width": 96,
        "height": 64,
        "frames": frames,
        "size": 512,
        "window": 8,
        "interrupted": False,
        "engine": engine,
        "machine": msgspec.to_builtins(this_machine()),
        "timer": "a timer",
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    write_video(folder / "overlay.mp4", [square_frame(step) for step in range(frames)])
    return folder


def write_ablation(path: Path, *, suite: str = "distillation") -> Path:
    runs = tuple(
        RunScore(variant, seed, "0", 40, 1.0, j=score + 0.01 * seed, f=score + 0.01 * seed, by_sequence={})
        for variant, score in (("full", 0.6), ("no_attention", 0.5))
        for seed in (0, 1)
    )
    outcome = Outcome(1, suite, "1", "2", 1, this_machine(), ("a",), 256, 20, runs)
    path.write_bytes(msgspec.json.encode(outcome))
    return path
