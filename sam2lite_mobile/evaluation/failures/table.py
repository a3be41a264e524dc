"""The table of a result: kinds of failure with their measures, as Markdown."""

from __future__ import annotations

from sam2lite_mobile.evaluation.failures.run import FailuresResult

HEADER = (
    "| failure | sequences | J&F | found again within 15 frames | hidden frames with a mask | "
    "frames on the look-alike | frames lost (J < 0.1) | ms |"
)


def markdown(result: FailuresResult) -> str:
    """A line that says how it was measured, then a row a kind; J&F in points, shares in percent."""
    engine = result.engine
    lines = [
        f"Prompt: {result.prompt} in frame 0; {result.size} px; {engine.name} {engine.version} {engine.precision}, "
        f"{engine.threads} thread; {result.machine.processor}; frames of {result.suite.data}, "
        f"seed {result.suite.seed}{_remedies(result)}.",
        "",
        HEADER,
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result.kinds:
        found = f"{row.recovered} of {row.returns}" if row.returns else ""
        lines.append(
            f"| {row.kind} | {row.cases} | {100 * row.jf:.1f} | {found} | {_percent(row.false_share)} | "
            f"{_percent(row.switched_share)} | {_percent(row.lost_share)} | {row.ms:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _remedies(result: FailuresResult) -> str:
    limit = f"; predicted IoU of {result.min_quality:g} or more" if result.min_quality else ""
    return limit + ("; tiny objects in a crop" if result.fine else "")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"
