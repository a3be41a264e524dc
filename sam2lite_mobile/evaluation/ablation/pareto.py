"""Accuracy against time: which variants nothing beats in both, and all of them as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

from sam2lite_mobile.evaluation.ablation.outcome import InferenceOutcome, VariantOutcome
from sam2lite_mobile.evaluation.bench.sweep_plot import COLOURS, check_plotting


def frontier(variants: Sequence[VariantOutcome]) -> list[VariantOutcome]:
    """The variants that no other one matches in both J&F and time and beats in one, the fastest first.

    Of several that are equal in both, the first stands for all.
    """
    found: list[VariantOutcome] = []
    for each in sorted(variants, key=lambda variant: (variant.p50_ms, -variant.jf)):
        if not found or each.jf > found[-1].jf:
            found.append(each)
    return found


def pareto_picture(outcome: InferenceOutcome, *, form: str = "svg") -> bytes:
    """All variants as points, a colour a factor, and the line through the frontier. form: svg or png.

    Raises MissingBackendError where matplotlib is missing.
    """
    check_plotting()
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.5), layout="constrained", dpi=100)
    axes = figure.subplots()
    best = frontier(outcome.variants)
    axes.step([each.p50_ms for each in best], [each.jf for each in best], where="post", color="#999999", linewidth=1)
    for index, factor in enumerate(dict.fromkeys(each.factor for each in outcome.variants)):
        points = [each for each in outcome.variants if each.factor == factor]
        axes.scatter(
            [each.p50_ms for each in points],
            [each.jf for each in points],
            s=36,
            color=COLOURS[index % len(COLOURS)],
            label=factor,
            zorder=2,
        )
    for each in best:
        label = each.title.partition(":")[0]
        axes.annotate(label, (each.p50_ms, each.jf), xytext=(5, -11), textcoords="offset points", fontsize=8)
    axes.set_xlim(left=0)
    axes.set_xlabel("median ms a frame")
    axes.set_ylabel("J&F, points")
    axes.set_title("Line: no variant is both faster and better", loc="left", fontsize=9)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    picture = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "pareto", "svg.fonttype": "none"}):
        figure.savefig(picture, format=form, metadata={"Date": None} if form == "svg" else None)
    return picture.getvalue()
