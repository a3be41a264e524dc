"""What shows a failure: found again or not, masks where there is no object, masks on a look-alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from sam2lite_mobile.evaluation.failures.cases import Case, Count, Kind
from sam2lite_mobile.evaluation.failures.painting import Mask

RECOVERY_FRAMES = 15
"""An object counts as found again if its J is above 0.5 in one of so many frames from its return on."""
FOUND_J = 0.5
LOST_J = 0.1

Share = Annotated[float, Meta(ge=0, le=1)]


class CaseScore(Struct, frozen=True, forbid_unknown_fields=True):
    """One sequence of the suite.

    jf, j, f: as `sam2lite eval` has them. returns, recovered: moments at which the object came back, and those after
    which it was found within 15 frames. recovery_frames: from a return to the first frame with a J above 0.5, None
    where there was none before the next one or the end. false_share: frames with a mask among those in which the
    object is hidden (None without such). switched_share: frames in which more of the mask lies on the look-alike than
    on the object, among those with a mask and the copy in view (None without a copy). lost_share: frames with a J
    below 0.1 among those in which the object is to be seen. ms: median of a frame, wall clock.
    """

    name: str
    kind: Kind
    side_px: float
    frames: Count
    jf: Share
    j: Share
    f: Share
    returns: Count
    recovered: Count
    recovery_frames: list[Count | None]
    false_share: Share | None
    switched_share: Share | None
    lost_share: Share
    ms: Annotated[float, Meta(ge=0)]


class KindScore(Struct, frozen=True, forbid_unknown_fields=True):
    """Means over the sequences of one kind; recovered and returns are sums. A share is None where no case has it."""

    kind: Kind
    cases: Count
    jf: Share
    returns: Count
    recovered: Count
    false_share: Share | None
    switched_share: Share | None
    lost_share: Share
    ms: float


def recoveries(j: Sequence[float], returns: Sequence[int]) -> list[int | None]:
    """Frames from each return to the first J above 0.5 before the next return or the end; None where there is none."""
    ends = [*returns, len(j)][1:]
    found = []
    for begin, end in zip(returns, ends, strict=True):
        found.append(next((at - begin for at in range(begin, end) if j[at] > FOUND_J), None))
    return found


def false_share(predicted: Sequence[Mask], hidden: tuple[int, int] | None) -> float | None:
    """Share of the hidden frames that have a mask; None without a hidden stretch."""
    if hidden is None:
        return None
    return float(np.mean([bool(mask.any()) for mask in predicted[hidden[0] : hidden[1]]]))


def switched(mask: Mask, truth: Mask, lookalike: Mask) -> bool | None:
    """Whether more of the mask lies on the look-alike than on the object; None without a mask or a copy in view."""
    if not mask.any() or not lookalike.any():
        return None
    return int((mask & lookalike).sum()) > int((mask & truth).sum())


def lost_share(j: Sequence[float], in_view: Sequence[bool]) -> float:
    """Share of the frames with the object in view, but the first, whose J is below 0.1; 0 where there is none."""
    seen = [value < LOST_J for value, there in zip(j[1:], in_view[1:], strict=True) if there]
    return float(np.mean(seen)) if seen else 0.0


def by_kind(scores: Sequence[CaseScore]) -> list[KindScore]:
    """The means of each kind, in the order of `Kind`; kinds without a case are left out."""
    rows = []
    for kind in Kind:
        of_kind = [score for score in scores if score.kind is kind]
        if of_kind:
            rows.append(_mean(kind, of_kind))
    return rows


def _mean(kind: Kind, scores: Sequence[CaseScore]) -> KindScore:
    def share(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    return KindScore(
        kind=kind,
        cases=len(scores),
        jf=float(np.mean([score.jf for score in scores])),
        returns=sum(score.returns for score in scores),
        recovered=sum(score.recovered for score in scores),
        false_share=share([score.false_share for score in scores]),
        switched_share=share([score.switched_share for score in scores]),
        lost_share=float(np.mean([score.lost_share for score in scores])),
        ms=float(np.mean([score.ms for score in scores])),
    )


def case_score(
    case: Case,
    *,
    j: Sequence[float],
    means: tuple[float, float],
    predicted: Sequence[Mask],
    in_view: Sequence[bool],
    switches: Sequence[bool | None],
    ms: float,
) -> CaseScore:
    """The score of one sequence from values frame by frame. means: J and F over the evaluated frames."""
    back = recoveries(j, case.returns)
    decided = [switch for switch in switches if switch is not None]
    return CaseScore(
        name=case.name,
        kind=case.kind,
        side_px=case.side_px,
        frames=len(j),
        jf=sum(means) / 2,
        j=means[0],
        f=means[1],
        returns=len(case.returns),
        recovered=sum(frames is not None and frames < RECOVERY_FRAMES for frames in back),
        recovery_frames=back,
        false_share=false_share(predicted, case.hidden),
        switched_share=float(np.mean(decided)) if case.lookalike and decided else None,
        lost_share=lost_share(j, in_view),
        ms=round(ms, 1),
    )
