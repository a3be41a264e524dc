"""Clips from stills: an image under a moving camera, or its object cut out and moving over a moving background."""

from __future__ import annotations

import numpy as np

from sam2lite_mobile.training.clip_settings import Bytes, ClipSettings
from sam2lite_mobile.training.cut_outs import Layer, fill_object, view_image, view_mask
from sam2lite_mobile.training.motion import Floats, Generator, View, random_ripple
from sam2lite_mobile.training.motion_paths import camera_poses
from sam2lite_mobile.training.pools import Instance, StillPool
from sam2lite_mobile.training.scene import (
    Scene,
    cover,
    covered,
    distractor,
    make_layer,
    occluder,
    place_object,
    positions,
    slip_behind,
    twin,
)

ASPECTS = (16 / 9, 16 / 9, 4 / 3, 1.0, 3 / 4, 9 / 16)
"""Width / height of frames before they are stretched; wide ones twice, as in videos."""
MAX_FILLED_SHARE = 0.12


def still_scene(rng: Generator, settings: ClipSettings, stills: StillPool) -> Scene | None:
    """A scene from stills; None where the draw did not give an object that can be tracked."""
    view = View(float(rng.choice(ASPECTS)), settings.size_px)
    paste = rng.random() < settings.paste
    instance = stills.instance(rng, whole=paste)
    if instance is None:
        return None
    if paste:
        return _pasted_scene(rng, settings, stills, instance, view)
    return _camera_scene(rng, settings, stills, instance, view)


def _camera_scene(
    rng: Generator, settings: ClipSettings, stills: StillPool, instance: Instance, view: View
) -> Scene | None:
    """The whole image moves; its object is the target."""
    height, width = instance.mask.shape
    y, x = np.nonzero(instance.mask)
    focus = np.tile((x.mean(), y.mean()), (settings.frames, 1))
    poses = _camera(rng, settings, view, width=width, height=height, focus=focus)
    ripple = None
    if rng.random() < settings.elastic:
        ripple = random_ripple(rng, float(max(height, width)) / 2, strength=rng.uniform(0.005, 0.03))
    masks: list[Bytes] = []
    for index, moment in enumerate(np.linspace(0, 1, settings.frames)):
        masks.append(view_mask(instance.mask, poses[index], view, ripple=ripple, moment=float(moment)))
        if index == 0 and not settings.first_area_min <= covered(masks[0]) <= settings.first_area_max:
            return None
    frames = [
        view_image(instance.pixels, poses[index], view, ripple=ripple, moment=float(moment))
        for index, moment in enumerate(np.linspace(0, 1, settings.frames))
    ]
    scene = Scene(frames, masks, f"still/{instance.still.dataset}/{instance.still.name}")
    share = scene.first_area()
    if rng.random() < settings.distractor:
        other = twin(rng, stills, instance)
        if other is not None:
            layer = distractor(rng, settings, other.pixels, other.mask, view=view, share=share, backdrop=frames[0])
            scene = slip_behind(scene, layer, view)
    if rng.random() < settings.occluder:
        target = positions(masks, view)
        front = occluder(rng, settings, stills, view=view, target=target, share=share, backdrop=frames[0])
        scene = scene if front is None else cover(scene, front, view)
    return scene


def _pasted_scene(
    rng: Generator, settings: ClipSettings, stills: StillPool, instance: Instance, view: View
) -> Scene | None:
    """The object of `instance` over a background, with its own motion; other things behind and in front of it."""
    backgrounds = _background(rng, settings, stills, instance, view)
    share = _first_share(rng, settings)
    leaves = rng.random() < settings.leave
    piece, track = place_object(rng, settings, instance.pixels, instance.mask, view=view, share=share, leaves=leaves)
    target = make_layer(rng, settings, piece, track, view=view, backdrop=backgrounds[0])
    behind: list[Layer] = []
    in_front: list[Layer] = []
    if rng.random() < settings.distractor:
        other = twin(rng, stills, instance)
        if other is not None:
            layer = distractor(rng, settings, other.pixels, other.mask, view=view, share=share, backdrop=backgrounds[0])
            (behind if rng.random() < 0.6 else in_front).append(layer)
    if rng.random() < settings.occluder:
        centres = np.stack([track.x, track.y], axis=1)
        front = occluder(rng, settings, stills, view=view, target=centres, share=share, backdrop=backgrounds[0])
        if front is not None:
            in_front.append(front)
    masks: list[Bytes] = []
    for index, frame in enumerate(backgrounds):
        for layer in behind:
            layer.paint(frame, index, view)
        masks.append(target.paint(frame, index, view))
        if index == 0 and not settings.first_area_min <= covered(masks[0]) <= settings.first_area_max:
            return None
    scene = Scene(backgrounds, masks, f"still/{instance.still.dataset}/{instance.still.name}/pasted")
    for layer in in_front:
        scene = cover(scene, layer, view)
    return scene


def _background(
    rng: Generator, settings: ClipSettings, stills: StillPool, instance: Instance, view: View
) -> list[Bytes]:
    """T frames of a moving background: the object's own image without it, or another still."""
    kind = rng.random()
    # Where a large object was filled in, the blur alone would tell where it had been.
    if kind < settings.same_background and covered(instance.mask) < MAX_FILLED_SHARE:
        pixels = fill_object(instance.pixels, instance.mask)
    else:
        kin = kind < settings.same_background + settings.kin_background
        pixels, _ = stills.read(rng, stills.draw(rng, dataset=instance.still.dataset if kin else None))
    height, width = pixels.shape[:2]
    focus = np.tile(rng.uniform((0, 0), (width, height)), (settings.frames, 1))
    poses = _camera(rng, settings, view, width=width, height=height, focus=focus)
    return [view_image(pixels, pose, view, ripple=None, moment=0.0) for pose in poses]


def _camera(rng: Generator, settings: ClipSettings, view: View, *, width: int, height: int, focus: Floats) -> Floats:
    angle = 0.35 if rng.random() < settings.large_rotation else 0.1
    tilt = 0.2 if rng.random() < settings.perspective else 0.0
    return camera_poses(
        rng,
        settings,
        view=view,
        size=(width, height),
        focus=focus,
        wander=rng.uniform(0.04, 0.3),
        angle_limit=angle,
        tilt_limit=tilt,
    )


def _first_share(rng: Generator, settings: ClipSettings) -> float:
    """Share of the frame that a pasted object covers at first: log-uniform, sometimes tiny."""
    tiny = rng.random() < settings.tiny
    low, high = (1.2 * settings.first_area_min, 0.012) if tiny else (0.012, 0.3)
    low, high = min(low, settings.first_area_max), min(high, settings.first_area_max)
    return float(np.exp(rng.uniform(np.log(min(low, high)), np.log(max(low, high)))))
