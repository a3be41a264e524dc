"""The tracker: several objects over a video, one image encoding a frame, any engine.

On an ordinary frame each object goes view -> mask decoder -> continuity -> (if visible) memory encoder -> token gate ->
insert.
All graphs of a call run before anything is committed, so a call that raises leaves the tracker as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import (
    FULL_SIZE,
    MASK_PROMPT_LOGIT,
    SIZES,
    WINDOW_MAX,
    WINDOW_MIN,
    GraphSpec,
    check_tensors,
    graph_spec,
)
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.runtime.continuity import LastPlace
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.runtime.frame_result import FrameResult, ObjectResult
from sam2lite_mobile.runtime.frames import check_frame, image_tensor, resize_frame
from sam2lite_mobile.runtime.masks import MASK_LOGIT, check_object_id, frame_mask
from sam2lite_mobile.runtime.memory_bank import FrameTokens, MemoryBank
from sam2lite_mobile.runtime.motion import cell_motion, luma_grid
from sam2lite_mobile.runtime.object_memory import ObjectMemory
from sam2lite_mobile.runtime.prompts import Prompt, check_prompt, encode_prompt, mask_prompt_logits
from sam2lite_mobile.runtime.redetection import Presence, Redetection
from sam2lite_mobile.runtime.stage_clock import StageClock
from sam2lite_mobile.runtime.tap import TAP_SIZE, mean_logits, takes_second_look

MAX_OBJECTS = 16
"""Objects tracked at a time. Each bank of 384 tokens takes 1.3 MB and each object one decoding a frame."""
VISIBILITY_LOGIT = 0.0
"""An object that was not prompted is in view where the visibility logit and some mask logit are above 0, and the
predicted IoU is as high as `Redetection` asks."""

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class _Frame:
    """The last frame, kept for corrections. `features` holds the image encoder's outputs once it has run."""

    index: int
    height: int
    width: int
    size: int
    window: int
    resized: NDArray[np.uint8]
    luma: NDArray[np.uint8]
    motion: NDArray[np.float32]
    features: Tensors | None


@dataclass(frozen=True, eq=False)
class _Update:
    """One object's result and what is to be written: its bank, place and presence change at the commit alone."""

    bank: ObjectMemory
    place: LastPlace | None
    presence: Presence
    result: ObjectResult
    tokens: FrameTokens | None
    scores: NDArray[np.float32] | None


class Tracker:
    """Tracks up to 16 objects through one video.

    engine: runs the graphs; load and warm it up before, or the first frame pays for it. size: input size R of a frame
    unless `step` says otherwise; it may change from frame to frame. window: memory window in frames, likewise.
    timer: seconds, monotonic; `time.perf_counter` if None. It feeds `latency_ms` and nothing else. new_memory: makes
    the memory of a new object; a `MemoryBank` of the engine's budget if None. min_quality: predicted IoU below which an
    object is out of view, and above which it is found again (`redetection.py`); 0: whatever is found is taken.

    A first prompt of points alone is decoded at the smallest size too, where the engine has it (`tap.py`).

    Every frame on which the user prompts or corrects an object is a conditioning frame of it, and its tokens are
    anchors; so are, in particular, those of the first two. A ContractError leaves the tracker as it was.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        size: int = FULL_SIZE,
        window: int = WINDOW_MAX,
        timer: Callable[[], float] | None = None,
        new_memory: Callable[[], ObjectMemory] | None = None,
        min_quality: float = 0.0,
    ) -> None:
        self._redetection = Redetection(min_quality)
        self._engine = engine
        self._bank_tokens = engine.bank_tokens
        self._size = self._checked_size(size)
        self._window = _checked_window(window)
        self._timer = perf_counter if timer is None else timer
        self._new_memory = partial(MemoryBank, engine.bank_tokens) if new_memory is None else new_memory
        self._banks: dict[int, ObjectMemory] = {}
        self._places: dict[int, LastPlace] = {}
        self._presences: dict[int, Presence] = {}
        self._last: _Frame | None = None
        self._empty_prompt: Tensors | None = None

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the tracked objects, ascending."""
        return tuple(sorted(self._banks))

    def step(
        self,
        frame: NDArray[np.uint8],
        *,
        prompts: Mapping[int, Prompt] | None = None,
        size: int | None = None,
        window: int | None = None,
    ) -> FrameResult:
        """Track every object on the next frame of the video.

        frame: uint8 (height, width, 3), RGB, of the same height and width until `reset`. prompts: by object id
        (1..255); a new id adds an object, a known one is corrected on this frame with its memory. size, window: for
        this frame only. With no object and no prompt no graph runs, but motion follows the video.
        Raises ContractError for a bad frame, prompt, id, size or window, too many objects, or a graph whose outputs
        are misshapen or not finite; the engine's own errors pass through.
        """
        clock = StageClock(self._timer)
        prompts = {} if prompts is None else prompts
        size = self._size if size is None else self._checked_size(size)
        window = self._window if window is None else _checked_window(window)
        check_frame(frame)
        height, width = frame.shape[:2]
        self._check_same_video(height, width)
        self._check_prompts(prompts, height, width)

        with clock.stage("resize"):
            resized = resize_frame(frame, size)
        with clock.stage("motion"):
            grid = luma_grid(resized)
            motion = cell_motion(None if self._last is None else self._last.luma, grid)
        index = 0 if self._last is None else self._last.index + 1
        current = _Frame(index, height, width, size, window, resized, grid, motion, None)
        object_ids = sorted(self._banks.keys() | prompts.keys())
        if object_ids:
            current = self._encoded(current, clock)
        updates = [self._segment(current, i, prompt=prompts.get(i), clock=clock) for i in object_ids]

        results = [self._commit(update, frame_index=index, clock=clock) for update in updates]
        self._last = current
        return FrameResult(index, size, window, {result.object_id: result for result in results}, clock.stop())

    def correct(self, object_id: int, prompt: Prompt) -> ObjectResult:
        """Decode one object again on the last frame, with its memory and this prompt, and replace that frame's tokens.

        The image is not encoded again. An id that is not tracked adds an object on the last frame. The frame's own
        tokens are left out of view unless the user prompted them (see `MemoryBank.view`), so corrections of one frame
        build on each other. Raises ContractError if there is no frame yet, and as `step` does.
        """
        clock = StageClock(self._timer)
        if self._last is None:
            raise _error("correction", "a frame to correct", "no frame yet", "call step first")
        self._check_prompts({object_id: prompt}, self._last.height, self._last.width)
        current = self._encoded(self._last, clock)
        update = self._segment(current, object_id, prompt=prompt, clock=clock)
        self._last = current
        return self._commit(update, frame_index=current.index, clock=clock)

    def recast(
        self,
        frame: NDArray[np.uint8],
        masks: Mapping[int, NDArray[np.bool_]],
        *,
        anchors: Collection[int] = (),
    ) -> dict[str, float]:
        """Look at the last frame once more through another crop, in which the frames after it will come.

        frame: uint8 (height, width, 3), the last frame in the new crop; another height and width than before are
        allowed. masks: of the objects that were in view there, bool (height, width), by object id. Their tokens of
        that frame are written again from these masks, at the place where they lie now; older tokens stay as they are.
        anchors: ids whose tokens of that frame are a prompt's. No motion is seen between crops; an object without a
        mask is looked for everywhere. Gives back milliseconds by stage.
        Raises ContractError if there is no frame yet, an id is not tracked, or a mask is empty or misshapen.
        """
        clock = StageClock(self._timer)
        last = self._last
        if last is None:
            raise _error("recast", "a frame to look at again", "no frame yet", "call step first")
        check_frame(frame)
        height, width = frame.shape[:2]
        for object_id, mask in masks.items():
            self._check_tracked(object_id)
            check_prompt(Prompt.from_mask(mask), height, width)
        with clock.stage("resize"):
            resized = resize_frame(frame, last.size)
        with clock.stage("motion"):
            grid = luma_grid(resized)
        still = np.zeros_like(last.motion)
        current = _Frame(last.index, height, width, last.size, last.window, resized, grid, still, None)
        written = {}
        if masks:
            current = self._encoded(current, clock)
        for object_id, mask in sorted(masks.items()):
            with clock.stage("prompt"):
                mask_logits = mask_prompt_logits(mask, last.size)
            bank, anchor = self._banks[object_id], object_id in anchors
            tokens, scores = self._remember(current, bank, mask_logits, anchor=anchor, clock=clock)
            written[object_id] = (tokens, scores, LastPlace.of(mask_logits))
        with clock.stage("bank"):
            for object_id, place in self._places.items():
                self._places[object_id] = LastPlace.anywhere(place.unseen)
            for object_id, (tokens, scores, place) in written.items():
                self._banks[object_id].replace_frame(tokens, scores)
                self._places[object_id] = place
        self._last = current
        return clock.stop()

    def memory_cells(self, object_id: int) -> dict[int, NDArray[np.int64]]:
        """Which cells of which frame the memory of an object holds now, oldest frame first; for inspection.

        Frames are indices from 0, cells int64 0..255, row by row. Raises ContractError if the object is not tracked.
        """
        self._check_tracked(object_id)
        return self._banks[object_id].cells_by_frame()

    def remove(self, object_id: int) -> None:
        """Forget an object. Raises ContractError if it is not tracked."""
        self._check_tracked(object_id)
        del self._banks[object_id]
        self._places.pop(object_id, None)
        self._presences.pop(object_id, None)

    def reset(self) -> None:
        """Forget all objects and the last frame: the next frame has index 0 and may have another size."""
        self._banks.clear()
        self._places.clear()
        self._presences.clear()
        self._last = None

    def _check_tracked(self, object_id: int) -> None:
        if object_id not in self._banks:
            raise _error("object id", f"one of {list(self.object_ids)}", repr(object_id), "name a tracked object")

    def _encoded(self, frame: _Frame, clock: StageClock) -> _Frame:
        """The frame with the image encoder's outputs; runs it if it has not run."""
        if frame.features is not None:
            return frame
        with clock.stage("resize"):
            image = image_tensor(frame.resized)
        return replace(frame, features=self._run("image_encoder", frame.size, {"image": image}, clock))

    def _segment(self, frame: _Frame, object_id: int, *, prompt: Prompt | None, clock: StageClock) -> _Update:
        """Run one object's graphs on a frame, without changing anything that a later call could see."""
        bank = self._banks[object_id] if object_id in self._banks else self._new_memory()
        place, before = self._places.get(object_id), self._presences.get(object_id, Presence())
        presence = Presence(usual=before.usual)  # of a prompted object: the user says that it is there
        if prompt is not None and prompt.mask is not None:
            with clock.stage("prompt"):
                mask_logits = mask_prompt_logits(prompt.mask, frame.size)
            quality, visibility, visible = 1.0, MASK_PROMPT_LOGIT, True
            with clock.stage("masks"):
                mask = prompt.mask != 0
        else:
            decoded = self._decode(frame, bank, prompt=prompt, clock=clock)
            mask_logits = decoded["mask_logits"]
            if object_id not in self._banks and takes_second_look(prompt, frame.size, self._engine.sizes):
                coarse = self._decode(self._at_tap_size(frame, clock), bank, prompt=prompt, clock=clock)
                with clock.stage("masks"):
                    mask_logits = mean_logits(mask_logits, coarse["mask_logits"])
            if prompt is None and place is not None and not self._redetection.searching(before):
                with clock.stage("masks"):
                    mask_logits = place.keep_near(mask_logits)
            quality, visibility = float(decoded["quality"][0, 0]), float(decoded["visibility"][0, 0])
            if prompt is None:
                found = visibility > VISIBILITY_LOGIT and bool((mask_logits > MASK_LOGIT).any())
                presence = self._redetection.after(before, found=found, quality=quality)
            visible = presence.in_view
            with clock.stage("masks"):
                if visible:
                    mask = frame_mask(mask_logits, frame.height, frame.width)
                else:
                    mask = np.zeros((frame.height, frame.width), np.bool_)
        prompted = prompt is not None
        result = ObjectResult(object_id, mask, mask_logits, quality, visibility, visible, prompted, {})
        if not visible:
            return _Update(bank, None if place is None else place.missed(), presence, result, None, None)
        if prompt is None and quality < self._redetection.limit(before):
            return _Update(bank, place, presence, result, None, None)
        tokens, scores = self._remember(frame, bank, mask_logits, anchor=prompted, clock=clock)
        return _Update(bank, LastPlace.of(mask_logits), presence, result, tokens, scores)

    def _at_tap_size(self, frame: _Frame, clock: StageClock) -> _Frame:
        """The frame as the second look at a first tap sees it, encoded."""
        with clock.stage("resize"):
            resized = resize_frame(frame.resized, TAP_SIZE)
        return self._encoded(replace(frame, size=TAP_SIZE, resized=resized, features=None), clock)

    def _decode(self, frame: _Frame, bank: ObjectMemory, *, prompt: Prompt | None, clock: StageClock) -> Tensors:
        """The mask decoder's outputs for one object."""
        with clock.stage("bank"):
            memory = bank.view(frame.index, frame.window)
        prompt_tensors = self._prompt_tensors(prompt, frame, clock)
        return self._run("mask_decoder", frame.size, {**_features(frame), **memory, **prompt_tensors}, clock)

    def _prompt_tensors(self, prompt: Prompt | None, frame: _Frame, clock: StageClock) -> Tensors:
        """The prompt encoder's outputs. Those of eight empty slots never change and are computed once."""
        if prompt is None and self._empty_prompt is not None:
            return self._empty_prompt
        points, labels = encode_prompt(prompt, frame.height, frame.width)
        inputs = {"points": points, "labels": labels}
        tensors = self._run("prompt_encoder", frame.size, inputs, clock, stage="prompt")
        if prompt is None:
            self._empty_prompt = tensors
        return tensors

    def _remember(
        self, frame: _Frame, bank: ObjectMemory, mask_logits: NDArray[np.float32], *, anchor: bool, clock: StageClock
    ) -> tuple[FrameTokens, NDArray[np.float32]]:
        """The tokens that the frame adds to an object's memory, and the gate's scores for the bank with them."""
        inputs = {"features": _features(frame)["features"], "mask_logits": mask_logits}
        memory = self._run("memory_encoder", frame.size, inputs, clock)
        keys, values, uncertainty = memory["keys"][0], memory["values"][0], memory["uncertainty"][0]
        tokens = FrameTokens(frame.index, keys, values, frame.motion, uncertainty, anchor)
        with clock.stage("bank"):
            gate_inputs = bank.gate_inputs(tokens)
        return tokens, self._run("token_gate", frame.size, gate_inputs, clock)["scores"][0]

    def _commit(self, update: _Update, *, frame_index: int, clock: StageClock) -> ObjectResult:
        """Write an object's tokens, all of which were checked when the graphs ran, and complete its result."""
        with clock.stage("bank"):
            self._banks[update.result.object_id] = update.bank
            self._presences[update.result.object_id] = update.presence
            if update.place is not None:
                self._places[update.result.object_id] = update.place
            if update.tokens is not None and update.scores is not None:
                update.bank.replace_frame(update.tokens, update.scores)
            return replace(update.result, tokens_by_age=update.bank.tokens_by_age(frame_index))

    def _run(
        self,
        graph: str,
        size: int,
        tensors: Tensors,
        clock: StageClock,
        *,
        stage: str | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """Outputs of a graph, checked against the contract."""
        spec = _spec(graph, size, self._bank_tokens)
        with clock.stage(graph if stage is None else stage):
            outputs = self._engine.run(spec.id, tensors)
            check_tensors(spec.outputs, outputs, where=spec.id)
        return outputs

    def _checked_size(self, size: int) -> int:
        sizes = tuple(offered for offered in self._engine.sizes if offered in SIZES)
        if size not in sizes:
            raise _error("input size", f"one of {sizes}", size, "use a size that the package was built for")
        return size

    def _check_same_video(self, height: int, width: int) -> None:
        if self._last is not None and (height, width) != (self._last.height, self._last.width):
            expected, got = f"{self._last.width} x {self._last.height}", f"{width} x {height}"
            raise _error("frame", expected, got, "call reset before another video")

    def _check_prompts(self, prompts: Mapping[int, Prompt], height: int, width: int) -> None:
        for object_id, prompt in prompts.items():
            check_object_id(object_id)
            check_prompt(prompt, height, width)
            if object_id not in self._banks and not prompt.shows_object:
                raise _error(
                    f"first prompt of object {object_id}",
                    "a box, a mask or a click on the object",
                    "background clicks only",
                    "click on the object first",
                )
        count = len(self._banks.keys() | prompts.keys())
        if count > MAX_OBJECTS:
            raise _error("objects", f"at most {MAX_OBJECTS}", count, "remove one first")


@lru_cache(maxsize=64)
def _spec(graph: str, size: int, bank_tokens: int) -> GraphSpec:
    return graph_spec(graph, size, bank_tokens=bank_tokens)


def _features(frame: _Frame) -> Tensors:
    if frame.features is None:
        raise _error("features", "an encoded frame", "none", "run the image encoder first")
    return frame.features


def _checked_window(window: int) -> int:
    if not WINDOW_MIN <= window <= WINDOW_MAX:
        raise _error("memory window", f"{WINDOW_MIN} to {WINDOW_MAX} frames", window, "clip it to the range")
    return window


def _error(what: str, expected: object, got: object, do: str) -> ContractError:
    return ContractError(explain(what, expected=expected, got=got, do=do))
