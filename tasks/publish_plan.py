"""A plan as a table: in the Prefect UI, and as text."""

from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact

from tasks.markdown import plain_text
from tasks.planning import UNKNOWN_INPUT, Reason, StagePlan

COLUMNS = ("stage", "there", "to compute", "images", "why")
NOTES = (
    "Only what decides the partitions has run: a pocket world is drawn, images behind URLs or in"
    " tars are copied, and select reads captions and headers. No model was loaded.",
    "Where an input is not computed yet, numbers are upper bounds: earlier stages may leave images"
    " out, and if an input comes out as it was, its output is taken from the store. The card of the"
    " data set is not listed; it is drawn anew if anything before it changes.",
    "Images of rank, parse and mask are those that go through models. An output may take over other"
    " rows from earlier outputs, so they are not counted.",
)


def plan_rows(stages: Sequence[StagePlan]) -> list[tuple[str, str, str, str, str]]:
    """The cells of a plan's table, one row for every stage and reason."""
    rows = []
    for plan in stages:
        there = str(plan.stored)
        if not plan.reasons:
            rows.append((plan.stage, there, "0", "0", plan.stop))
        for number, reason in enumerate(plan.reasons):
            bound = "up to " if reason.why == UNKNOWN_INPUT else ""
            own = (f"{bound}{reason.outputs}", str(reason.images), _why(reason))
            rows.append((plan.stage, there, *own) if number == 0 else ("", "", *own))
    return rows


def publish_plan(stages: Sequence[StagePlan], caption_set: str) -> list[StagePlan]:
    """Publish a plan as one artifact of the flow run.

    Returns:
        The plan.
    """
    lines = [f"# What curate would compute of {caption_set}", ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(map(plain_text, row))} |" for row in plan_rows(stages)]
    lines += [""]
    for note in NOTES:
        lines += [note, ""]
    create_markdown_artifact(
        key=f"plan-{caption_set}", markdown="\n".join(lines), description=f"plan: {caption_set}"
    )
    return list(stages)


def _why(reason: Reason) -> str:
    counts = ", ".join(
        f"{count} row{'s' if count > 1 else ''} {what}" for what, count in reason.rows.items()
    )
    return f"{reason.why} ({counts})" if counts else reason.why
