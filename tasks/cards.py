"""One card a stage in the Prefect UI: what went in, what came out, and how it looks."""

import base64
import re
from collections import Counter
from collections.abc import Sequence
from io import BytesIO

from prefect.artifacts import create_markdown_artifact

from data_schemas.rejections import PHRASE_REASONS, Rejection, describe_reason
from tasks.links import link_to_maker, link_to_output
from tasks.markdown import plain_text, table, visible_text
from tasks.stage import PLANNER, Outcome, open_store
from tokencompose_core.store.rejections import REJECTIONS_NAME, check_rejected_fraction

# Prefect stores every payload twice and lists all of them at once, so cards are kept small.
MOST_IMAGE_BYTES = 120_000
_MOST_BYTES = 195_000
_MOST_ROWS = 100
_EXAMPLES_A_REASON = 10
_MOST_EXAMPLES = 50
_MOST_DESCRIBED = 4000
_MOST_IN_ERROR = 5
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
    check_rejected_fraction(
        stage,
        num_in,
        _rejected(outcomes),
        max_rejected_fraction,
        lambda: _describe_lost(outcomes, subject),
    )


def artifact_key(*names: str) -> str:
    """A key that Prefect takes: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(names).lower()).strip("-")


def stage_card(outcomes: Sequence[Outcome], note: str = "") -> str:
    """The markdown of a stage's card, with a note below its heading."""
    manifests = [outcome.manifest for outcome in outcomes]
    states = Counter(outcome.state for outcome in outcomes)
    num_in, num_out = sum(m.num_in for m in manifests), sum(m.num_out for m in manifests)
    head = [f"# {manifests[0].stage}", "", *([note, ""] if note else [])]
    head += table(
        ("in", "out", "computed", "Cached", "Reused"),
        [
            list(
                map(str, (num_in, num_out, *(states[s] for s in ("Completed", "Cached", "Reused"))))
            )
        ],
    )
    rejected = sorted(_rejected(outcomes).items())
    head += table(("left out because of", "count"), [(name, str(n)) for name, n in rejected])
    # Below the table: the UI does not break long lines in its cells.
    head += [f"- **{reason}** {plain_text(describe_reason(reason))}" for reason, _ in rejected]
    head += [""]
    head += table(
        ("figure", "value"),
        [(plain_text(name), plain_text(value)) for name, value in _facts(outcomes).items()],
    )
    tail = _examples(outcomes)
    tail += table(
        ("output", "state", "in", "out", "MB", "computed by"),
        [
            (
                link_to_output(outcome.manifest.key),
                outcome.state,
                str(outcome.manifest.num_in),
                str(outcome.manifest.num_out),
                f"{sum(file.num_bytes for file in outcome.manifest.files) / 1e6:.2f}",
                link_to_maker(outcome.manifest),
            )
            for outcome in outcomes[:_MOST_ROWS]
        ],
    )
    if len(outcomes) > _MOST_ROWS:
        tail.append(f"And {len(outcomes) - _MOST_ROWS} more.")
    taken = sum(len(line.encode()) + 1 for line in (*head, *tail))
    return "\n".join([*head, *_pictures(outcomes, _MOST_BYTES - taken), *tail])


def describe_card(what: str, *where_from: str) -> str:
    """The text beside a table: what its figures are, and in a line each where they come from."""
    return "\n\n".join([what, *(plain_text(line, most=_MOST_DESCRIBED) for line in where_from)])


def picture(content: bytes, kind: str, alt: str) -> str:
    """An image inside markdown."""
    return f"![{plain_text(alt)}](data:image/{kind};base64,{base64.b64encode(content).decode()})"


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
    """A figure as people read it: four digits of a fraction, and counts by name as a list."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {format_figure(own)}" for name, own in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _find_examples(outcomes: Sequence[Outcome], num: int) -> list[Rejection]:
    """The first that were left out for each reason, from as few outputs as show enough of it."""
    store = open_store()
    paths, seen = [], Counter[str]()
    for manifest in (outcome.manifest for outcome in outcomes):
        if REJECTIONS_NAME in manifest.names() and any(
            seen[reason] < num for reason in manifest.rejected
        ):
            paths.append(store.path(manifest, REJECTIONS_NAME))
            seen.update(manifest.rejected)
    if not paths:
        return []
    from tokencompose_core.reports.left_out import find_examples

    found = find_examples(paths, num)
    return [rejection for _, own in sorted(found.items()) for rejection in own]


def _examples(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines of a table of what was left out for each reason."""
    num = min(_EXAMPLES_A_REASON, max(1, _MOST_EXAMPLES // max(1, len(_rejected(outcomes)))))
    rows = [
        (plain_text(rejection.key), str(rejection.reason), plain_text(rejection.detail))
        for rejection in _find_examples(outcomes, num)
    ]
    lines = table(("left out", "reason", "what exactly"), rows[:_MOST_EXAMPLES])
    return [*lines, "The flow `inspect` shows what became of any one sample.", ""] if rows else []


def _describe_lost(outcomes: Sequence[Outcome], subject: str) -> str:
    """A few samples that a stage left out, and where all of them are listed, for an error.

    A phrase of each reason follows them: it may say why a sample has none left.
    """
    reasons = _rejected(outcomes).keys() - PHRASE_REASONS
    found = _find_examples(outcomes, max(1, _MOST_IN_ERROR // len(reasons)))
    samples = [rejection for rejection in found if rejection.reason in reasons]
    phrases = {r.reason: r for r in reversed(found) if r.reason in PHRASE_REASONS}
    lines = [
        f"  {rejection.reason}  {_name_lost(rejection)}\n"
        for rejection in (*samples, *phrases.values())
    ]
    store = open_store()
    where = [
        f"{store.url}/{outcome.manifest.key}/{REJECTIONS_NAME}"
        for outcome in outcomes
        if reasons & outcome.manifest.rejected.keys()
    ]
    more = f" and in {len(where) - 1} more of its outputs" if len(where) > 1 else ""
    card = artifact_key(outcomes[0].manifest.stage, subject)
    return (
        "".join(lines)
        + f"All are listed in {where[0]}{more}; the card {card} in the UI shows more of them.\n"
    )


def _name_lost(rejection: Rejection) -> str:
    """A sample's key and what was wrong; of a row without a key that is its place, said once."""
    key, detail = visible_text(rejection.key), visible_text(rejection.detail)
    return detail if detail.startswith(key) else f"{key}  {detail}".rstrip()


def _pictures(outcomes: Sequence[Outcome], most_bytes: int) -> list[str]:
    """One picture of every kind; together they are at most `most_bytes` of markdown."""
    store = open_store()
    found = {}
    for name in _SHEETS:
        for manifest in (outcome.manifest for outcome in outcomes):
            if name in manifest.names() and manifest.file(name).num_bytes <= MOST_IMAGE_BYTES:
                found[f"{manifest.stage} {name}"] = store.path(manifest, name)
                break
    contents = {alt: path.read_bytes() for alt, path in found.items()}
    # Base64 writes three bytes as four characters.
    room = most_bytes * 3 // 4 - 200 * len(contents)
    if sum(map(len, contents.values())) > room:
        contents = _shrink(contents, room)
    lines = []
    for alt, content in contents.items():
        kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
        lines += [picture(content, kind, alt), ""]
    return lines


def _shrink(contents: dict[str, bytes], room: int) -> dict[str, bytes]:
    """The pictures made coarser, the smallest first: each gets its share of what is left."""
    from PIL import Image

    from tokencompose_core.reports.contact_sheet import jpeg_under

    smaller: dict[str, bytes] = {}
    for number, alt in enumerate(sorted(contents, key=lambda alt: len(contents[alt]))):
        share = (room - sum(map(len, smaller.values()))) // (len(contents) - number)
        content = contents[alt]
        if len(content) > share:
            content = jpeg_under(Image.open(BytesIO(content)), share)
        smaller[alt] = content
    return {alt: smaller[alt] for alt in contents}
