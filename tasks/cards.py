"""One card a stage in the Prefect UI: what went in, what came out, and how it looks."""

import base64
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from prefect.artifacts import create_markdown_artifact

from tasks.markdown_text import plain
from tasks.stage import PLANNER, Outcome, open_store
from tokencompose_core.store.rejections import check_rejected_fraction

# Prefect stores every payload twice and lists all of them at once, so cards are kept small.
MOST_IMAGE_BYTES = 120_000
_MOST_ROWS = 100
_SHEETS = ("distributions.png", "sheet.jpg", "losses.png", "samples.jpg", "nouns.jpg", "layers.jpg")


def close_stage(
    outcomes: Sequence[Outcome],
    subject: str,
    max_rejected_fraction: float = 1.0,
    note: str = "",
) -> None:
    """Publish the card of a stage, and fail if too many samples were left out.

    While a plan is made there is no card, and what is only planned has left nothing out yet.

    Args:
        outcomes: The stage's outputs.
        subject: Caption set or model that the card's history belongs to.
        max_rejected_fraction: Largest share of samples that may be missing.
        note: Markdown below the card's heading.

    Raises:
        TooManyRejectedError: If more are; the outputs stay in the store.
    """
    stage = outcomes[0].manifest.stage
    if PLANNER.get() is None:
        create_markdown_artifact(
            key=artifact_key(stage, subject),
            markdown=stage_card(outcomes, note),
            description=f"{stage}: {subject}",
        )
    elif any(outcome.state == "Planned" for outcome in outcomes):
        return
    num_in = sum(outcome.manifest.num_in for outcome in outcomes)
    check_rejected_fraction(stage, num_in, _rejected(outcomes), max_rejected_fraction)


def artifact_key(*names: str) -> str:
    """A key that Prefect takes: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(names).lower()).strip("-")


def stage_card(outcomes: Sequence[Outcome], note: str = "") -> str:
    """The markdown of a stage's card, with a note below its heading."""
    manifests = [outcome.manifest for outcome in outcomes]
    states = Counter(outcome.state for outcome in outcomes)
    rejected = _rejected(outcomes)
    lines = [
        f"# {manifests[0].stage}",
        "",
        *([note, ""] if note else []),
        "| in | out | computed | Cached | Reused |",
        "|---|---|---|---|---|",
        f"| {sum(m.num_in for m in manifests)} | {sum(m.num_out for m in manifests)}"
        f" | {states['Completed']} | {states['Cached']} | {states['Reused']} |",
        "",
    ]
    if rejected:
        lines += ["| left out because of | count |", "|---|---|"]
        lines += [f"| {plain(reason)} | {count} |" for reason, count in sorted(rejected.items())]
        lines += [""]
    facts = _facts(outcomes)
    if facts:
        lines += ["| figure | value |", "|---|---|"]
        lines += [f"| {plain(name)} | {plain(value)} |" for name, value in facts.items()]
        lines += [""]
    lines += _pictures(outcomes)
    lines += ["| output | state | in | out | MB |", "|---|---|---|---|---|"]
    for outcome in outcomes[:_MOST_ROWS]:
        manifest = outcome.manifest
        size = sum(file.num_bytes for file in manifest.files) / 1e6
        lines.append(
            f"| `{manifest.key}` | {outcome.state} | {manifest.num_in} | {manifest.num_out}"
            f" | {size:.2f} |"
        )
    if len(outcomes) > _MOST_ROWS:
        lines.append(f"| and {len(outcomes) - _MOST_ROWS} more | | | | |")
    return "\n".join(lines)


def link_to_report(path: Path) -> str:
    """A note that says where a page lies: browsers follow no link from a server to a file."""
    where = plain(str(path), most=4096)
    return f"The whole page, to be opened in a browser: [{path.name}](<{path.as_uri()}>), {where}"


def picture(content: bytes, kind: str, alt: str) -> str:
    """An image inside markdown."""
    return f"![{plain(alt)}](data:image/{kind};base64,{base64.b64encode(content).decode()})"


def _rejected(outcomes: Sequence[Outcome]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total.update(outcome.manifest.rejected)
    return dict(total)


def _facts(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Figures of all outputs: numbers are added up, unless there is one output only."""
    if len(outcomes) == 1:
        return {k: format_figure(v) for k, v in outcomes[0].manifest.facts.items()}
    total: Counter[str] = Counter()
    for outcome in outcomes:
        for name, value in outcome.manifest.facts.items():
            if isinstance(value, int):
                total[name] += value
    return {name: format_figure(value) for name, value in total.items()}


def format_figure(value: object) -> str:
    """A figure as people read it: four digits of a fraction."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _pictures(outcomes: Sequence[Outcome]) -> list[str]:
    store = open_store()
    lines = []
    for name in _SHEETS:
        for outcome in outcomes:
            manifest = outcome.manifest
            if name in manifest.names() and manifest.file(name).num_bytes <= MOST_IMAGE_BYTES:
                kind = "png" if name.endswith(".png") else "jpeg"
                content = store.path(manifest, name).read_bytes()
                lines += [picture(content, kind, f"{manifest.stage} {name}"), ""]
                break
    return lines
