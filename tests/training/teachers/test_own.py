"""A student with unbounded memory as teacher: what it remembers, what it reads, and what it gives back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2lite_mobile import contract
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.errors import CheckpointError, ContractError
from sam2lite_mobile.runtime.prompts import Prompt
from sam2lite_mobile.runtime.tracker import Tracker
from sam2lite_mobile.student.checkpoint import save_student
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.alignment import TokenSpan
from sam2lite_mobile.training.teachers.own import Memory, OwnTeacher
from tests.training.short_runs import moving_square, small_student

CELLS = contract.TOKENS_PER_FRAME


def seeing_student(seed: int = 0) -> Student:
    """A small student that finds the object in view on every frame: the runtime then remembers each."""
    student = small_student(seed).eval()
    with torch.no_grad():
        student.mask_decoder.visibility[-1].bias.fill_(1000.0)
        student.mask_decoder.bias.fill_(1.0)
    return student


def clip(frames: int = 3) -> tuple[Tensor, Tensor]:
    batch = moving_square(frames=frames)
    return batch.frames[0], batch.masks[0, 0]


def teacher(student: Student | None = None) -> OwnTeacher:
    return OwnTeacher(student or seeing_student(), weights_hash="0")


def test_three_frames_are_tracked_as_by_the_tracker_while_its_bank_holds_all_of_them() -> None:
    student = seeing_student()
    frames, mask = clip(3)
    tracker = Tracker(TorchEngine(student, bank_tokens=contract.BANK_TOKENS_MAX, tuned=False), size=256)
    tracker.step(frames[0].numpy(), prompts={1: Prompt.from_mask(mask.numpy() > 0)})
    tracked = teacher(student).track(frames, mask)
    assert len(tracked) == 2
    for t, frame in enumerate(tracked, start=1):
        expected = tracker.step(frames[t].numpy()).objects[1]
        assert expected.visible
        np.testing.assert_allclose(frame.mask_logits.numpy(), expected.mask_logits[0, 0], atol=2e-4)


def test_attention_is_half_of_each_read_of_a_decoder_that_is_given_the_same_tokens() -> None:
    student = seeing_student()
    frames, mask = clip(3)
    first, second = teacher(student).track(frames, mask)
    with torch.no_grad():
        features = [student.image_encoder(frame.permute(2, 0, 1)[None].float()) for frame in frames]
        given = torch.where(mask[::4, ::4] > 0, 16.0, -16.0)[None, None]  # the square's borders are multiples of 4
        written = [
            student.memory_encoder(features[0][0], given),
            student.memory_encoder(features[1][0], first.mask_logits[None, None]),
        ]
        keys, values = (torch.cat([tokens[i] for tokens in written], 1) for i in range(2))
        anchor = torch.cat([torch.ones(1, CELLS), torch.zeros(1, CELLS)], 1)
        age = torch.cat([torch.full((1, CELLS), 2.0), torch.full((1, CELLS), 1.0)], 1) / 128
        no_prompt = student.prompt_encoder(torch.zeros(1, 8, 2), -torch.ones(1, 8))
        logits, _, _, trace = student.mask_decoder.trace(
            *features[2], keys, values, age, torch.zeros(1, 2 * CELLS), anchor, *no_prompt
        )
    expected = (trace.anchors.attention + trace.recent.attention)[0] / 2
    torch.testing.assert_close(second.attention, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second.mask_logits, logits[0, 0], atol=1e-4, rtol=1e-4)
    readouts = torch.cat([trace.anchors.readout[0], trace.recent.readout[0]], 1)
    torch.testing.assert_close(second.readout, readouts, atol=1e-4, rtol=1e-4)
    # Each half lies on its own kind of token or on null: neither read sees the other's.
    assert torch.equal(second.attention[:, :CELLS], trace.anchors.attention[0, :, :CELLS] / 2)
    assert second.attention[:, CELLS:-1].sum() > 0


def test_only_anchors_in_memory_leave_the_recent_reads_half_on_the_null_token() -> None:
    first = teacher().track(*clip(2))[0]
    assert first.spans == (TokenSpan.of_grid(0, (16, 16)), TokenSpan.without_place(1))
    assert first.attention.shape == (256, CELLS + 1)
    assert (first.attention[:, -1] >= 0.5).all()
    assert (first.attention[:, :-1].sum(1) <= 0.5 + 1e-6).all()


def test_every_frame_that_shows_the_object_is_remembered_for_good() -> None:
    tracked = teacher().track(*clip(12))  # longer than the largest window
    assert [span.frame for span in tracked[-1].spans] == [*range(11), -1]
    for frame in tracked:
        torch.testing.assert_close(frame.attention.sum(1), torch.ones(256), atol=1e-5, rtol=0)
        assert sum(span.tokens for span in frame.spans) == frame.attention.shape[1]


@pytest.mark.parametrize("reason", ["visibility", "mask"])
def test_frame_without_the_object_is_not_remembered(reason: str) -> None:
    student = seeing_student()
    with torch.no_grad():
        if reason == "visibility":
            student.mask_decoder.visibility[-1].bias.fill_(-1000.0)
        else:
            student.mask_decoder.bias.fill_(-1000.0)
    last = teacher(student).track(*clip(4))[-1]
    assert [span.frame for span in last.spans] == [0, -1]


def test_age_counts_frames_since_the_one_that_was_written_and_ends_at_128() -> None:
    memory = Memory()
    for frame in (0, 3):
        memory.write(frame, *[torch.zeros(1, CELLS, contract.CHANNELS)] * 2)
    for now, ages in ((4, [4, 1]), (128, [128, 125]), (130, [128, 127]), (131, [128, 128])):
        _, _, age, mask, anchor = memory.decoder_inputs(now)
        assert (age[0, [0, CELLS - 1, CELLS, -1]] * 128).tolist() == [ages[0], ages[0], ages[1], ages[1]]
        assert (mask == 0).all()
        assert anchor[0].nonzero()[:, 0].tolist() == [*range(CELLS)]


@pytest.mark.parametrize("size", [256, 304])
def test_grids_follow_the_size_of_the_clip(size: int) -> None:
    frames = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    mask = torch.zeros(size, size, dtype=torch.uint8)
    mask[:64, :64] = 255
    frame = teacher().track(frames, mask)[0]
    g = size // 16
    assert frame.query_grid == (g, g)
    assert frame.attention.shape == (g * g, CELLS + 1)
    assert frame.readout.shape == (g * g, teacher().readout_width)
    assert frame.mask_logits.shape == (size // 4, size // 4)


def test_answers_are_float32_without_gradients_also_inside_autocast() -> None:
    plain = teacher().track(*clip(2))[0]
    with torch.autocast("cpu", torch.bfloat16):
        inside = teacher().track(*clip(2))[0]
    for name in ("mask_logits", "attention", "readout"):
        value = getattr(inside, name)
        assert value.dtype == torch.float32
        assert not value.requires_grad
        assert torch.equal(value, getattr(plain, name))


def test_fingerprint_names_the_checkpoint(tmp_path: Path) -> None:
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "c.safetensors"]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        save_student(small_student(seed), path)
    prints = [OwnTeacher.from_checkpoint(path).fingerprint for path in paths]
    assert prints[0] == prints[1] != prints[2]
    assert len(prints[0]) == 64
    int(prints[0], 16)


def test_loaded_teacher_is_frozen(tmp_path: Path) -> None:
    save_student(small_student(), tmp_path / "a.safetensors")
    loaded = OwnTeacher.from_checkpoint(tmp_path / "a.safetensors")
    assert not any(p.requires_grad for p in loaded._student.parameters())
    assert not any(module.training for module in loaded._student.modules())


def test_missing_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no-such"):
        OwnTeacher.from_checkpoint(tmp_path / "no-such.safetensors")


@pytest.mark.parametrize(
    ("frames", "mask", "message"),
    [
        (torch.zeros(3, 256, 256, 3), torch.zeros(256, 256, dtype=torch.uint8), "float32"),
        (torch.zeros(1, 256, 256, 3, dtype=torch.uint8), torch.zeros(256, 256, dtype=torch.uint8), "T >= 2"),
        (torch.zeros(2, 256, 256, 3, dtype=torch.uint8), torch.zeros(1, 256, 256, dtype=torch.uint8), "1, 256, 256"),
        (torch.zeros(2, 240, 240, 3, dtype=torch.uint8), torch.zeros(240, 240, dtype=torch.uint8), "got 240"),
    ],
    ids=["dtype", "one frame", "mask with a batch axis", "size"],
)
def test_clip_of_another_shape_is_refused(frames: Tensor, mask: Tensor, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        teacher().track(frames, mask)
