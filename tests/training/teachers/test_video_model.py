"""SAM 2 and EdgeTAM as teachers: attention, readouts and spans against the models' own weights and memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.training.alignment import TokenSpan, align_attention, pool_queries
from sam2lite_mobile.training.teachers.compact import compact_frame
from sam2lite_mobile.training.teachers.teacher import TeacherFrame
from sam2lite_mobile.training.teachers.video_memory import memory_frames, pointer_frames
from sam2lite_mobile.training.teachers.video_model import model_images, model_mask
from tests.training.teachers.video_models import (
    GRID,
    HEADS,
    KINDS,
    LAYERS,
    MEMORY_WIDTH,
    SIDE,
    WIDTH,
    noisy_clip,
    teacher_of,
    tiny_model,
)

pytest.importorskip("transformers", reason="needs transformers: pip install 'sam2lite-mobile[teacher]'")
HEAD_WIDTH = WIDTH // HEADS
ROTARY_BASE = 10_000.0


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str) -> Any:
    return tiny_model(KINDS[kind])


@pytest.fixture(scope="module")
def tracked(kind: str, model: Any) -> list[TeacherFrame]:
    """Frames 1 to 5: more than the slots of the model, and than its pointers."""
    return teacher_of(KINDS[kind], model).track(*noisy_clip(frames=6))


class Watch:
    """Everything that the models' memory attention is given, a list entry for each tracked frame."""

    def __init__(self, model: Any) -> None:
        self.memory: list[Tensor] = []
        self.cross: list[dict[str, Any]] = []
        self.outputs: list[Tensor] = []
        self.sessions: list[Any] = []
        layers = model.memory_attention.layers
        self.handles = [
            model.register_forward_pre_hook(lambda _, inputs: self.sessions.append(inputs[0])),
            model.memory_attention.register_forward_pre_hook(
                lambda _, inputs, named: self.memory.append(named["memory"][:, 0].clone()), with_kwargs=True
            ),
            layers[-1].cross_attn_image.register_forward_hook(lambda _, inputs, out: self.outputs.append(out[0])),
        ]
        for layer in layers:
            self.handles.append(
                layer.cross_attn_image.register_forward_pre_hook(
                    lambda module, inputs, named: self.cross.append(named | {"module": module}), with_kwargs=True
                )
            )

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


def rotated(vectors: Tensor, *, side: int) -> Tensor:
    """(heads, side^2, channels) turned as complex pairs: the first half by the column, the second by the row."""
    quarter = HEAD_WIDTH // 4
    rates = torch.tensor([ROTARY_BASE ** -(i / quarter) for i in range(quarter)])
    places = torch.arange(side * side)
    angles = torch.cat([(places % side)[:, None] * rates, (places // side)[:, None] * rates], 1)
    pairs = torch.view_as_complex(vectors.reshape(*vectors.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


def attention_by_hand(call: dict[str, Any], spans: tuple[TokenSpan, ...]) -> Tensor:
    """(queries, tokens), the mean over heads of one layer, from its projections and the places that spans name."""
    module = call["module"]
    with torch.no_grad():
        query, key = (
            projection(call[name].clone()[0, 0]).reshape(-1, HEADS, HEAD_WIDTH).transpose(0, 1)
            for projection, name in ((module.q_proj, "query"), (module.k_proj, "key"))
        )
        turned = []
        for span, keys in zip(spans, key.split([span.tokens for span in spans], 1), strict=True):
            turned.append(keys if span.grid is None else rotated(keys, side=span.grid[0]))
        logits = rotated(query, side=GRID) @ torch.cat(turned, 1).transpose(1, 2)
        return (logits / HEAD_WIDTH**0.5).softmax(-1).mean(0)


def test_attention_is_that_of_the_models_projections_averaged_over_heads_and_layers(kind: str, model: Any) -> None:
    watch = Watch(model)
    tracked = teacher_of(KINDS[kind], model).track(*noisy_clip(frames=4))
    watch.close()
    assert len(watch.cross) == 3 * LAYERS
    for t, frame in enumerate(tracked):
        layers = [attention_by_hand(call, frame.spans) for call in watch.cross[t * LAYERS : (t + 1) * LAYERS]]
        assert (layers[0] - layers[1]).abs().max() > 0.01  # so that a mean is not a layer
        torch.testing.assert_close(frame.attention, sum(layers) / LAYERS, atol=1e-5, rtol=0)
        assert frame.attention.max() > 2 / frame.attention.shape[1]


def test_readout_is_what_the_last_layer_reads_before_it_is_added(kind: str, model: Any) -> None:
    watch = Watch(model)
    teacher = teacher_of(KINDS[kind], model)
    tracked = teacher.track(*noisy_clip(frames=3))
    watch.close()
    assert teacher.readout_width == WIDTH
    for frame, output in zip(tracked, watch.outputs, strict=True):
        assert torch.equal(frame.readout, output[0, 0])
        assert frame.readout.shape == (GRID * GRID, WIDTH)


def test_spans_name_the_frames_that_left_the_tokens(kind: str, model: Any) -> None:
    watch = Watch(model)
    tracked = teacher_of(KINDS[kind], model).track(*noisy_clip(frames=6))
    watch.close()
    outputs = watch.sessions[-1].output_dict_per_obj[0]
    stored = {**outputs["cond_frame_outputs"], **outputs["non_cond_frame_outputs"]}
    for frame, memory in zip(tracked, watch.memory, strict=True):
        assert sum(span.tokens for span in frame.spans) == frame.attention.shape[1] == memory.shape[0]
        parts = memory.split([span.tokens for span in frame.spans])
        left: dict[int, list[Tensor]] = {}
        for span, part in zip(frame.spans, parts, strict=True):
            if span.tokens == WIDTH // MEMORY_WIDTH:
                pointer = stored[span.frame]["object_pointer"].reshape(-1, MEMORY_WIDTH)
                assert torch.equal(part, pointer), f"pointer of frame {span.frame}"
            else:
                left.setdefault(span.frame, []).append(part)
        for index, maps in left.items():
            expected = stored[index]["maskmem_features"].reshape(-1, MEMORY_WIDTH).to(memory.dtype)
            assert torch.equal(torch.cat(maps), expected), f"memory of frame {index}"


def test_spans_of_each_kind_at_a_frame_when_older_ones_have_fallen_out(kind: str, tracked: list[TeacherFrame]) -> None:
    spans = tracked[-1].spans  # at frame 5: maps of 0, 3 and 4, pointers of 0, 4 and 3
    if kind == "sam2":
        maps = [TokenSpan.of_grid(frame, (4, 4)) for frame in (0, 3, 4)]
    else:
        both = [(TokenSpan.without_place(3, frame=f), TokenSpan.of_grid(f, (2, 2))) for f in (0, 3, 4)]
        maps = [span for pair in both for span in pair]
    assert spans == (*maps, *(TokenSpan.without_place(2, frame=frame) for frame in (0, 4, 3)))


@pytest.mark.parametrize(
    ("frame", "maps", "pointers"), [(1, [0], [0]), (2, [0, 1], [0, 1]), (9, [0, 7, 8], [0, 8, 7, 6])]
)
def test_prompted_frame_stays_in_memory_and_the_last_ones_follow(
    frame: int, maps: list[int], pointers: list[int]
) -> None:
    assert memory_frames(frame, slots=3) == maps
    assert pointer_frames(frame, limit=4) == pointers


def test_frames_are_float32_over_the_feature_map_and_can_be_saved_for_a_backward_pass(
    tracked: list[TeacherFrame],
) -> None:
    weight = torch.ones((), requires_grad=True)
    for frame in tracked:
        assert frame.query_grid == (GRID, GRID)
        assert frame.mask_logits.shape == (SIDE // 4, SIDE // 4)
        torch.testing.assert_close(frame.attention.sum(1), torch.ones(GRID * GRID), atol=1e-5, rtol=0)
        for value in (frame.mask_logits, frame.attention, frame.readout):
            assert value.dtype == torch.float32
            assert not value.requires_grad
            assert not value.is_inference()
            (weight * value).sum().backward()


def test_mask_of_the_first_frame_is_remembered_and_followed(kind: str, model: Any) -> None:
    watch = Watch(model)
    teacher, (frames, mask) = teacher_of(KINDS[kind], model), noisy_clip(frames=2)
    before = teacher.track(frames, mask)[0]
    given = watch.sessions[-1].output_dict_per_obj[0]["cond_frame_outputs"][0]["pred_masks"][0, 0]
    watch.close()
    assert torch.equal(given > 0, mask[::4, ::4] > 0)
    after = teacher.track(frames, mask.flip(1))[0]
    for name in ("attention", "readout", "mask_logits"):
        assert not torch.allclose(getattr(before, name), getattr(after, name), rtol=1e-3), name


def test_later_frames_do_not_reach_earlier_answers(kind: str, model: Any) -> None:
    teacher, (frames, mask) = teacher_of(KINDS[kind], model), noisy_clip(frames=4)
    before = teacher.track(frames, mask)
    frames[2] = 255 - frames[2]
    after = teacher.track(frames, mask)
    same = [torch.equal(a.readout, b.readout) for a, b in zip(before, after, strict=True)]
    assert same == [True, False, False]


def test_model_is_left_frozen_and_without_hooks_also_after_an_error(kind: str, model: Any) -> None:
    teacher = teacher_of(KINDS[kind], model)
    layers = [layer.cross_attn_image for layer in model.memory_attention.layers]

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    broken = layers[0].register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError):
        teacher.track(*noisy_clip(frames=2))
    broken.remove()
    assert not any(layer._forward_hooks for layer in layers)
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(module.training for module in model.modules())


def test_answers_are_the_same_inside_autocast(kind: str, model: Any) -> None:
    teacher = teacher_of(KINDS[kind], model)
    plain = teacher.track(*noisy_clip(frames=2))[0]
    with torch.autocast("cpu", torch.bfloat16):
        inside = teacher.track(*noisy_clip(frames=2))[0]
    assert torch.equal(plain.readout, inside.readout)


def test_clip_with_a_batch_axis_is_refused(kind: str, model: Any) -> None:
    frames, mask = noisy_clip(frames=2)
    with pytest.raises(ContractError, match="one clip"):
        teacher_of(KINDS[kind], model).track(frames[None], mask)


def test_compact_frames_have_the_queries_of_a_student_of_the_clips_size(kind: str, model: Any) -> None:
    clip = noisy_clip(frames=3, side=32)  # a student's grid is 2 x 2
    whole = teacher_of(KINDS[kind], model).track(*clip)
    small = teacher_of(KINDS[kind], model, compact=True).track(*clip)
    for one, other in zip(small, whole, strict=True):
        assert one.query_grid == (2, 2)
        assert one.spans == other.spans  # 4 x 4 and 2 x 2: nothing is finer than 16 x 16
        quarter = other.attention.reshape(4, 4, -1)[:2, 2:].mean((0, 1))
        torch.testing.assert_close(one.attention[1], quarter)
        torch.testing.assert_close(one.readout, pool_queries(other.readout, (4, 4), to=(2, 2)))


def test_compact_frame_aligns_to_what_the_whole_one_does() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(64 * 64, 32 * 32 + 3, generator=generator).softmax(1)
    spans = (TokenSpan.of_grid(0, (32, 32)), TokenSpan.without_place(3, frame=0))
    whole = TeacherFrame(torch.zeros(4, 4), attention, spans, (64, 64), torch.rand(64 * 64, 2, generator=generator))
    small = compact_frame(whole, size=256)
    assert small.attention.shape == (256, 256 + 3)
    assert small.spans == (TokenSpan.of_grid(0, (16, 16)), spans[1])
    frames, cells = torch.zeros(100, dtype=torch.int64), torch.arange(100)
    aligned = [
        align_attention(
            each.attention,
            each.spans,
            query_grid=each.query_grid,
            student_query_grid=(16, 16),
            frames=frames,
            cells=cells,
        )
        for each in (whole, small)
    ]
    torch.testing.assert_close(aligned[0].attention, aligned[1].attention)
    torch.testing.assert_close(aligned[0].kept, aligned[1].kept)


def test_images_are_resized_and_normalised_as_imagenets() -> None:
    frames = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    frames[..., 1] = 255
    images = model_images(frames, side=16)
    assert images.shape == (1, 3, 16, 16)
    expected = [(0 - 0.485) / 0.229, (1 - 0.456) / 0.224, (0 - 0.406) / 0.225]
    for channel, value in zip(images[0], expected, strict=True):
        torch.testing.assert_close(channel, torch.full((16, 16), value))
    same = torch.arange(8 * 8 * 3, dtype=torch.uint8).reshape(1, 8, 8, 3)
    kept = model_images(same, side=8)[0, 2] * 0.225 + 0.406
    torch.testing.assert_close(kept * 255, same[0, :, :, 2].float())


def test_mask_is_resized_to_zeros_and_ones() -> None:
    mask = torch.zeros(8, 8, dtype=torch.uint8)
    mask[:, :4] = 255
    mask[:, 4] = 127  # not the object's
    resized = model_mask(mask, side=16)
    assert resized.shape == (1, 1, 16, 16)
    assert torch.equal(resized[0, 0, 5], torch.tensor([1.0] * 8 + [0.0] * 8))
