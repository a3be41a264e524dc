"""A scene: frames with the mask of one object, and things that move in front of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sam2lite_mobile.training.clip_settings import Bytes, ClipSettings
from sam2lite_mobile.training.cut_outs import CutOut, Layer, cut_out, match_colours
from sam2lite_mobile.training.motion import Floats, Generator, Track, View, random_ripple
from sam2lite_mobile.training.motion_paths import crossing_track, object_track
from sam2lite_mobile.training.pools import Instance, StillPool, cut_by_border

MIN_VISIBLE_SHARE = 0.5
"""At least this share of the object is not covered in frame 0."""


@dataclass(frozen=True)
class Scene:
    """T frames (R, R, 3) uint8 RGB with masks (R, R) uint8 0 / 255 of the object, and where they come from."""

    frames: list[Bytes]
    masks: list[Bytes]
    source: str

    def first_area(self) -> float:
        """Share of frame 0 that the object covers."""
        return covered(self.masks[0])


def covered(mask: Bytes) -> float:
    """Share of the mask's pixels that are set."""
    return float(np.count_nonzero(mask)) / mask.size


def place_object(
    rng: Generator,
    settings: ClipSettings,
    pixels: Bytes,
    mask: Bytes,
    *,
    view: View,
    share: float,
    leaves: bool = False,
) -> tuple[CutOut, Track]:
    """The object under `mask`, reduced to the size that it needs, and a path on which it first covers `share`."""
    area = float(np.count_nonzero(mask))
    reduction = float(np.sqrt(area / (share * view.size_px**2))) / 1.5
    piece = cut_out(pixels, mask, reduction=reduction)
    track = object_track(rng, settings, view=view, area_px=max(piece.area_px, 1), share=share, leaves=leaves)
    return piece, track


def make_layer(
    rng: Generator, settings: ClipSettings, piece: CutOut, track: Track, *, view: View, backdrop: Bytes
) -> Layer:
    """`piece` on `track` with the colours of `backdrop`, a soft edge, and sometimes elastic flow."""
    extent = float(np.sqrt(max(piece.area_px, 1)))
    ripple = None
    if rng.random() < settings.elastic:
        ripple = random_ripple(rng, extent, strength=rng.uniform(0.01, 0.05))
    softness = float(rng.uniform(0.5, 1.3))
    return Layer(match_colours(rng, piece, backdrop), track.poses(piece.centre, view), ripple, softness)


def occluder(
    rng: Generator,
    settings: ClipSettings,
    stills: StillPool,
    *,
    view: View,
    target: Floats,
    share: float,
    backdrop: Bytes,
) -> Layer | None:
    """A random object that passes in front of `target`, (T, 2) in the frame plane, which covers `share` of it."""
    instance = stills.instance(rng, whole=True)
    if instance is None:
        return None
    own = float(np.clip(share * rng.uniform(0.3, 1.8), 0.004, 0.2))
    piece, track = place_object(rng, settings, instance.pixels, instance.mask, view=view, share=own)
    reach = float(np.sqrt(share * view.aspect) + np.sqrt(own * view.aspect)) * 0.75
    track = crossing_track(rng, track, target=target, reach=reach)
    return make_layer(rng, settings, piece, track, view=view, backdrop=backdrop)


def twin(rng: Generator, stills: StillPool, instance: Instance) -> Instance | None:
    """What could be taken for `instance`: itself, another object of its image, or one of its data set."""
    kind = rng.random()
    if kind < 0.3:
        return stills.sibling(rng, instance)
    if kind < 0.6:
        return stills.instance(rng, whole=True, dataset=instance.still.dataset)
    return None if cut_by_border(instance.mask) else instance


def distractor(
    rng: Generator,
    settings: ClipSettings,
    pixels: Bytes,
    mask: Bytes,
    *,
    view: View,
    share: float,
    backdrop: Bytes,
) -> Layer:
    """The object under `mask` as a second one beside the tracked object, which covers `share`, on a path of its own."""
    own = float(np.clip(share * rng.uniform(0.5, 1.6), 0.003, 0.25))
    piece, track = place_object(rng, settings, pixels, mask, view=view, share=own)
    return make_layer(rng, settings, piece, track, view=view, backdrop=backdrop)


def cover(scene: Scene, layer: Layer, view: View) -> Scene:
    """The scene with `layer` in front; the scene itself where that hides too much of the object in frame 0."""
    frames, masks = [frame.copy() for frame in scene.frames], []
    for index, (frame, mask) in enumerate(zip(frames, scene.masks, strict=True)):
        hidden = layer.paint(frame, index, view)
        masks.append(np.where(hidden > 0, np.uint8(0), mask))
        if index == 0 and np.count_nonzero(masks[0]) < MIN_VISIBLE_SHARE * np.count_nonzero(mask):
            return scene
    return Scene(frames, masks, scene.source)


def slip_behind(scene: Scene, layer: Layer, view: View) -> Scene:
    """The scene with `layer` over everything except the object, whose mask stays as it is."""
    frames = []
    for index, (frame, mask) in enumerate(zip(scene.frames, scene.masks, strict=True)):
        painted = frame.copy()
        layer.paint(painted, index, view)
        keep = cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32) / np.float32(255)
        frames.append(np.asarray(cv2.blendLinear(frame, painted, keep, 1 - keep), dtype=np.uint8))
    return Scene(frames, scene.masks, scene.source)


def positions(masks: list[Bytes], view: View) -> Floats:
    """Centres (T, 2) of the masks in the frame plane; a mask that is empty keeps the centre before it."""
    centres = np.full((len(masks), 2), 0.5)
    for index, mask in enumerate(masks):
        y, x = np.nonzero(mask)
        centres[index] = (x.mean() / mask.shape[1], y.mean() / mask.shape[0]) if x.size else centres[max(index - 1, 0)]
    return centres * (view.aspect, 1.0)
