"""An endless, seeded stream of training clips from annotated videos and from stills in motion."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.training.augment import change_look
from sam2lite_mobile.training.clip_settings import Clip, ClipSettings
from sam2lite_mobile.training.contact_sheet import contact_sheet
from sam2lite_mobile.training.pools import StillPool, VideoPool, require
from sam2lite_mobile.training.sources import shared_images
from sam2lite_mobile.training.still_clips import still_scene
from sam2lite_mobile.training.video_clips import video_scene

__all__ = ["Clip", "ClipSettings", "ClipSource", "contact_sheet"]

MAX_DRAWS = 200
"""Draws of one clip before the data is said to have no object that can be tracked; about one in two succeeds."""


class ClipSource:
    """Clips by index. `clip(i)` depends on the seed, the settings, the data and `i` alone.

    So a run resumes at any index, and workers that share the indices between them make the same stream as one.
    """

    def __init__(self, data_root: Path, settings: ClipSettings, *, seed: int, hold_out: tuple[str, ...] = ()) -> None:
        """Find the data under `data_root / "train"`; nothing is decoded yet.

        `hold_out`: names of training sequences that never appear in a clip. Raises DataError where videos or stills
        are missing that the settings ask for, for an unknown name in `hold_out`, and for a validation
        sequence; ContractError for a negative seed.
        """
        if seed < 0:
            raise ContractError(explain("seed of training clips", expected=">= 0", got=seed, do="choose another"))
        # Workers are processes: a thread pool inside each would only fight over the cores.
        cv2.setNumThreads(0)
        self.settings = settings
        self.seed = seed
        images = shared_images(settings.cache_bytes)
        self._videos = VideoPool(data_root, images, hold_out=hold_out)
        self._stills = StillPool(data_root, images)
        if settings.video_share > 0:
            require(self._videos, kind="videos", data_root=data_root)
        if settings.video_share < 1:
            require(self._stills, kind="stills", data_root=data_root)

    def sequence_names(self) -> list[str]:
        """`<data set>/<sequence>` of every video that clips are made from."""
        return self._videos.names()

    def clip(self, index: int) -> Clip:
        """Clip number `index` >= 0.

        Raises DataError where `MAX_DRAWS` draws give no object in view, and for broken files.
        """
        settings = self.settings
        rng = np.random.default_rng((self.seed, index))
        from_video = rng.random() < settings.video_share
        stills = self._stills if len(self._stills) > 0 else None
        for _ in range(MAX_DRAWS):
            if from_video:
                scene = video_scene(rng, settings, self._videos, stills=stills)
            else:
                scene = still_scene(rng, settings, self._stills)
            if scene is not None and settings.first_area_min <= scene.first_area() <= settings.first_area_max:
                looks = change_look(rng, scene.frames, settings)
                return Clip(np.stack(looks), np.stack(scene.masks), scene.source)
        raise DataError(
            explain(
                f"training clip {index}",
                expected=f"an object of {settings.first_area_min} to {settings.first_area_max} of the frame",
                got=f"none in {MAX_DRAWS} draws",
                do="check the masks, or widen first_area_min and first_area_max",
            )
        )
