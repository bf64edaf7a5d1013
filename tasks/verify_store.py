"""Look whether a store holds what its manifests say."""

from collections import Counter
from datetime import UTC, datetime

from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.operate_config import VerifyConfig
from tasks.markdown import plain_text, table
from tasks.progress import STOP, Progress
from tasks.sizes import format_bytes
from tasks.stage import open_store
from tokencompose_core.store.broken_lineage import find_broken_lineage
from tokencompose_core.store.store_error import explain_failures
from tokencompose_core.store.survey import LONGEST_UPLOAD, Condition, Entry, list_keys, survey

COLUMNS = ("stage", "entries", "files", "size", "broken", "without an input")
_MOST_SHOWN = 100
_MOST_CHARACTERS = 1000
MEND = (
    "No run believes a broken output. Run the flow that made it again: it is computed anew, and"
    " nothing else. plan says beforehand what that would be. gc removes broken outputs that nobody"
    " has asked for within a day."
)
UPLOADED = (
    "No run believes these before they have a manifest. Those that still have none a day after are"
    " broken."
)
LINEAGE = (
    "What lacks an input is whole and is used as it is; only where it came from cannot be followed"
    " any more."
)


class StageHealth(BaseModel):
    """The entries of a stage, and what is wrong with them.

    Attributes:
        stage: Its name.
        entries: How many there are.
        files: How many files they have.
        num_bytes: How large these are.
        broken: How many entries are damaged, incomplete, or have an unreadable manifest.
        without_input: How many were made from something that the store does not have any more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    entries: int
    files: int
    num_bytes: int
    broken: int
    without_input: int


class Health(BaseModel):
    """What `verify` found.

    Attributes:
        deep: Whether digests were compared, or only sizes.
        stages: Entries by stage.
        broken: Keys of broken entries, and what is wrong with each.
        uploaded: Keys of entries on an object store that seem to be on their way there, and why.
        broken_lineage: Keys of entries that lack an input, and which.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deep: bool
    stages: list[StageHealth]
    broken: dict[str, str]
    uploaded: dict[str, str]
    broken_lineage: dict[str, str]


def verify_store(config: VerifyConfig) -> Health:
    """Compare every entry with its manifest, by sizes or by digests.

    Raises:
        FileNotFoundError: If there is no store.
        StoreError: If it cannot be read.
    """
    STOP.clear()  # of a flow that was interrupted before, in the same process
    store = open_store()
    # An empty report would look like that of a whole store, though its disk is not mounted.
    with explain_failures(store.url, "read"):
        if not store.filesystem.exists(store.root):
            raise FileNotFoundError(
                f"there is no store at {store.url}: nothing was stored there yet, or"
                " TOKENCOMPOSE_STORE names another place, or its disk is not mounted"
            )
    with Progress("verify", len(list_keys(store)), "entries") as progress:
        found = survey(store, "digest" if config.deep else "size", progress.advance)
        entries = {entry.key: entry for entry in found}
    lineage = find_broken_lineage(entries)
    problems = {
        key: f"{entry.condition}: {entry.problem}"
        for key, entry in entries.items()
        if entry.condition is not Condition.WHOLE
    }
    uploaded = {
        key: problem
        for key, problem in problems.items()
        if not store.is_local and _may_be_on_its_way(entries[key])
    }
    broken = {key: problem for key, problem in problems.items() if key not in uploaded}
    return Health(
        deep=config.deep,
        stages=[
            StageHealth(
                stage=stage,
                entries=len(own),
                files=sum(entry.num_files for entry in own),
                num_bytes=sum(entry.num_bytes for entry in own),
                broken=sum(entry.key in broken for entry in own),
                without_input=sum(entry.key in lineage for entry in own),
            )
            for stage in sorted({entry.stage for entry in entries.values()})
            if (own := [entry for entry in entries.values() if entry.stage == stage])
        ],
        broken=broken,
        uploaded=uploaded,
        broken_lineage=lineage,
    )


def _may_be_on_its_way(entry: Entry) -> bool:
    return (
        entry.condition is Condition.INCOMPLETE
        and entry.made is not None
        and datetime.now(UTC) - entry.made < LONGEST_UPLOAD
    )


def health_rows(health: Health) -> list[tuple[str, ...]]:
    """The cells of the table, one row for every stage."""
    return [
        (
            row.stage,
            str(row.entries),
            str(row.files),
            format_bytes(row.num_bytes),
            str(row.broken),
            str(row.without_input),
        )
        for row in health.stages
    ]


def health_lines(health: Health) -> list[str]:
    """What was found, in sentences, and what to do about it."""
    how = "digest" if health.deep else "size; --deep compares digests"
    count = sum(row.entries for row in health.stages)
    lines = [f"{count} entries, compared by {how}: {len(health.broken)} broken."]
    for title, found, advice in (
        ("broken", health.broken, MEND),
        ("on their way here", health.uploaded, UPLOADED),
        ("without an input", health.broken_lineage, LINEAGE),
    ):
        if found:
            lines += [f"{key}  {problem}" for key, problem in list(found.items())[:_MOST_SHOWN]]
            if len(found) > _MOST_SHOWN:
                lines.append(f"and {len(found) - _MOST_SHOWN} more {title}")
            lines.append(advice)
    return lines


def health_card(health: Health) -> str:
    """What was found, as markdown; names of files and keys are whatever a manifest says."""
    lines = [
        "# verify",
        "",
        *table(COLUMNS, [tuple(map(plain_text, row)) for row in health_rows(health)]),
    ]
    for line in health_lines(health):
        lines += [plain_text(line, most=_MOST_CHARACTERS), ""]
    return "\n".join(lines)


def publish_health(health: Health) -> Health | State:
    """Publish what was found as one artifact of the flow run.

    Returns:
        The same; as the result of a failed state if anything is broken.
    """
    create_markdown_artifact(key="verify", markdown=health_card(health), description="verify")
    if not health.broken:
        return health
    kinds = Counter(problem.partition(":")[0] for problem in health.broken.values())
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return Failed(message=f"broken outputs: {counts}", data=health)
