"""Parameter of the flow `reproduce`: curate, fine-tune, evaluate."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from data_schemas.configs.whole_config import WholeConfig


class ReproduceConfig(WholeConfig):
    """The whole paper in one run."""

    section: ClassVar[str] = "reproduce"

    denoising_baseline: Annotated[
        bool, Field(description="Also fine-tune on the denoising loss alone, for as many steps.")
    ]

    @model_validator(mode="after")
    def _report_has_scores(self) -> Self:
        if "multigen" not in self.evaluate.benchmarks:
            raise ValueError(
                "evaluate.benchmarks lacks multigen, by which the report compares models"
            )
        if self.evaluate.sampler.safety_checker:
            raise ValueError(
                "evaluate.sampler.safety_checker: models that were fine-tuned here have none; set"
                " it to false"
            )
        return self
