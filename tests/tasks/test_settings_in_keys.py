"""Whatever a task is given is part of its output's key, or listed here with why it is not."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from tasks.benchmarks import list_compositions
from tasks.spec import Input, Spec
from tests.tasks.specs_of_stages import EVALUATE, SPECS, VALUES, make_spec
from tokencompose_core.store.keys import make_key, split_key

EVERYWHERE = {".flow_store", ".earlier"}
# Where things lie, what they are called, and how much is done at once: of the stages that have it.
PLACES = (".images_dir", ".metadata_path", ".masks_dir")
NAMES = (".label", ".benchmark", ".part", ".field")
SPEED = (".device", ".batch_size", ".settings.batch_size")
# Of these only what is drawn comes to the stage, whose digest is in the key.
DRAWN = (
    *(".settings.source", ".settings.select", ".settings.num_pairs", ".settings.seed"),
    # A name, and two limits that refuse and change nothing.
    *(".settings.caption_set", ".settings.max_rejected_fraction", ".settings.allow_few_images"),
)
SUBSETS = (".settings.num_kid_subsets", ".settings.kid_subset_size")
# Models of the store have neither.
STORED = (".models[].name", ".models[].revision")
# The images are the same but for rounding.
SAMPLED_AT_ONCE = (".sampler.batch_size", ".sampler.decode_batch_size")
OUTSIDE: dict[str, tuple[str, ...]] = {
    "select": (
        *(".source.images_dir", ".source.made_from"),
        # The source's digest is of the rows and images that these give.
        *(".source.files.vsr_path", ".source.files.captions_paths"),
        *(".source.files.labels", ".source.files.relations"),
        # How images behind URLs are copied; which were copied is in the digest.
        *(".source.image_limits.max_bytes", ".source.image_limits.num_retries"),
        *(".source.image_limits.private_hosts", ".source.image_limits.timeout_seconds"),
        ".source.image_limits.url_schemes",
    ),
    "rank": (*PLACES, *SPEED),
    "parse": (*NAMES, *SPEED),
    "mask": (*PLACES, *NAMES, *SPEED, ".settings.boxes_at_once"),
    "mask by packages": (*PLACES, *NAMES, *SPEED, ".settings.boxes_at_once"),
    "shard": (*PLACES, *NAMES),
    # For its lineage: an equal set may have been made from another selection.
    "card": (".selected",),
    # Registered is what there is to mask, not how; `backfill` masks it in other ways.
    "register": (
        *(".config.select", ".config.rank", ".config.parse", ".config.mask", ".config.card"),
        *(".config.max_rejected_fraction", ".config.device"),
    ),
    # The digest of rows is of those and their masks.
    "import": (*PLACES, *NAMES),
    # The last two are only looked at, whether the model can be trained with them.
    "encode": (*NAMES, *SPEED, ".layers", ".prompts"),
    "finetune": (
        *NAMES,
        *(".config.profile", ".config.device", ".config.num_processes"),
        *(".config.timeout_minutes", ".config.trackers", ".config.checkpoint_every_steps"),
        # They decide the encoded samples, whose digest is in the key.
        *(".config.resolution", ".config.mask_reduction", ".config.encode_batch_size"),
    ),
    # A relation is scored, not drawn: the text has it.
    "generate": (
        *(*NAMES, *SPEED, *SAMPLED_AT_ONCE, ".model.label"),
        *(".sampler.compile_unet", ".prompts[].relation"),
    ),
    # All boxes are stored; the score has the threshold.
    "detect": (*NAMES, *SPEED, ".settings.threshold"),
    "score": NAMES,
    "pairs": NAMES,
    "reference": (*PLACES, *SPEED, *DRAWN, *SUBSETS),
    "features": (*NAMES, *SPEED, *DRAWN, *SUBSETS),
    # Extractor and resolution are in the features.
    "quality": (*NAMES, *SPEED, *DRAWN, ".settings.extractor", ".settings.resolution"),
    "clipscore": (*NAMES, *SPEED),
    # The scores are multiples of the scale.
    "agreement": (*NAMES, ".scale"),
    "latency": (*NAMES, *SPEED, *SAMPLED_AT_ONCE, ".model.label", ".sampler.seed"),
    # Maps are recorded in float32, one image at a time and without a safety checker.
    "attention": (
        *STORED,
        *(*SPEED, *SAMPLED_AT_ONCE),
        *(".sampler.compile_unet", ".sampler.precision", ".sampler.safety_checker"),
    ),
    "findings": (
        *(*SAMPLED_AT_ONCE, *STORED, ".found.report", ".found.report_path"),
        # Their digests are in the key, of stored figures and of prompts.
        *(".found.scores[].result", ".found.scores[].is_mixed", ".benchmarks[].kind"),
        *(".found.qualities[].measured", ".found.latencies[].measured"),
        # What of it stands on the page is in the figures of quality.
        ".benchmarks[].reference",
    ),
    "report": STORED,
    "floors": (".settings.profile",),
}


def other_values(value: Any, annotation: Any = None) -> Iterator[tuple[str, Any]]:
    """Paths below a value, each with the whole as it is when another value stands there.

    Of a list the first element is changed, and left out or, if it is the only one, repeated. An
    input is changed by its digest alone, since its key and name say where it lies.
    """
    match value:
        case Input():
            yield "", value.model_copy(update={"digest": f"{value.digest}0"})
        case None:
            yield "", Input(key="key", digest="digest")
        case BaseModel():
            for name, field in type(value).model_fields.items():
                for path, other in other_values(getattr(value, name), field.annotation):
                    yield f".{name}{path}", value.model_copy(update={name: other})
        case _ if is_dataclass(value) and not isinstance(value, type):
            for field in fields(value):
                for path, other in other_values(getattr(value, field.name)):
                    yield f".{field.name}{path}", replace(value, **{field.name: other})
        case dict():
            yield "", {}
            for name, own in value.items():
                for path, other in other_values(own):
                    yield f".*{path}", {**value, name: other}
        case list() | tuple():
            kind = type(value)
            yield "", kind(value[1:] or [*value, *value] or ["side"])
            for path, other in other_values(value[0]) if value else ():
                yield f"[]{path}", kind([other, *value[1:]])
        case _ if get_origin(annotation) is Literal:
            yield from (("", own) for own in get_args(annotation) if own != value)
        case bool():
            yield "", not value
        case int() | float():
            yield "", value + 1
        case str():
            yield "", f"{value}x"
        case _:
            raise TypeError(f"the test knows no other value of {value!r}")


def key_of(spec: Spec) -> str | None:
    """Its key, or none if what it names is refused."""
    try:
        return spec.key
    except (FileNotFoundError, KeyError):
        return None


def is_below(path: str, parents: tuple[str, ...]) -> bool:
    return any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in parents)


def test_every_stage_is_looked_at():
    assert {name.split()[0] for name in VALUES} == set(SPECS)
    assert set(OUTSIDE) <= set(VALUES)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", sorted(VALUES))
def test_key_changes_with_whatever_decides_the_output_and_with_nothing_else(name):
    spec = make_spec(name)
    own, outside = spec.key, OUTSIDE.get(name, ())
    changed = {path: key_of(other) != own for path, other in other_values(spec)}
    told = {path for path in changed if path not in EVERYWHERE and not is_below(path, outside)}
    assert not {path for path in told if not changed[path]}, "neither in the key nor listed"
    assert not {path for path in set(changed) - told if changed[path]}, "listed, but in the key"


@pytest.mark.parametrize("stage", sorted(SPECS))
def test_key_names_stage_and_version(stage):
    spec = make_spec(stage)
    assert spec.key == make_key(stage, spec.version, spec.parts())
    assert split_key(spec.key) == (stage, spec.version)


@pytest.mark.parametrize("kind", ["multigen", "visor"])
def test_whatever_is_set_for_prompts_changes_what_is_asked_or_who_looks(kind):
    config = EVALUATE.model_copy(update={"benchmarks": [kind]})
    own = list_compositions(config)
    assert own[0].prompts
    for path, other in other_values(getattr(config, kind)):
        assert list_compositions(config.model_copy(update={kind: other})) != own, path
