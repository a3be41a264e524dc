"""Making the suite: every scene of every sequence, written as a data set in DAVIS layout with its description."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.datasets import DavisLayout
from sam2lite_mobile.evaluation.failures.cases import (
    FRAMES_PER_SECOND,
    REFERENCE_SIZE,
    SCHEMA_VERSION,
    SUITE_NAME,
    Case,
    Kind,
    Suite,
)
from sam2lite_mobile.evaluation.failures.footage import Footage
from sam2lite_mobile.evaluation.failures.painting import Mask, Picture
from sam2lite_mobile.evaluation.failures.scenes import Scene, scenes
from sam2lite_mobile.media.json_file import write_json
from sam2lite_mobile.media.label_maps import write_label_map
from sam2lite_mobile.media.optional import import_media_library
from sam2lite_mobile.media.output_folder import staged_folder

IMAGES, ANNOTATIONS, LOOKALIKES = "JPEGImages", "Annotations", "Lookalikes"
JPEG_QUALITY = 92
SEED_MAX = 2**32 - 1


def make_suite(
    layout: DavisLayout,
    sequences: Sequence[str],
    out: Path,
    *,
    seed: int = 0,
    kinds: Sequence[Kind] = tuple(Kind),
    overwrite: bool = False,
    on_frame: Callable[[str, int, int], None] | None = None,
) -> Suite:
    """The suite of these sequences, written to the folder `out`; each sequence's background is the next one's video.

    The same frames, sequences, seed and library versions give the same bytes. kinds: only these. on_frame: called with
    a sequence's name, frames done and frames in all. Raises DataError for footage without an object or a folder that
    holds something else.
    """
    footage = [Footage(layout, name) for name in sequences]
    if not footage:
        raise DataError(explain("sequences", expected="one or more", got="none", do="name some"))
    known = frozenset({IMAGES, ANNOTATIONS, LOOKALIKES, SUITE_NAME})
    with staged_folder(out, overwrite=overwrite, known_names=known) as folder:
        cases = []
        for place, source in enumerate(footage):
            other = footage[(place + 1) % len(footage)]
            rng = np.random.default_rng([seed, place])
            for scene in scenes(rng, source, other):
                if scene.kind in kinds:
                    cases.append(_write(scene, source, other, folder=folder, on_frame=on_frame))
        suite = Suite(SCHEMA_VERSION, layout.root.resolve().name, seed, FRAMES_PER_SECOND, cases)
        write_json(folder / SUITE_NAME, suite)
    return suite


def _write(
    scene: Scene,
    source: Footage,
    other: Footage,
    *,
    folder: Path,
    on_frame: Callable[[str, int, int], None] | None,
) -> Case:
    name = "-".join(part for part in (str(scene.kind), scene.variant, source.name) if part)
    side_px = 0.0
    for index in range(scene.frames):
        drawn = scene.draw(index)
        if index == 0:
            side_px = REFERENCE_SIZE * float(np.sqrt(drawn.mask.mean()))
        for top in (IMAGES, ANNOTATIONS, *((LOOKALIKES,) if scene.lookalike else ())):
            (folder / top / name).mkdir(parents=True, exist_ok=True)
        # The folder appears at its place as a whole, so single files need not be atomic.
        (folder / IMAGES / name / f"{index:05d}.jpg").write_bytes(_jpeg(drawn.image))
        _write_mask(folder / ANNOTATIONS / name / f"{index:05d}.png", drawn.mask)
        if drawn.lookalike is not None:
            _write_mask(folder / LOOKALIKES / name / f"{index:05d}.png", drawn.lookalike)
        if on_frame is not None:
            on_frame(name, index + 1, scene.frames)
    return Case(
        name=name,
        kind=scene.kind,
        source=source.name,
        background=other.name,
        frames=scene.frames,
        side_px=round(side_px, 1),
        hidden=scene.hidden,
        returns=list(scene.returns),
        lookalike=scene.lookalike,
    )


def _write_mask(path: Path, mask: Mask) -> None:
    write_label_map(path, mask.astype(np.uint8))


def _jpeg(image: Picture) -> bytes:
    cv2 = import_media_library("cv2", purpose="writing frames")
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise DataError(explain("frame", expected="a JPEG", got="an encoder error", do="check opencv"))
    return bytes(data.tobytes())
