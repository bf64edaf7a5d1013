"""Parameter of the flow `evaluate`: what is generated, and how it is judged."""

from collections.abc import Mapping
from string import Formatter
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from data_schemas.configs.flow_config import Count, Device, FlowConfig, Settings
from data_schemas.configs.quality_config import ClipScoreConfig, QualityConfig
from data_schemas.evaluation_records import LOWEST_SCORE
from data_schemas.find_nouns import find_nouns

SetName = Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
Categories = Annotated[
    Literal["coco", "ade20k"] | Annotated[list[str], Field(min_length=2)],
    Field(description="All 80 of COCO, the 100 of ADE20K that MultiGen takes, or a list."),
]


def _without_nulls(sets: Any) -> Any:
    """What a profile has and null is laid over is left out."""
    if isinstance(sets, Mapping):
        return {name: own for name, own in sets.items() if own is not None}
    return sets


class SampledPrompts(Settings):
    """Prompts of `num_objects` different categories each, drawn with a seed."""

    kind: Literal["sampled"]
    categories: Categories
    num_prompts: Annotated[Count, Field(description="How many are drawn.")]
    num_objects: Annotated[int, Field(ge=1, le=10, description="Categories of a prompt.")]
    seed: Annotated[int, Field(description="Draws them.")]


class PromptFile(Settings):
    """Prompts in the form of MultiGen's released files."""

    kind: Literal["file"]
    path: Annotated[str, Field(description="The JSON file.")]


class SamplerConfig(Settings):
    """How images are generated; the paper's is PNDM, 50 steps, guidance 7.5."""

    scheduler: Annotated[
        Literal["pndm", "own"],
        Field(description="The paper's, or the one that each model comes with."),
    ]
    num_inference_steps: Annotated[
        Count, Field(description="Steps of the sampler; PNDM calls the UNet once more.")
    ]
    guidance_scale: Annotated[
        float, Field(ge=1.0, description="Of classifier-free guidance; 1 is none.")
    ]
    height: Annotated[int, Field(ge=8, multiple_of=8, description="Pixels.")]
    width: Annotated[int, Field(ge=8, multiple_of=8, description="Pixels.")]
    seed: Annotated[int, Field(description="Of the noise, with prompt and round.")]
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Field(description="Digits of the networks; the paper's is float32."),
    ]
    safety_checker: Annotated[
        bool,
        Field(
            description="Have the model's own checker make some images black. They are marked and"
            " counted apart. The released MultiGen code leaves it on, and its black images count as"
            " failures of composition. Models that `finetune` writes have none."
        ),
    ]
    batch_size: Annotated[Count, Field(description="Images sampled at once.")]
    decode_batch_size: Annotated[
        Count, Field(description="Images that the VAE decodes at once: bounds its memory.")
    ]
    compile_unet: Annotated[
        bool,
        Field(
            description="torch.compile of the UNet: minutes once, for less time an image. Rounds"
            " differently, as another batch size does, and is no part of the key."
        ),
    ]


class LatencyConfig(Settings):
    """Seconds an image, one image at a time, as Table 1 of the paper has it."""

    num_images: Annotated[Count, Field(description="Images timed.")]
    num_warmup: Annotated[int, Field(ge=0, description="Images before these, not counted.")]


class DetectorConfig(Settings):
    """OWLv2 or OWL-ViT, which says what is in an image."""

    architecture: Annotated[
        Literal["owlv2", "owlvit"],
        Field(description="MultiGen's detector is an OWLv2, VISOR's an OWL-ViT."),
    ]
    model: Annotated[str, Field(description="Hub name or folder, or pocket:owlv2.")]
    revision: Annotated[str, Field(description="Commit of a hub model; empty for a folder.")]
    query: Annotated[
        str,
        Field(
            pattern=r"\{name\}", description="Text query of a category, with {name} in its place."
        ),
    ]
    threshold: Annotated[
        float,
        Field(
            ge=LOWEST_SCORE,
            lt=1.0,
            description="A score counts if it is above; none below is kept.",
        ),
    ]
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Field(description="In what the vision tower multiplies; published figures are float32."),
    ]
    batch_size: Annotated[Count, Field(description="Images looked at together.")]

    @field_validator("query")
    @classmethod
    def _asks_for_the_name_alone(cls, query: str) -> str:
        try:
            fields = [field for _, *field in Formatter().parse(query) if field[0] is not None]
        except ValueError as error:  # a brace without its pair
            raise ValueError(f"the query {query!r} cannot be filled in: {error}") from error
        # Each is a name, a format and a conversion.
        if any(field != ["name", "", None] for field in fields) or not fields:
            raise ValueError(
                f"the query {query!r} may hold {{name}}, for the category, and no other field in"
                " braces"
            )
        return query


class AttentionConfig(Settings):
    """A prompt whose cross-attention is drawn, model beside model."""

    prompt: Annotated[str, Field(description="What is drawn.")]
    nouns: Annotated[list[str], Field(min_length=1, description="Each occurs in the prompt.")]
    seed: Annotated[int, Field(description="Of the noise.")]
    heads_of: Annotated[
        str, Field(description="Layers whose heads are drawn, up_16; empty: the last ones.")
    ]

    @model_validator(mode="after")
    def _nouns_are_in_the_prompt(self) -> Self:
        find_nouns(self.prompt, self.nouns)
        return self


class MultiGenConfig(Settings):
    """Prompts of several categories that have nothing to do with each other."""

    prompts: Annotated[SampledPrompts | PromptFile, Field(discriminator="kind")]
    num_images_per_prompt: Annotated[Count, Field(description="Rounds of MultiGen.")]


class VisorConfig(Settings):
    """VISOR: one category to the left or right of another, above or below it."""

    categories: Categories
    num_prompts: Annotated[
        int, Field(ge=0, description="So many are drawn; 0 takes all, 25,280 of COCO's 80.")
    ]
    num_images_per_prompt: Annotated[
        Count, Field(description="Rounds; the published VISOR has four.")
    ]
    seed: Annotated[int, Field(description="Decides which prompts are drawn.")]
    detector: DetectorConfig


class EvaluateConfig(FlowConfig):
    """Generate images, detect what they show, and score: each model with the same noise."""

    section: ClassVar[str] = "evaluate"

    benchmarks: Annotated[
        list[Literal["multigen", "visor", "quality", "clip_score", "latency"]],
        Field(
            min_length=1,
            description="What is run; each has a table of its own below. clip_score looks at the"
            " images of multigen, visor and quality.",
        ),
    ]
    multigen: Annotated[
        dict[SetName, MultiGenConfig],
        BeforeValidator(
            _without_nulls, json_schema_input_type=dict[SetName, MultiGenConfig | None]
        ),
        Field(
            description="Sets of prompts by name (small letters, digits, hyphens), each with a row"
            " of its own: coco, ade20k. With null a set of the profile is left out."
        ),
    ]
    visor: VisorConfig
    quality: Annotated[
        dict[SetName, QualityConfig],
        BeforeValidator(_without_nulls, json_schema_input_type=dict[SetName, QualityConfig | None]),
        Field(
            description="Real images by name (small letters, digits, hyphens), each with a row of"
            " its own: coco, flickr30k. With null a set of the profile is left out."
        ),
    ]
    clip_score: ClipScoreConfig
    partition_size: Annotated[Count, Field(description="Prompts a partition.")]
    sampler: SamplerConfig
    latency: LatencyConfig
    detector: DetectorConfig
    attention: AttentionConfig
    device: Device

    @model_validator(mode="after")
    def _clip_score_has_images(self) -> Self:
        others = ("multigen", "visor", "quality")
        if "clip_score" in self.benchmarks and not any(name in self.benchmarks for name in others):
            raise ValueError(
                f"benchmarks is {self.benchmarks}, but clip_score scores the images of others: add"
                f" one of {', '.join(others)}"
            )
        return self

    @model_validator(mode="after")
    def _benchmarks_have_sets(self) -> Self:
        for name, sets in (("multigen", self.multigen), ("quality", self.quality)):
            if name in self.benchmarks and not sets:
                raise ValueError(f"{name} is a benchmark to run, but has no set: give it one")
        return self
