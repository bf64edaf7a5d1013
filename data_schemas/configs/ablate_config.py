"""Parameter of the flow `ablate`: variants of a fine-tuning, on the same data and seeds."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, ValidationError, model_validator

from data_schemas.configs.evaluate_config import EvaluateConfig, SampledPrompts
from data_schemas.configs.finetune_config import FinetuneConfig, Seed
from data_schemas.configs.flow_config import Settings
from data_schemas.configs.whole_config import WholeConfig
from data_schemas.profiles import merge_values


class Variant(Settings):
    """A row of the table: what is changed in `finetune`, and what the paper says of it."""

    label: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9 ,_+-]+$",
            description="Its name in tables and charts: small letters, digits, spaces and , _ + -",
        ),
    ]
    frozen: Annotated[bool, Field(description="Not fine-tuned: the base model as it is.")] = False
    reference: Annotated[
        bool, Field(description="Others are held to it; the first one if none is.")
    ] = False
    changes: Annotated[
        dict[str, Any],
        Field(
            default_factory=dict,
            description="Fields of finetune that differ, but for its seed: {objective: {...}}.",
        ),
    ]
    published: Annotated[
        dict[Annotated[str, Field(pattern=r"^MG[1-9][0-9]*$")], float],
        Field(
            default_factory=dict,
            description="Scores that the paper reports, by MG and k: {MG3: 50.74}.",
        ),
    ]


class AblateConfig(WholeConfig):
    """Fine-tune variants with several seeds each, and compare what they compose."""

    section: ClassVar[str] = "ablate"

    seeds: Annotated[
        list[Seed], Field(min_length=1, description="Of training; more may be added later.")
    ]
    run: Annotated[list[str], Field(min_length=1, description="Which of the studies.")]
    studies: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], list[Variant]],
        Field(description="Tables of variants by name: small letters, digits and hyphens."),
    ]
    prompts: Annotated[
        str, Field(description="The set of evaluate.multigen that variants are compared on.")
    ]

    @model_validator(mode="after")
    def _variants_can_be_trained(self) -> Self:
        missing = [name for name in self.run if not self.studies.get(name)]
        if missing:
            raise ValueError(f"run: there are no variants of {missing}, but of {[*self.studies]}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {self.seeds} has one twice")
        if self.prompts not in self.evaluate.multigen:
            raise ValueError(
                f"prompts: evaluate.multigen has no {self.prompts!r}, but"
                f" {[*self.evaluate.multigen]}"
            )
        drawn = self.evaluate.multigen[self.prompts].prompts
        if isinstance(drawn, SampledPrompts) and drawn.num_prompts < 2:
            raise ValueError(
                f"evaluate.multigen.{self.prompts}.prompts.num_prompts: variants are compared over"
                f" prompts, and there is {drawn.num_prompts}; draw at least 2"
            )
        if self.evaluate.sampler.safety_checker:
            raise ValueError(
                "evaluate.sampler.safety_checker: images are compared in pairs, so none may be"
                " blanked; set it to false"
            )
        changes: dict[str, dict[str, Any]] = {}
        for name in self.run:
            labels = [variant.label for variant in self.studies[name]]
            if len(set(labels)) < len(labels):
                raise ValueError(f"studies.{name}: two variants have the same label, {labels}")
            references = [variant.label for variant in self.studies[name] if variant.reference]
            if len(references) > 1:
                raise ValueError(
                    f"studies.{name}: {references} are all the reference; let one be it"
                )
            for variant in self.studies[name]:
                self._changes_take_effect(name, variant)
                if changes.setdefault(variant.label, variant.changes) != variant.changes:
                    raise ValueError(
                        f"studies.{name}: {variant.label!r} is another variant in another study;"
                        " give it a label of its own"
                    )
                try:
                    self.finetune_config(variant, self.seeds[0])
                except ValidationError as error:
                    problem = error.errors()[0]
                    field = ".".join(str(part) for part in problem["loc"])
                    raise ValueError(
                        f"studies.{name}, {variant.label!r}: changes.{field}: {problem['msg']}"
                    ) from error
        return self

    def _changes_take_effect(self, study: str, variant: Variant) -> None:
        if variant.frozen and variant.changes:
            raise ValueError(
                f"studies.{study}, {variant.label!r}: a frozen variant is not fine-tuned, so"
                f" changes of {[*variant.changes]} are nothing to it; leave out one of the two"
            )
        if "seed" in variant.changes:
            raise ValueError(
                f"studies.{study}, {variant.label!r}: changes.seed: every variant is trained with"
                " each of ablate's seeds; leave it out and set seeds"
            )

    @property
    def evaluate_config(self) -> EvaluateConfig:
        """How variants are evaluated: on MultiGen alone."""
        return self.evaluate.model_copy(
            update={
                "benchmarks": ["multigen"],
                "multigen": {self.prompts: self.evaluate.multigen[self.prompts]},
            }
        )

    def finetune_config(self, variant: Variant, seed: int) -> FinetuneConfig:
        """How a variant is trained."""
        values = merge_values(self.finetune.model_dump(), variant.changes)
        return FinetuneConfig.model_validate({**values, "seed": seed})
