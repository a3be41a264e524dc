"""Which frame left which token in the memory of a SAM 2 video model: the bank's own order, as token spans.

Follows `_gather_memory_frame_outputs` and `_get_object_pointers` of transformers 5.23.0,
models/sam2_video/modeling_sam2_video.py, for one object that is prompted in frame 0 and tracked forwards.
"""

from __future__ import annotations

from collections.abc import Callable

from sam2lite_mobile.training.alignment import TokenSpan

FrameSpans = Callable[[int], tuple[TokenSpan, ...]]
"""The spans of what one frame leaves in memory, besides its object pointer."""


def memory_frames(frame: int, *, slots: int) -> list[int]:
    """Frames whose maps are read at `frame`, in order: the prompted one, then the last `slots` - 1, oldest first."""
    return [0, *range(max(1, frame - slots + 1), frame)]


def pointer_frames(frame: int, *, limit: int) -> list[int]:
    """Frames whose object pointers are read at `frame`: the prompted one, then up to `limit` - 1, newest first."""
    return [0, *range(frame - 1, max(0, frame - limit), -1)]


def memory_spans(
    frame: int, *, slots: int, pointer_limit: int, pointer_tokens: int, frame_spans: FrameSpans
) -> tuple[TokenSpan, ...]:
    """All that is read at `frame`, in order: what the frames left, then their pointers, which have no place.

    pointer_tokens: tokens that a pointer is split into.
    """
    spans = [span for left in memory_frames(frame, slots=slots) for span in frame_spans(left)]
    for left in pointer_frames(frame, limit=pointer_limit):
        spans.append(TokenSpan.without_place(pointer_tokens, frame=left))
    return tuple(spans)
