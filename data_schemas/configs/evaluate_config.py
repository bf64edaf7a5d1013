"""Parameter of the flow `evaluate`: what is generated, and how it is judged."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from data_schemas.configs.flow_config import FlowConfig, Settings

Count = Annotated[int, Field(ge=1)]
Categories = Annotated[
    Literal["coco", "ade20k"] | Annotated[list[str], Field(min_length=2)],
    Field(description="All 80 of COCO, the 100 of ADE20K that MultiGen takes, or a list."),
]


class SampledPrompts(Settings):
    """Prompts of `num_objects` different categories each, drawn with a seed."""

    kind: Literal["sampled"]
    categories: Categories
    num_prompts: Count
    num_objects: Annotated[int, Field(ge=1, le=10)]
    seed: int


class PromptFile(Settings):
    """Prompts in the form of MultiGen's released files."""

    kind: Literal["file"]
    path: str


class SamplerConfig(Settings):
    """How images are generated; the paper's is PNDM, 50 steps, guidance 7.5."""

    scheduler: Literal["pndm"]
    num_inference_steps: Count
    guidance_scale: Annotated[float, Field(ge=1.0)]
    height: Annotated[int, Field(ge=8, multiple_of=8)]
    width: Annotated[int, Field(ge=8, multiple_of=8)]
    seed: int
    batch_size: Count


class DetectorConfig(Settings):
    """OWLv2 or OWL-ViT, which say what is in an image."""

    architecture: Literal["owlv2", "owlvit"]
    model: Annotated[str, Field(description="Hub name or folder, or pocket:owlv2.")]
    revision: Annotated[str, Field(description="Commit of a hub model; empty for a folder.")]
    query: Annotated[str, Field(pattern=r"\{name\}", description="Text query of a category.")]
    threshold: Annotated[float, Field(ge=0.0, lt=1.0, description="A score counts if it is above.")]
    batch_size: Count


class AttentionConfig(Settings):
    """A prompt whose cross-attention is drawn, model beside model."""

    prompt: str
    nouns: Annotated[list[str], Field(min_length=1, description="Each occurs in the prompt.")]
    seed: int
    heads_of: Annotated[
        str, Field(description="Layers whose heads are drawn, up_16; empty: the last ones.")
    ]

    @model_validator(mode="after")
    def _nouns_are_in_the_prompt(self) -> Self:
        missing = [noun for noun in self.nouns if noun not in self.prompt]
        if missing:
            raise ValueError(f"the prompt {self.prompt!r} does not contain {missing}")
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
    num_images_per_prompt: Count
    seed: Annotated[int, Field(description="Decides which prompts are drawn.")]
    detector: DetectorConfig


class EvaluateConfig(FlowConfig):
    """Generate images, detect what they show, and score: each model with the same noise."""

    section: ClassVar[str] = "evaluate"

    benchmarks: Annotated[
        list[Literal["multigen", "visor"]],
        Field(min_length=1, description="What is run; each has a table of its own below."),
    ]
    multigen: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], MultiGenConfig],
        Field(description="Sets of prompts by name, each with a row of its own: coco, ade20k."),
    ]
    visor: VisorConfig
    partition_size: Annotated[Count, Field(description="Prompts a partition.")]
    sampler: SamplerConfig
    detector: DetectorConfig
    attention: AttentionConfig
    device: Literal["auto", "cpu", "cuda"]
