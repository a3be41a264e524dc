"""An endless, seeded stream of training clips from annotated videos and from stills in motion."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.training.augment import change_look
from sam2lite_mobile.training.clip_settings import Clip, ClipSettings
from sam2lite_mobile.training.contact_sheet import contact_sheet
from sam2lite_mobile.training.image_files import shared_images
from sam2lite_mobile.training.pools import StillPool, VideoPool, require
from sam2lite_mobile.training.still_clips import still_scene
from sam2lite_mobile.training.video_clips import video_scene

__all__ = ["Clip", "ClipSettings", "ClipSource", "contact_sheet"]

MAX_DRAWS = 200
"""Draws of one clip before the data is said to have no object that can be tracked; about one in two succeeds."""
MAX_BROKEN_SHARE = 0.01
"""Draws that may meet a broken file, as a share of all draws."""
SURE_AFTER_DRAWS = 1000
"""Until so many draws, as many broken ones are allowed as in these: one of few draws is no share to judge by."""


class ClipSource:
    """Clips by index. `clip(i)` depends on the seed, the settings, the data and `i` alone.

    So a run resumes at any index, and workers that share the indices between them make the same stream as one.
    """

    def __init__(self, data_root: Path, settings: ClipSettings, *, seed: int, hold_out: tuple[str, ...] = ()) -> None:
        """Find the data of a folder or a pack; nothing is decoded yet.

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
        self._draws = 0
        self._broken = 0
        self._reports: list[str] = []
        if settings.video_share > 0:
            require(self._videos, kind="videos", data_root=data_root)
        if settings.video_share < 1:
            require(self._stills, kind="stills", data_root=data_root)

    def sequence_names(self) -> list[str]:
        """`<data set>/<sequence>` of every video that clips are made from."""
        return self._videos.names()

    def clip(self, index: int) -> Clip:
        """Clip number `index` >= 0. A draw that meets a broken file is skipped, and `take_reports` tells of it.

        Raises DataError where `MAX_DRAWS` draws give no object in view, and where more than `MAX_BROKEN_SHARE` of the
        draws so far were broken.
        """
        settings = self.settings
        rng = np.random.default_rng((self.seed, index))
        from_video = rng.random() < settings.video_share
        stills = self._stills if len(self._stills) > 0 else None
        for _ in range(MAX_DRAWS):
            self._draws += 1
            try:
                if from_video:
                    scene = video_scene(rng, settings, self._videos, stills=stills)
                else:
                    scene = still_scene(rng, settings, self._stills)
            except DataError as error:
                self._count_broken(error)
                continue
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

    def take_reports(self) -> list[str]:
        """One line for each draw that was skipped since the last call."""
        reports, self._reports = self._reports, []
        return reports

    def _count_broken(self, error: DataError) -> None:
        self._broken += 1
        counted = f"{self._broken} of {self._draws} draws broken"
        if self._broken > MAX_BROKEN_SHARE * max(self._draws, SURE_AFTER_DRAWS):
            raise DataError(
                explain(
                    "training data",
                    expected=f"at most {MAX_BROKEN_SHARE:.0%} of draws broken",
                    got=f"{counted}, the last: {error}",
                    do="repair the data, or pack it: packing leaves out what is broken",
                )
            ) from error
        self._reports.append(f"skipped, {counted}: {error}")
