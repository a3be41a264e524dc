"""Stability of masks over a video (methodology, section 6.3): drift, consistency and flicker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from sam2lite_mobile.evaluation.davis import evaluated_frames, sequence_statistics

DRIFT_FRAMES = 100
"""Drift is stated over so many frames."""


class Stability(Struct, frozen=True, forbid_unknown_fields=True):
    """Stability of one object, or the means over several; J, F and flicker in 0..1.

    drift: change of J&F over 100 frames, the slope of the least-squares line; below 0 it gets worse. decay: J&F of the
    first quarter less that of the last. consistency: standard deviation of J over the frames (population); 0 is the
    steadiest. flicker, annotated_flicker: mean over the changes from frame to frame (`flicker.py`), of the predicted
    and of the annotated masks; None where none was measured.
    """

    drift: float
    decay: float
    consistency: float
    flicker: float | None
    annotated_flicker: float | None


def object_stability(
    j: Sequence[float],
    f: Sequence[float],
    *,
    flicker: Sequence[float] | None = None,
    annotated_flicker: Sequence[float] | None = None,
) -> Stability:
    """Stability of one object over its evaluated frames: the first and the last one count as little as in J and F.

    j, f: one value a frame, three or more. flicker, annotated_flicker: one value a change, so one fewer; those from
    and to the frames that are left out are left out too. Raises ContractError where no frame is evaluated.
    """
    inner_j, inner_f = np.asarray(evaluated_frames(j)), np.asarray(evaluated_frames(f))
    both = (inner_j + inner_f) / 2
    return Stability(
        drift=DRIFT_FRAMES * slope(both.tolist()),
        decay=sequence_statistics(both.tolist()).decay,
        consistency=float(inner_j.std()),
        flicker=_mean(flicker),
        annotated_flicker=_mean(annotated_flicker),
    )


def mean_stability(of: Sequence[Stability]) -> Stability:
    """The mean of each measure over objects, each counting the same; flicker over those that have one. Not empty."""
    return Stability(
        drift=float(np.mean([each.drift for each in of])),
        decay=float(np.mean([each.decay for each in of])),
        consistency=float(np.mean([each.consistency for each in of])),
        flicker=_mean_known([each.flicker for each in of]),
        annotated_flicker=_mean_known([each.annotated_flicker for each in of]),
    )


def slope(values: Sequence[float]) -> float:
    """Slope a step of the least-squares line through values at 0, 1, 2, ...; 0 for a single one.

    sum (i - m) v / sum (i - m)^2 with m the mean of i. Values must not be empty.
    """
    steps = np.arange(len(values)) - (len(values) - 1) / 2
    spread = float((steps * steps).sum())
    return 0.0 if spread == 0 else float((steps * np.asarray(values)).sum()) / spread


def _mean(changes: Sequence[float] | None) -> float | None:
    inner = () if changes is None else evaluated_frames(changes)
    return float(np.mean(inner)) if len(inner) else None


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
