"""Clips from annotated videos: frames a few apart, in either direction, through one crop or a moving one."""

from __future__ import annotations

import numpy as np

from sam2lite_mobile.training.annotated import DERIVED_TRACKS
from sam2lite_mobile.training.clip_settings import Bytes, ClipSettings
from sam2lite_mobile.training.cut_outs import view_image, view_mask
from sam2lite_mobile.training.motion import Floats, Generator, View
from sam2lite_mobile.training.motion_paths import camera_poses
from sam2lite_mobile.training.pools import MIN_OBJECT_PX, StillPool, VideoPool, cut_by_border
from sam2lite_mobile.training.scene import Scene, cover, covered, distractor, occluder, positions, slip_behind

SPARSE_FRAMES = 8
"""A sequence of at most this many frames was sampled far apart: no frame of it is skipped."""


def frame_indices(rng: Generator, length: int, *, frames: int, gap_max: int) -> list[int]:
    """Indices of a clip's frames in a video of `length` frames: a random start, gap and direction.

    A clip that is longer than the video runs back from its end, and forth again from its start.
    """
    gap = 1 if length <= SPARSE_FRAMES else int(rng.integers(1, gap_max + 1))
    gap = min(gap, max(1, (length - 1) // 2))
    start = int(rng.integers(length))
    step = gap if rng.random() < 0.5 else -gap
    period = 2 * (length - 1)
    folded = [(start + step * index) % period for index in range(frames)]
    return [index if index < length else period - index for index in folded]


def video_scene(rng: Generator, settings: ClipSettings, videos: VideoPool, *, stills: StillPool | None) -> Scene | None:
    """A scene from a video; None where the draw did not give an object in view."""
    sequence = videos.draw(rng)
    indices = frame_indices(rng, len(sequence.frames), frames=settings.frames, gap_max=settings.gap_max)
    pixels, labels = videos.read(sequence, indices[0])
    ids = np.unique(labels)
    ids = ids[ids > 0]
    if ids.size == 0:
        return None
    target = int(rng.choice(ids))
    first = _mask(labels, target)
    if covered(first) < settings.first_area_min / 4:
        return None
    height, width = first.shape
    view = View(width / height * float(np.exp(rng.uniform(-0.15, 0.15))), settings.size_px)
    pairs = [(pixels, first)]
    for index in indices[1:]:
        pixels, labels = videos.read(sequence, index)
        pairs.append((pixels, _mask(labels, target)))
    if sequence.dataset in DERIVED_TRACKS and not all(mask.any() for _, mask in pairs):
        return None
    poses = camera_poses(
        rng,
        settings,
        view=view,
        size=(width, height),
        focus=_focus(rng, settings, [mask for _, mask in pairs]),
        wander=0.0 if rng.random() < 0.5 else rng.uniform(0.02, 0.15),
        angle_limit=0.07,
    )
    masks: list[Bytes] = []
    for (_, mask), pose in zip(pairs, poses, strict=True):
        masks.append(view_mask(mask, pose, view, ripple=None, moment=0.0))
        if len(masks) == 1 and not settings.first_area_min <= covered(masks[0]) <= settings.first_area_max:
            return None
    frames = [
        view_image(image, pose, view, ripple=None, moment=0.0) for (image, _), pose in zip(pairs, poses, strict=True)
    ]
    scene = Scene(frames, masks, f"video/{sequence.dataset}/{sequence.name}")
    if stills is not None and rng.random() < settings.video_overlay:
        scene = _overlay(rng, settings, scene, pairs[-1], stills=stills, view=view)
    return scene


def _overlay(
    rng: Generator,
    settings: ClipSettings,
    scene: Scene,
    last: tuple[Bytes, Bytes],
    *,
    stills: StillPool,
    view: View,
) -> Scene:
    """The scene with the object of its `last` frame as a distractor behind the tracked one, or with an occluder."""
    share, backdrop = scene.first_area(), scene.frames[0]
    pixels, mask = last
    if rng.random() < 0.5 and np.count_nonzero(mask) >= MIN_OBJECT_PX and not cut_by_border(mask):
        layer = distractor(rng, settings, pixels, mask, view=view, share=share, backdrop=backdrop)
        return slip_behind(scene, layer, view)
    way = positions(scene.masks, view)
    front = occluder(rng, settings, stills, view=view, target=way, share=share, backdrop=backdrop)
    return scene if front is None else cover(scene, front, view)


def _focus(rng: Generator, settings: ClipSettings, masks: list[Bytes]) -> Floats:
    """Centres (T, 2) in source pixels that the crop aims at: the object's in frame 0, or on the way to its last one."""
    centres: list[tuple[float, float]] = []
    for mask in (masks[0], masks[-1]):
        y, x = np.nonzero(mask)
        centres.append((float(x.mean()), float(y.mean())) if x.size else centres[0])
    if rng.random() >= settings.follow:
        centres[1] = centres[0]
    return np.linspace(centres[0], centres[1], len(masks))


def _mask(labels: Bytes, target: int) -> Bytes:
    return np.where(labels == target, np.uint8(255), np.uint8(0))
