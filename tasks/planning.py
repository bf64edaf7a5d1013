"""Say what a flow would compute, without computing it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from data_schemas.manifest import Manifest, StoredFile
from tasks.planned_rows import PlannedRows
from tasks.stage import PLANNER, Input, Outcome, Spec, open_store
from tokencompose_core.store.explain import Cause, explain_missing
from tokencompose_core.store.history import History
from tokencompose_core.store.rejections import TooManyRejectedError

UNKNOWN_INPUT = "its input is not computed yet"
_UNKNOWN = "planned:"


class Reason(BaseModel):
    """Outputs of a stage that would be computed for the same reason.

    Attributes:
        why: The reason.
        outputs: How many outputs.
        images: How many images go through models, or are read by a stage without any, at most.
        rows: How many rows of their inputs were added, changed and removed, if that is why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    why: str
    outputs: int
    images: int
    rows: dict[str, int] = {}


class StagePlan(BaseModel):
    """What would become of a stage.

    Attributes:
        stage: Its name.
        stored: Outputs that are there.
        stored_images: Images that they were made from.
        reasons: Why the others would be computed; none if all are there.
        stop: Why the flow would go no further; nothing if it would.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    stored: int
    stored_images: int
    reasons: list[Reason]
    stop: str = ""


class PlannedOutput(Manifest):
    """Stands for an output that is not there yet.

    Each file of it has the digest of the whole: the one that it had before it was lost, or one that
    no output has, so that nothing made from it is found in the store.
    """

    digest: str

    def file(self, name: str) -> StoredFile:
        """A file as it is expected."""
        return StoredFile(name=name, num_bytes=0, sha256=self.digest)


@contextmanager
def planning() -> Iterator[list[StagePlan]]:
    """Run no task while the context lasts but those that decide partitions.

    The functions of the stages are called in the order of the flow as always, and get manifests of
    what the store has and stand-ins for what it lacks. What is gone or damaged is expected to come
    out as it was. If a stage has left out more than it may, the plan ends with it.

    Yields:
        The stages, in the order in which they are asked for.
    """
    store = open_store()
    history = History(store)
    images: dict[str, int] = {}
    rows = PlannedRows(store)
    stages: list[StagePlan] = []

    def plan_stage(specs: Sequence[Spec]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        missing: list[tuple[Cause, int]] = []
        stored = {spec.key: store.find(spec.key) for spec in specs}  # models are looked up for it
        taken = rows.find([spec for spec in specs if stored[spec.key] is None], specs)
        for spec in specs:
            key = spec.key
            manifest = stored[key]
            if manifest is None:
                sources = spec.stored_inputs
                images[key] = sum(
                    images[source.key] if source.key in images else _count_images(history, source)
                    for source in sources
                )
                cause = _explain(history, spec, key, sources, taken)
                missing.append((cause, images[key] - rows.count(key)))
                outcomes.append(Outcome(_stand_in(history, spec.stage, key), "Planned"))
            else:
                outcomes.append(Outcome(manifest, "Stored"))
        found = [outcome.manifest for outcome in outcomes if outcome.state == "Stored"]
        stages.append(
            StagePlan(
                stage=specs[0].stage,
                stored=len(found),
                stored_images=sum(manifest.num_in for manifest in found),
                reasons=_group(missing),
            )
        )
        return outcomes

    token = PLANNER.set(plan_stage)
    try:
        yield stages
    except TooManyRejectedError as error:
        # The stage is not among them yet if it decides the partitions and has therefore run.
        if not (stages and stages[-1].stage == error.stage):
            stages.append(
                StagePlan(stage=error.stage, stored=1, stored_images=error.num_in, reasons=[])
            )
        stop = f"{error.summary}: curate would stop here"
        stages[-1] = stages[-1].model_copy(update={"stop": stop})
    finally:
        PLANNER.reset(token)


def _count_images(history: History, source: Input) -> int:
    """How many samples a stored output, or one table of it, holds."""
    manifest = history.manifests.get(source.key) or history.store.find(source.key)
    assert manifest is not None  # it was found a moment ago
    if source.name.endswith(".parquet"):
        return pq.read_metadata(history.store.path(manifest, source.name)).num_rows
    return manifest.num_out


def _explain(
    history: History, spec: Spec, key: str, sources: Sequence[Input], taken: AbstractSet[str]
) -> Cause:
    if any(source.digest.startswith(_UNKNOWN) for source in sources):
        return Cause(UNKNOWN_INPUT)
    inputs = {source.key: source.digest for source in sources}
    return explain_missing(history, key, spec.parts(), inputs, spec.part_fields, taken)


def _stand_in(history: History, stage: str, key: str) -> Manifest:
    """What later stages are given in the place of an output that the store lacks."""
    damaged = history.manifests.get(key)
    if damaged is not None:
        return damaged
    digest = history.digests_read.get(key, _UNKNOWN + key)
    return PlannedOutput(stage=stage, key=key, digest=digest, files=())


def _group(missing: Sequence[tuple[Cause, int]]) -> list[Reason]:
    reasons = []
    for why in dict.fromkeys(cause.why for cause, _ in missing):
        own = [(cause, images) for cause, images in missing if cause.why == why]
        rows: Counter[str] = Counter()
        for cause, _ in own:
            rows.update(cause.rows)
        reasons.append(
            Reason(why=why, outputs=len(own), images=sum(n for _, n in own), rows=dict(rows))
        )
    return reasons
