"""Why figures of a model may say less than they seem to: what it was trained on, and by whom."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from prefect import get_run_logger
from pydantic import BaseModel, ConfigDict

from data_schemas.manifest import Manifest
from tasks.benchmarks import Benchmark
from tasks.evaluation import Evaluation
from tasks.mask_nouns import MaskSpec
from tasks.model_under_test import ModelUnderTest
from tasks.stage import open_store
from tasks.write_shards import INDEX_NAME, ShardSpec
from tokencompose_core.checkpoints.locate import identity, require
from tokencompose_core.evaluation.seen_prompts import find_seen
from tokencompose_core.importing.read_rows import STAGE as IMPORT_STAGE
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import is_key
from tokencompose_core.store.lineage import trace

_MOST_NAMED = 3


class GuardRails(BaseModel):
    """What is known of a model's training, as far as it concerns what it is evaluated on.

    Attributes:
        label: The model.
        shared_detectors: Benchmarks whose detector also made its training masks; null if the store
            does not know what made them.
        seen: By benchmark, prompts that are captions of its data set; null if the store does not
            know all of those.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    shared_detectors: list[str] | None
    seen: dict[str, list[str]] | None


def find_guard_rails(
    models: Sequence[ModelUnderTest], benchmarks: Sequence[Benchmark]
) -> list[GuardRails]:
    """Follow every stored model to its data set, and compare that with what it is asked.

    What is found follows from the store as it is now, so it is looked up in every run.
    """
    store = open_store()
    return [_examine(model, benchmarks, store) for model in models]


def list_warnings(
    guards: Sequence[GuardRails], benchmarks: Sequence[Benchmark], found: Evaluation
) -> list[str]:
    """What a reader has to know before the figures, a sentence each."""
    num_prompts = {benchmark.name: len(benchmark.prompts) for benchmark in benchmarks}
    warnings = []
    for guard in guards:
        for name in guard.shared_detectors or []:
            warnings.append(
                f"{guard.label}: the detector that scores {name} also made its training masks, so"
                " it may have learnt what this detector likes to see."
            )
        for name, seen in (guard.seen or {}).items():
            if seen:
                named = ", ".join(f'"{text}"' for text in seen[:_MOST_NAMED])
                more = f" and {rest} more" if (rest := len(seen) - _MOST_NAMED) > 0 else ""
                warnings.append(
                    f"{guard.label}: {len(seen)} of {num_prompts[name]} prompts of {name} are"
                    f" captions of its data set: {named}{more}."
                )
    counts = [
        (s.label, s.benchmark, s.result.num_blanked, s.result.num_images) for s in found.scores
    ]
    counts += [(q.label, q.benchmark, q.num_blanked, q.num_images) for q in found.qualities]
    for label, name, num_blanked, num_images in counts:
        if num_blanked:
            warnings.append(
                f"{label}: a safety checker blanked {num_blanked} of {num_images} images of {name};"
                " no figure counts these."
            )
    return warnings


def log_warnings(warnings: Sequence[str]) -> None:
    """Put warnings into the log of the run."""
    for warning in warnings:
        get_run_logger().warning(warning)


def _examine(model: ModelUnderTest, benchmarks: Sequence[Benchmark], store: Store) -> GuardRails:
    keys = {model.stored.key} if model.stored is not None else set()
    lora = _stored_lora(model, store)
    # A training that was interrupted by hand may have lost what it came from.
    manifests = [manifest for key in sorted(keys | lora) for manifest in trace(store, key, "size")]
    known = {manifest.key for manifest in manifests}
    named = {key for manifest in manifests for key in manifest.inputs if is_key(key)}
    shards = [manifest for manifest in manifests if manifest.stage == ShardSpec.stage]
    masked = [manifest for manifest in manifests if manifest.stage == MaskSpec.stage]
    is_whole = bool(shards) and named <= known and bool(lora) == bool(model.lora)
    # Nobody recorded what made masks that came with their captions.
    is_imported = any(manifest.stage == IMPORT_STAGE for manifest in manifests)
    makers_known = is_whole and bool(masked) and not is_imported
    shared = [b.name for b in benchmarks if _made_masks(b, masked)]
    seen = {
        benchmark.name: find_seen(
            [prompt.text for prompt in benchmark.prompts], _captions(store, shards)
        )
        for benchmark in benchmarks
    }
    return GuardRails(
        label=model.label,
        shared_detectors=shared if makers_known or shared else None,
        seen=seen if is_whole or any(seen.values()) else None,
    )


def _stored_lora(model: ModelUnderTest, store: Store) -> set[str]:
    """The key of the training whose LoRA layers are added, if they lie in the store."""
    if not model.lora or not store.is_local:
        return set()
    path = require(model.lora).resolve()
    root = Path(store.root).resolve()
    if root not in path.parents:
        return set()
    key = path.relative_to(root).parts[0]
    return {key} if store.find(key, "size") is not None else set()


def _made_masks(benchmark: Benchmark, masked: Sequence[Manifest]) -> bool:
    if benchmark.detector is None:
        return False
    own = identity(benchmark.detector.model, benchmark.detector.revision)
    # Another revision of a hub model counts as the same one.
    made = {str(manifest.parts.get("detector", "")).partition("@")[0] for manifest in masked}
    return own.partition("@")[0] in made


def _captions(store: Store, shards: Sequence[Manifest]) -> Iterator[str]:
    for shard in shards:
        column = pq.read_table(store.path(shard, INDEX_NAME), columns=["caption"])["caption"]
        yield from column.to_pylist()
