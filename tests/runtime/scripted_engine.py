"""An engine without a framework, for tests: it follows rectangles of one colour, in integer arithmetic.

The red channel of a frame is the "tag" of the object at a pixel, 0 for background. A box or a click on the object
reads the tag under it; without one the tag comes from the first memory token in view. The mask is where the frame
shows the tag. So an object is found again if and only if its memory is in view, and `quality` is a checksum of
everything in view of the memory: two runs with equal results had equal tokens in equal slots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import (
    BANK_TOKENS_MIN,
    CHANNELS,
    LABEL_BACKGROUND,
    MASK_CHANNELS,
    MASKED,
    MEMORY_GRID,
    SIZES,
    TOKENS_PER_FRAME,
    GraphSpec,
    all_graph_specs,
)
from sam2lite_mobile.runtime import EngineDescription

Tensors = Mapping[str, NDArray[np.float32]]

TAG_CHANNEL = MASK_CHANNELS
"""The channel of a value that holds the tag."""
LOGIT = 4.0


class ScriptedEngine:
    """Counts its runs by graph in `runs`. `fail_at` names a graph that goes wrong in the way of `failure`:
    "raise", "nan", "shape" or "missing"; `fail_after` runs of it go well first."""

    def __init__(
        self,
        *,
        bank_tokens: int = BANK_TOKENS_MIN,
        sizes: tuple[int, ...] = SIZES,
        fail_at: str | None = None,
        failure: str = "raise",
        fail_after: int = 0,
    ) -> None:
        self.bank_tokens = bank_tokens
        self.sizes = sizes
        self.fail_at = fail_at
        self.failure = failure
        self.fail_after = fail_after
        self.runs: Counter[str] = Counter()
        self._specs = {spec.id: spec for spec in all_graph_specs(sizes, bank_tokens=bank_tokens)}
        self._zeros: dict[tuple[int, ...], NDArray[np.float32]] = {}
        ramp = np.arange(TOKENS_PER_FRAME * CHANNELS, dtype=np.int64).reshape(TOKENS_PER_FRAME, CHANNELS)
        self._key_pattern = ((ramp * 7) % 31).astype(np.float32)
        self._uncertainty = (((np.arange(TOKENS_PER_FRAME) * 5) % 16) / 16).astype(np.float32)[np.newaxis]

    def load(self, graph_ids: Iterable[str]) -> None:
        for name in graph_ids:
            self._specs[name]

    def warm_up(self, size: int) -> None:
        self._specs[f"image_encoder_{size}"]

    def describe(self) -> EngineDescription:
        return EngineDescription("scripted", "fp32", 1, "1")

    def run(self, graph_id: str, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        spec = self._specs[graph_id]
        for tensor in spec.inputs:
            given = tensors[tensor.name]
            if given.shape != tensor.shape or given.dtype != np.float32 or not given.flags.c_contiguous:
                raise AssertionError(f"{graph_id} {tensor.name}: {given.shape} {given.dtype}, expected {tensor.shape}")
        if set(tensors) != {tensor.name for tensor in spec.inputs}:
            raise AssertionError(f"{graph_id}: got {sorted(tensors)}")
        self.runs[spec.graph] += 1
        outputs: dict[str, NDArray[np.float32]] = getattr(self, f"_{spec.graph}")(spec, tensors)
        return self._spoiled(spec, outputs) if self._fails(spec) else outputs

    def _fails(self, spec: GraphSpec) -> bool:
        return spec.graph == self.fail_at and self.runs[spec.graph] > self.fail_after

    def _spoiled(self, spec: GraphSpec, outputs: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        if self.failure == "raise":
            raise RuntimeError(f"scripted failure in {spec.id}")
        name = spec.outputs[-1].name
        if self.failure == "missing":
            del outputs[name]
        elif self.failure == "shape":
            outputs[name] = outputs[name][:, :-1]
        else:
            outputs[name] = outputs[name].copy()
            outputs[name].flat[-1] = np.nan
        return outputs

    def _constant(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Zeros that are never written."""
        if shape not in self._zeros:
            self._zeros[shape] = np.zeros(shape, np.float32)
            self._zeros[shape].setflags(write=False)
        return self._zeros[shape]

    def _image_encoder(self, spec: GraphSpec, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        tags = tensors["image"][0, 0]
        outputs = {tensor.name: self._constant(tensor.shape) for tensor in spec.outputs}
        outputs["features"] = outputs["features"].copy()
        outputs["features"][0, 0] = tags[8::16, 8::16]
        outputs["detail_4"] = outputs["detail_4"].copy()
        outputs["detail_4"][0, 0] = tags[2::4, 2::4]
        return outputs

    def _prompt_encoder(self, spec: GraphSpec, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        tokens = np.zeros(spec.outputs[0].shape, np.float32)
        tokens[..., :2] = tensors["points"]
        tokens[..., 2] = tensors["labels"]
        mask = np.where(tensors["labels"] < 0, MASKED, 0).astype(np.float32)
        return {"prompt_tokens": tokens, "prompt_mask": mask}

    def _mask_decoder(self, spec: GraphSpec, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        tags = tensors["detail_4"][0, 0]
        slots = tensors["prompt_tokens"][0][tensors["prompt_mask"][0] == 0]
        shown = slots[slots[:, 2] != LABEL_BACKGROUND]
        in_view = np.flatnonzero(tensors["memory_mask"][0] == 0)
        tag = 0.0
        if shown.size:
            row, column = self._cell(tags, shown[:, 1].mean(), shown[:, 0].mean())
            tag = float(tags[row, column])
        elif in_view.size:
            tag = float(tensors["memory_values"][0, in_view[0], TAG_CHANNEL])
        logits = np.where((tags == tag) & (tags > 0), LOGIT, -LOGIT).astype(np.float32)
        for x, y, _ in slots[slots[:, 2] == LABEL_BACKGROUND][:, :3]:
            row, column = self._cell(tags, y, x)
            logits[max(0, row - 4) : row + 5, max(0, column - 4) : column + 5] = -LOGIT
        checksum = 0
        for name in ("memory_keys", "memory_values", "memory_age", "memory_mask", "memory_anchor"):
            by_slot = tensors[name][0].reshape(self.bank_tokens, -1).view(np.int32).sum(axis=1, dtype=np.int64)
            checksum += int((by_slot[in_view] % 9973 * (in_view + 1)).sum())
        return {
            "mask_logits": logits[np.newaxis, np.newaxis],
            "quality": np.full((1, 1), (checksum % 9973) / 9973, np.float32),
            "visibility": np.full((1, 1), 5 if (logits > 0).any() else -5, np.float32),
        }

    def _memory_encoder(self, spec: GraphSpec, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        mask = tensors["mask_logits"][0, 0] > 0
        tags = tensors["features"][0, 0]
        shown = tags[mask[2::4, 2::4]]
        values = np.zeros(spec.outputs[1].shape, np.float32)
        # Grids of 16 cells whatever the size: cell i reads the token at i * g / 16.
        cells = np.arange(MEMORY_GRID) * tags.shape[0] // MEMORY_GRID
        values[0, :, 0] = mask[2::4, 2::4][np.ix_(cells, cells)].ravel()
        values[0, :, TAG_CHANNEL] = shown.max() if shown.size else 0  # edges are blended with red 0
        keys = self._key_pattern + tags[np.ix_(cells, cells)].reshape(-1, 1)
        return {"keys": keys[np.newaxis], "values": values, "uncertainty": self._uncertainty}

    def _token_gate(self, spec: GraphSpec, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        place = np.arange(tensors["age"].shape[1], dtype=np.int64)
        motion, age = (tensors["motion"][0] * 64).astype(np.int64), (tensors["age"][0] * 128).astype(np.int64)
        scores = ((place * 37 + motion * 5 + age) % 97) / 97 + tensors["values"][0, :, 0]
        return {"scores": scores.astype(np.float32)[np.newaxis]}

    def _cell(self, tags: NDArray[np.float32], y: float, x: float) -> tuple[int, int]:
        side = tags.shape[0]
        return min(int(y * side), side - 1), min(int(x * side), side - 1)


def scene(
    rectangles: Mapping[int, tuple[int, int, int, int]], *, height: int = 64, width: int = 80
) -> NDArray[np.uint8]:
    """A frame of rectangles (x0, y0, x1, y1) by tag (the red level) over a background with red 0 and some texture."""
    rows, columns = np.indices((height, width))
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 1] = (rows * 5 + columns * 3) % 64
    for tag, (x0, y0, x1, y1) in rectangles.items():
        frame[y0:y1, x0:x1, 0] = tag
        frame[y0:y1, x0:x1, 1] = ((rows + 2 * columns)[: y1 - y0, : x1 - x0] * 9 + tag) % 200
    return frame
